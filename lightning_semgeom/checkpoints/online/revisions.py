"""What the Hub lists: revisions of a repository, repositories by their names, files of a commit.

A commit never changes, so the list of its files is kept. Which commit a branch is at is asked anew.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from lightning_semgeom.checkpoints.online import kept
from lightning_semgeom.checkpoints.online.asking import HubError, ask, get
from lightning_semgeom.extras import needs

Answer = TypeVar("Answer")

MAIN = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LITERAL = re.compile(r"[*?]|\[[^]]*\]")
_FRESH = 60.0  # seconds: one command asks several times


@dataclass(frozen=True)
class HubFile:
    """A file of a commit, as the Hub lists it."""

    size: int
    """In bytes."""
    content: str
    """Its hash: equal ones have the same content."""


_answers: dict[tuple[str, ...], tuple[float, Any]] = {}
_trees: dict[tuple[str, str], Mapping[str, HubFile]] = {}


def revisions_of(repository: str) -> Mapping[str, str]:
    """The commit of each branch and tag, by name; a branch hides a tag of its name.

    Raises:
        HubError: if the Hub does not say.
    """

    def asked() -> dict[str, str]:
        (refs,) = _pages("its revisions", f"/{repository}/refs")
        found = [*refs.get("branches", ()), *refs.get("tags", ())]
        commits: dict[str, str] = {}
        for ref in found:
            commits.setdefault(ref["name"], ref["targetCommit"])
        return commits

    return _fresh(asked, "refs", repository)


def commit_of(repository: str, revision: str) -> str:
    """The commit that a branch, a tag or the hash of a commit stands for.

    Raises:
        HubError: if the Hub does not say.
    """
    with needs("analyze"):
        from huggingface_hub import HfApi, constants

    if _COMMIT.fullmatch(revision):
        return revision
    listed = _fresh_answer("refs", repository)
    if isinstance(listed, dict) and revision in listed:
        return str(listed[revision])

    def asked() -> str:
        what = f"its revision '{revision}'"
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        found = ask(
            what, lambda: HfApi().model_info(repository, revision=revision, timeout=timeout)
        )
        if found.sha is None:
            raise HubError(f"{what}: the Hub tells no commit of it.")
        return found.sha

    return _fresh(asked, "commit", repository, revision)


def repositories_like(pattern: str) -> Mapping[str, str | None]:
    """The models whose `org/name` fits a glob, and the commit of each one's main branch.

    Raises:
        HubError: if the Hub does not say.
    """
    from fnmatch import fnmatchcase

    author, _, name = pattern.partition("/")
    said = max(_LITERAL.split(name), key=len)  # the longest piece that is no wildcard
    asks = urlencode({"author": author, "search": said, "expand[]": "sha"})

    def asked() -> dict[str, str | None]:
        found = [model for page in _pages("the list of models", f"?{asks}") for model in page]
        fitting = {m["id"]: m.get("sha") for m in found if fnmatchcase(m["id"], pattern)}
        for repository, commit in fitting.items():
            if commit is not None:
                _remember(commit, "commit", repository, MAIN)
        return fitting

    return _fresh(asked, "models", pattern)


def files_of(repository: str, commit: str) -> Mapping[str, HubFile]:
    """The files of a commit, by their paths.

    Raises:
        HubError: if the Hub does not say.
    """
    key = (repository, commit)
    if key not in _trees:
        file = kept.folder_of("trees") / f"{repository.replace('/', '--')}@{commit}.json"
        if file.is_file():
            listed = json.loads(file.read_bytes())
        else:
            listed = _tree(repository, commit)
            kept.keep(file, json.dumps(listed).encode())
        _trees[key] = {path: HubFile(size, content) for path, size, content in listed}
    return _trees[key]


def _tree(repository: str, commit: str) -> list[list[Any]]:
    """Path, size and hash of each file: by LFS, or of its blob in git."""
    found = []
    for page in _pages("its list of files", f"/{repository}/tree/{commit}?recursive=true"):
        for one in page:
            if one["type"] == "file":
                content = (one.get("lfs") or {}).get("oid") or one["oid"]
                found.append([one["path"], one["size"], content])
    return found


def _pages(what: str, which: str) -> Iterator[Any]:
    """What the Hub says of models, page by page.

    Not by `HfApi`, whose lists wait for ever for a server that never answers.
    """
    with needs("analyze"):
        from huggingface_hub import constants

    url: str | None = f"{constants.ENDPOINT}/api/models{which}"
    while url is not None:
        page = get(what, url)
        yield page.json()
        url = page.links.get("next", {}).get("url")


def _fresh(asked: Callable[[], Answer], *key: str) -> Answer:
    """What `asked` answers or raises; the same for a minute."""
    known = _fresh_answer(*key)
    if known is None:
        try:
            known = asked()
        except HubError as fault:
            known = fault
        _remember(known, *key)
    if isinstance(known, HubError):
        raise known
    answer: Answer = known
    return answer


def _fresh_answer(*key: str) -> Any:
    when, known = _answers.get((_endpoint(), *key), (0.0, None))
    return known if time.monotonic() - when < _FRESH else None


def _remember(answer: object, *key: str) -> None:
    _answers[(_endpoint(), *key)] = time.monotonic(), answer


def _endpoint() -> str:
    with needs("analyze"):
        from huggingface_hub import constants

    return constants.ENDPOINT
