"""What an address on the Hub stands for: `hf://org/name`, with a revision, or with globs.

A repository stands for its revisions that tell a step, branches and tags, or else for its main
branch. `@revision` stands for that one. Globs choose revisions, or repositories of one owner, of
which some runs have one for each step.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from lightning_semgeom.checkpoints.online.path import PROTOCOL, HubPath
from lightning_semgeom.checkpoints.online.revisions import MAIN, repositories_like, revisions_of
from lightning_semgeom.checkpoints.steps import named_step
from lightning_semgeom.stores import protocol

_EXPECTED = "expected hf://org/name, hf://org/name@revision, or either with globs"
_NO_MODELS = ("datasets", "spaces", "buckets")
_REFS = re.compile(r"(refs/\w+/[^/]+)(?:/(.*))?")  # revisions with slashes that the Hub makes
_GLOB = re.compile(r"[*?[]")


class _Address(NamedTuple):
    repository: str
    revision: str | None
    inside: tuple[str, ...]


def is_online(path: str | Path) -> bool:
    """Whether it is an address on the Hub."""
    return protocol(path) == PROTOCOL


def check_address(path: str | Path) -> None:
    """Raise a ValueError where an address on the Hub is none; nothing is asked."""
    _parsed(path)


def place_of(path: str | Path) -> HubPath:
    """The place that an address says, globs and all."""
    return HubPath(_text(path))


def places_at(path: str | Path) -> list[HubPath]:
    """The places on the Hub that an address stands for.

    Raises:
        ValueError: if it is no such address.
        FileNotFoundError: if nothing fits its globs.
        HubError: if the Hub does not say which there are.
    """
    repository, revision, inside = _parsed(path)
    if not _GLOB.search(repository):
        return _at_revisions(repository, revision, inside)
    repositories = sorted(repositories_like(repository))
    if not repositories:
        raise FileNotFoundError(f"no model on the Hub is called like '{repository}'.")
    # One repository a step: its own revisions are not looked for unless they are asked for.
    said = MAIN if revision is None else revision
    return [place for name in repositories for place in _at_revisions(name, said, inside)]


def _at_revisions(repository: str, revision: str | None, inside: tuple[str, ...]) -> list[HubPath]:
    if revision is not None and not _GLOB.search(revision):
        return [HubPath.at(repository, revision, *inside)]
    there = revisions_of(repository)
    if revision is None:
        chosen = [name for name in there if _step(name) is not None] or [MAIN]
    else:
        chosen = [name for name in there if name != MAIN and fnmatchcase(name, revision)]
    if not chosen:
        from lightning_semgeom.capture.names import listed  # with torch, which help does not need

        raise FileNotFoundError(
            f"no revision of '{repository}' is called like '{revision}'; there are {listed(there)}."
        )
    # A branch and a tag of one commit may tell the same step.
    each: dict[tuple[str | None, int | str], str] = {}
    for name in chosen:
        step = _step(name)
        each.setdefault((there.get(name), name if step is None else step), name)
    return [HubPath.at(repository, name, *inside) for name in each.values()]


def _step(revision: str) -> int | None:
    return named_step(reversed(revision.split("/")))


def _parsed(path: str | Path) -> _Address:
    first, *others = _text(path).split("/")
    if first in _NO_MODELS:
        raise ValueError(f"'{path}' is no model; {_EXPECTED}.")
    if "@" not in first and others:
        first = f"{first}/{others.pop(0)}"
    repository, at, revision = first.partition("@")
    if _GLOB.search(repository.rpartition("/")[0]):
        raise ValueError(f"'{path}' leaves the owner open: name it, as in hf://org/name-*.")
    if not repository or (at and not revision):
        raise ValueError(f"'{path}' is no address on the Hub; {_EXPECTED}.")
    if at and (match := _REFS.fullmatch("/".join([revision, *others]))):
        revision, others = match[1], match[2].split("/") if match[2] else []
    return _Address(repository, unquote(revision) if at else None, tuple(others))


def _text(path: str | Path) -> str:
    return re.sub(rf"^{PROTOCOL}:/+", "", str(path)).strip("/")
