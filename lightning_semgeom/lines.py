"""Records as lines of JSON, each telling what is new since the line before.

A record of many sites has the same keys each time, and many of its values never change. So keys are
written once, sites with the same figures together, and a figure that is as it was is not written:

    {"step": 0, "keys": [[["semgeom"], ["gap"]], [["semgeom_a", "semgeom_b"], ["gap", "rows"]]],
     "values": [{"gap": 0.1}, {"gap": [0.1, 0.2], "rows": [50, 50]}], "pictures": []}
    {"step": 1, "values": [{"gap": 0.3}, {"gap": [0.3, 0.1]}], "pictures": []}

`keys` holds groups of sites with the figures that each of them has: a key is a site, "/" and a
figure. `values` has an object for each group: by figure a list of one number a site, or just the
number where the group has one site. What is absent is as in the line before, and null before any.
A number that is not finite is null. Where a line has `keys`, what came before it is forgotten.
`pictures` names the sites that have one, or where one is not in its usual place, their files.

A line of version 0.1, with all keys and values as one object in `values`, is read as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import isfinite, nan
from typing import Any

from lightning_semgeom.record import Record, picture_file

Groups = list[tuple[list[str], list[str]]]
"""Sites, and the figures that each of them has; a key without "/" is a site with a figure ""."""


class LineWriter:
    """Writes one record after the other."""

    def __init__(self) -> None:
        self._keys: tuple[str, ...] | None = None
        self._groups: Groups = []
        self._last: list[float] = []

    def line(self, record: Record) -> str:
        """The line of `record`, to follow that of the record before."""
        line: dict[str, Any] = {"step": record.step}
        keys = tuple(record.values)
        if keys != self._keys:
            self._keys, self._groups = keys, grouped(keys)
            self._last = [nan] * len(keys)
            line["keys"] = self._groups
        values = [float(value) if isfinite(value) else nan for value in record.values.values()]
        line["values"] = self._new(values)
        self._last = values
        line["pictures"] = short_pictures(record)
        return json.dumps(line, allow_nan=False, separators=(",", ":")) + "\n"

    def _new(self, values: Sequence[float]) -> list[dict[str, Any]]:
        """By group and figure what is not as in the line before."""
        found, start = [], 0
        for sites, figures in self._groups:
            width = len(figures)
            stop = start + width * len(sites)
            new = {}
            for place, figure in enumerate(figures):
                column = values[start + place : stop : width]
                if not _are_same(column, self._last[start + place : stop : width]):
                    numbers = [_number(value) for value in column]
                    new[figure] = numbers if len(sites) > 1 else numbers[0]
            found.append(new)
            start = stop
        return found


class LineReader:
    """Reads one line after the other."""

    def __init__(self) -> None:
        self._groups: Groups = []
        self._keys: list[str] = []
        self._last: list[float] = []

    def record(self, line: str) -> Record:
        """The record of `line`, which follows the one read before.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: if it is none.
        """
        if not line.endswith("\n"):
            raise ValueError("it has no end")
        found = json.loads(line)
        step = int(found["step"])
        pictures = long_pictures(found["pictures"], step)
        if isinstance(found["values"], Mapping):
            values = {key: _float(value) for key, value in found["values"].items()}
            return Record(step, values, pictures)
        groups, keys, last = self._groups, self._keys, list(self._last)
        if "keys" in found:
            groups = [(list(sites), list(figures)) for sites, figures in found["keys"]]
            keys = ungrouped(groups)
            last = [nan] * len(keys)
        _fill(last, groups, found["values"])
        self._groups, self._keys, self._last = groups, keys, last
        return Record(step, dict(zip(keys, last, strict=True)), pictures)


def _fill(values: list[float], groups: Groups, new: Sequence[Mapping[str, Any]]) -> None:
    """Put what a line has in the places of its figures."""
    if len(new) != len(groups):
        raise ValueError(f"it has {len(new)} groups of values; its keys have {len(groups)}")
    start = 0
    for (sites, figures), found in zip(groups, new, strict=True):
        width = len(figures)
        for figure, numbers in found.items():
            column = [_float(n) for n in (numbers if isinstance(numbers, list) else [numbers])]
            if len(column) != len(sites):
                raise ValueError(f"'{figure}' has {len(column)} numbers for {len(sites)} sites")
            first = start + figures.index(figure)
            values[first : start + width * len(sites) : width] = column
        start += width * len(sites)


def grouped(keys: Sequence[str]) -> Groups:
    """Keys as sites with the figures that they share; their order is kept.

    Neighbours with the same site are its figures, and neighbouring sites with the same figures a
    group.
    """
    groups: Groups = []
    for site, of_site in groupby(keys, key=_site):
        figures = [key[len(site) + 1 :] for key in of_site]
        if groups and groups[-1][1] == figures:
            groups[-1][0].append(site)
        else:
            groups.append(([site], figures))
    return groups


def _site(key: str) -> str:
    """What stands before the first "/"; all of it where nothing stands behind."""
    site, _, figure = key.partition("/")
    return site if figure else key


def ungrouped(groups: Groups) -> list[str]:
    """The keys that `grouped` was given."""
    return [
        f"{site}/{figure}" if figure else site
        for sites, figures in groups
        for site in sites
        for figure in figures
    ]


def short_pictures(record: Record) -> list[str] | dict[str, str]:
    """The sites with pictures, or site -> file where one is not in its usual place."""
    usual = all(f == picture_file(site, record.step) for site, f in record.pictures.items())
    return list(record.pictures) if usual else dict(record.pictures)


def long_pictures(short: Sequence[str] | Mapping[str, str], step: int) -> dict[str, str]:
    """Site -> file from what `short_pictures` gave."""
    if isinstance(short, Mapping):
        return {str(site): str(file) for site, file in short.items()}
    return {str(site): picture_file(site, step) for site in short}


def _are_same(values: Sequence[float], others: Sequence[float]) -> bool:
    """Equal to the bit, but that one NaN is as good as another."""
    return all(map(_is_same, values, others))


def _is_same(value: float, other: float) -> bool:
    if value != value or other != other:
        return value != value and other != other
    return value == other and (value != 0 or str(value) == str(other))


def _number(value: float) -> float | int | None:
    """The shortest text that is read as `value` again."""
    if value != value:
        return None
    is_whole = abs(value) < 1e15 and value.is_integer() and str(value) != "-0.0"
    return int(value) if is_whole else value


def _float(value: float | None) -> float:
    return nan if value is None else float(value)
