"""A place on the Hub, `hf://org/name@revision/file`, with the methods of a Path that readers use.

huggingface_hub has a filesystem of its own. It lists each revision twice, and keeps nothing by its
content; 154 revisions would meet the Hub's limits of requests.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import IO, Any
from urllib.parse import quote, unquote

from typing_extensions import Self, override

from lightning_semgeom.checkpoints.online.asking import HubError, get
from lightning_semgeom.checkpoints.online.kept import range_of
from lightning_semgeom.checkpoints.online.revisions import MAIN, HubFile, commit_of, files_of

PROTOCOL = "hf"


class HubPath(PurePosixPath):
    """A repository at a revision, or what lies in it; `org/name` stands for its main branch.

    A repository without an organisation has its revision always: `gpt2@main`.
    """

    @classmethod
    def at(cls, repository: str, revision: str = MAIN, *inside: str) -> Self:
        """The place of a file or folder in a repository."""
        named = revision != MAIN or "/" not in repository
        return cls(f"{repository}@{quote(revision, safe='')}" if named else repository, *inside)

    @property
    def repository(self) -> str:
        """As `org/name`."""
        return "/".join(self.parts[: self._depth]).partition("@")[0]

    @property
    def revision(self) -> str:
        """Its branch, tag or commit."""
        return unquote(self.parts[self._depth - 1].partition("@")[2]) or MAIN

    @property
    def inside(self) -> str:
        """The path in the repository; empty: the repository itself."""
        return "/".join(self.parts[self._depth :])

    @property
    def names(self) -> tuple[str, ...]:
        """Those that may tell a step, from the outside to the inside."""
        revision = () if self.revision == MAIN else self.revision.split("/")
        return (self.repository.rpartition("/")[2], *revision, *self.parts[self._depth :])

    @property
    def commit(self) -> str:
        """What its revision stands for now.

        Raises:
            HubError: if the Hub does not say.
        """
        return commit_of(self.repository, self.revision)

    @property
    def _depth(self) -> int:
        return 1 if "@" in self.parts[0] else min(2, len(self.parts))

    @property
    def _listed(self) -> HubFile | None:
        return files_of(self.repository, self.commit).get(self.inside)

    @property
    def _below(self) -> list[str]:
        """The parts of the path of each file below, from here on."""
        start = f"{self.inside}/" if self.inside else ""
        names = files_of(self.repository, self.commit)
        return [name[len(start) :] for name in names if name.startswith(start)]

    @override
    def __str__(self) -> str:
        return f"{PROTOCOL}://{super().__str__()}"

    @override
    def as_posix(self) -> str:
        return super().__str__()

    def is_file(self) -> bool:
        """Whether the repository has a file there."""
        return len(self.parts) > self._depth and self._listed is not None

    def is_dir(self) -> bool:
        """Whether there is a folder, or the repository itself."""
        return len(self.parts) >= self._depth and (not self.inside or bool(self._below))

    def exists(self) -> bool:
        """Whether there is any of both."""
        return self.is_file() or self.is_dir()

    def is_symlink(self) -> bool:
        """It has no links."""
        return False

    def resolve(self) -> Self:
        """Itself, without links."""
        return self

    def iterdir(self) -> Iterator[Self]:
        """What lies in a folder."""
        for name in dict.fromkeys(path.partition("/")[0] for path in self._below):
            yield self / name

    def glob(self, pattern: str) -> Iterator[Self]:
        """What lies in a folder and has a name like `pattern`."""
        return (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def rglob(self, pattern: str) -> Iterator[Self]:
        """All files below that have a name like `pattern`."""
        found = (self / path for path in self._below)
        return (path for path in found if fnmatchcase(path.name, pattern))

    def stat(self) -> Any:
        """Its `st_size` in bytes."""
        return SimpleNamespace(st_size=self._file.size)

    def read_bytes(self) -> bytes:
        """The whole file."""
        return self.fs.cat_file(self)

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole file as text."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> IO[bytes]:
        """The file, fetched in pieces as it is read."""
        return self.fs.open(self, mode, io.DEFAULT_BUFFER_SIZE)

    @property
    def path(self) -> Self:
        """What `fs` calls it."""
        return self

    @property
    def fs(self) -> type[_Store]:
        """What has the methods of an fsspec filesystem that `stores` uses."""
        return _Store

    @property
    def _file(self) -> HubFile:
        found = self._listed
        if found is None:
            raise HubError(f"'{self.inside}': there is no such file.")
        return found


class _Store:
    """Ranges of files, fetched where they are not kept."""

    @staticmethod
    def cat_file(path: HubPath, start: int = 0, end: int | None = None) -> bytes:
        from huggingface_hub import hf_hub_url

        file = path._file

        def fetch(begin: int, stop: int) -> bytes:
            def check(response: Any) -> None:
                if len(cut(response)) != stop - begin:
                    raise OSError(f"{len(response.content)} of {stop - begin} bytes came")

            def cut(response: Any) -> bytes:
                data: bytes = response.content
                # A server may give all of a file instead of a range.
                return data if response.status_code == 206 else data[begin:stop]

            url = hf_hub_url(path.repository, path.inside, revision=path.commit)
            return cut(get(f"'{path.inside}'", url, check, Range=f"bytes={begin}-{stop - 1}"))

        stop = file.size if end is None else min(end, file.size)
        return bytes(range_of(file.content, start, stop, fetch))

    @staticmethod
    def open(path: HubPath, mode: str, block_size: int) -> IO[bytes]:
        return io.BufferedReader(_Pieces(path), block_size)

    @staticmethod
    def size(path: HubPath) -> int:
        return path._file.size

    @staticmethod
    def ukey(path: HubPath) -> str:
        return path._file.content


class _Pieces(io.RawIOBase):
    """A file of which no more is fetched than is read."""

    def __init__(self, path: HubPath) -> None:
        self._path, self._at = path, 0
        self._size = _Store.size(path)

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    @override
    def tell(self) -> int:
        return self._at

    @override
    def readinto(self, buffer: Any) -> int:
        data = _Store.cat_file(self._path, self._at, self._at + len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
