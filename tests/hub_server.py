"""A server on loopback that answers as the Hub does, and a second host that has the large files.

It counts the bytes that each asks for, and does what a test says instead: refuse, limit, cut.
"""

import hashlib
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".bin")


def sha1(text):
    return hashlib.sha1(text).hexdigest()


@dataclass
class Repository:
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    def put(self, revision, files, tag=False):
        """A revision with `{path: bytes}`."""
        commit = sha1(repr((revision, sorted(files))).encode() + b"".join(files.values()))
        self.commits[commit] = files
        (self.tags if tag else self.branches)[revision] = commit

    def commit_of(self, revision):
        known = {**self.tags, **self.branches, **{commit: commit for commit in self.commits}}
        return known.get(revision)


@dataclass
class Asked:
    kind: str
    """refs, tree, revision, models, resolve; large: of the other host."""
    path: str
    sent: int
    token: str | None
    range: str | None


class HubServer:
    """Both hosts. `faults`: by a glob of `METHOD path`, what is done instead, one after the other.

    A number is a status, or a pair of one and of headers; "cut" sends half of the body.
    """

    def __init__(self, page=1000):
        self.repositories = {}
        self.faults = {}
        self.asked = []
        self.token = None
        self.page = page
        self._large = {}
        self._hosts = [
            ThreadingHTTPServer(("127.0.0.1", 0), type("H", (_Handler,), {"hub": self, "own": own}))
            for own in (True, False)
        ]
        for host in self._hosts:
            host.daemon_threads = True
            threading.Thread(target=host.serve_forever, args=(0.02,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._hosts[0].server_port}"
        self.other = f"http://localhost:{self._hosts[1].server_port}"

    def close(self):
        for host in self._hosts:
            host.shutdown()
            host.server_close()

    def __getitem__(self, name):
        return self.repositories.setdefault(name, Repository())

    def forget(self):
        self.asked.clear()

    def counts(self):
        return Counter(one.kind for one in self.asked)

    def sent(self, *kinds):
        return sum(one.sent for one in self.asked if one.kind in kinds)

    def fault_of(self, line):
        for glob, actions in self.faults.items():
            if actions and fnmatchcase(line, glob):
                return actions.pop(0)
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer
    own: bool

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.url = urlsplit(self.path)
        fault = self.hub.fault_of(f"{self.command} {unquote(self.path)}")
        if isinstance(fault, (int, tuple)):
            status, headers = fault if isinstance(fault, tuple) else (fault, {})
            self.answer("fault", status, b"{}", **headers)
            return
        self.is_cut = fault == "cut"
        if not self.own:
            data = self.hub._large[self.url.path.strip("/")]
            self.file("large", data)
        elif self.url.path == "/api/models":
            self.models()
        else:
            self.repository()

    def models(self):
        asked = {name: values[0] for name, values in parse_qs(self.url.query).items()}
        found = [
            {"id": name, "_id": name, "sha": repository.branches["main"]}
            for name, repository in self.hub.repositories.items()
            if name.startswith(asked["author"] + "/")
            and asked.get("search", "") in name
            and not (repository.private and self.token_sent() is None)
        ]
        self.answer("models", 200, json.dumps(found).encode())

    def repository(self):
        known = "|".join(map(re.escape, self.hub.repositories)) or "-"
        match = re.match(rf"/(api/models/)?({known})(?:/(\w+))?(?:/(.*))?$", self.url.path)
        if match is None:
            self.error("RepoNotFound", 404 if self.token_sent() else 401)
            return
        repository, what, rest = self.hub[match[2]], match[3] or "revision", match[4] or "main"
        if repository.private and self.token_sent() is None:
            self.error("RepoNotFound", 401)
        elif what == "refs":
            refs = {
                kind: [
                    {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
                    for name, commit in getattr(repository, kind).items()
                ]
                for kind in ("branches", "tags")
            }
            self.answer("refs", 200, json.dumps({**refs, "converts": []}).encode())
        else:
            revision, _, path = rest.partition("/")
            commit = repository.commit_of(unquote(revision))
            if commit is None:
                self.error("RevisionNotFound", 404)
            elif what == "revision":
                body = {"id": match[2], "_id": match[2], "sha": commit, "siblings": []}
                self.answer("revision", 200, json.dumps(body).encode())
            elif what == "tree":
                self.tree(repository.commits[commit])
            else:
                self.resolve(repository, commit, unquote(path))

    def tree(self, files):
        listed = [{"type": "directory", "path": "folder", "oid": sha1(b"folder"), "size": 0}]
        for path, data in files.items():
            one = {"type": "file", "path": path, "size": len(data), "oid": sha1(data)}
            if path.endswith(LARGE):
                content = hashlib.sha256(data).hexdigest()
                one["lfs"] = {"oid": content, "size": len(data), "pointerSize": 134}
                one["oid"] = sha1(b"pointer" + content.encode())
            listed.append(one)
        begin = int(parse_qs(self.url.query).get("cursor", ["0"])[0])
        end, headers = begin + self.hub.page, {}
        if end < len(listed):
            following = f"{self.hub.endpoint}{self.url.path}?recursive=true&cursor={end}"
            headers["Link"] = f'<{following}>; rel="next"'
        self.answer("tree", 200, json.dumps(listed[begin:end]).encode(), **headers)

    def resolve(self, repository, commit, path):
        if repository.gated and self.token_sent() is None:
            self.error("GatedRepo", 401)
            return
        data = repository.commits[commit].get(path)
        if data is None:
            self.error("EntryNotFound", 404, **{"X-Repo-Commit": commit})
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{sha1(data)}"'}
        if not path.endswith(LARGE):
            # To its own cache, which gives all of a file whatever the range.
            if self.url.query != "cached":
                location = f"{self.url.path}?cached"
                self.answer("redirect", 307, b"", Location=location, **headers)
            else:
                self.answer("resolve", 200, data, **headers)
            return
        content = hashlib.sha256(data).hexdigest()
        self.hub._large[content] = data
        headers |= {"X-Linked-Etag": f'"{content}"', "X-Linked-Size": str(len(data))}
        location = f"{self.hub.other}/{content}"
        self.answer("resolve", 302, b"", Location=location, **headers)

    def file(self, kind, data, **headers):
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match is None:
            self.answer(kind, 200, data, **headers)
        elif int(match[1]) >= len(data):
            self.answer(kind, 416, b"", **headers)
        else:
            piece = data[int(match[1]) : int(match[2]) + 1]
            self.answer(kind, 206, piece, **headers)

    def token_sent(self):
        found = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        return found if found == self.hub.token else None

    def error(self, code, status, **headers):
        self.answer("error", status, b"{}", **{"X-Error-Code": code, **headers})

    def answer(self, kind, status, body, **headers):
        sent = b"" if self.command == "HEAD" else body
        sent = sent[: len(sent) // 2] if getattr(self, "is_cut", False) else sent
        self.hub.asked.append(
            Asked(
                kind, f"{self.command} {unquote(self.path)}", len(sent),
                self.headers.get("Authorization"), self.headers.get("Range"),
            )
        )  # fmt: skip
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(sent)
        if len(sent) < len(body) and self.command != "HEAD":
            self.close_connection = True
