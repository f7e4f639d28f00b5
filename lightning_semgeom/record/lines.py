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
More than 8 sites have, for that list, text that takes half the bytes and loses no bit,

    numpy.frombuffer(base64.b85decode(text), "<f8")

and what other figures say to the bit has a word: "within-between" is an attribute's gap, and "mean"
that of a figure over the attributes where it is known.
`pictures` names the sites that have one, or where one is not in its usual place, their files.

A line of version 0.1, with all keys and values as one object in `values`, is read as well.
"""

from __future__ import annotations

import json
from base64 import b85decode, b85encode
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import isfinite, nan
from typing import Any

import numpy as np

from lightning_semgeom.record.record import Record, mean_of_known, picture_file

Groups = list[tuple[list[str], list[str]]]
"""Sites, and the figures that each of them has; a key without "/" is a site with a figure ""."""

READABLE_SITES = 8
"""Nobody reads longer lists of numbers by eye: they are written for programs."""

DIFFERENCE, MEAN = WORDS = ("within-between", "mean")
"""What is written for what others say, in the order of reading; 9 numbers or more are longer."""


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
            columns = {
                figure: values[start + place : stop : width] for place, figure in enumerate(figures)
            }
            last = (self._last[start + place : stop : width] for place in range(width))
            found.append(
                {
                    figure: _written(figure, columns)
                    for (figure, column), before in zip(columns.items(), last, strict=True)
                    if not _are_same(column, before)
                }
            )
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
        stop = start + width * len(sites)
        columns = {f: values[start + place : stop : width] for place, f in enumerate(figures)}
        if unknown := found.keys() - columns.keys():
            raise ValueError(f"it has {sorted(unknown)}; its keys have {figures}")
        columns |= {f: _read(written) for f, written in found.items() if written not in WORDS}
        for word in WORDS:
            of_others = [figure for figure, written in found.items() if written == word]
            columns |= {figure: _said(word, figure, columns) for figure in of_others}
        for place, (figure, column) in enumerate(columns.items()):
            if len(column) != len(sites):
                raise ValueError(f"'{figure}' has {len(column)} numbers for {len(sites)} sites")
            values[start + place : stop : width] = column
        start = stop


def _written(figure: str, columns: Mapping[str, Sequence[float]]) -> Any:
    """The numbers of a figure, for each site, as a line has them."""
    column = columns[figure]
    if len(column) <= READABLE_SITES:
        numbers = [_number(value) for value in column]
        return numbers if len(column) > 1 else numbers[0]
    word = MEAN if "/" not in figure else DIFFERENCE
    if _are_same(column, _said(word, figure, columns)):
        return word
    return b85encode(np.array(column, dtype="<f8").tobytes()).decode("ascii")


def _read(written: Any) -> list[float]:
    """What `_written` was given."""
    if isinstance(written, str):
        numbers: list[float] = np.frombuffer(b85decode(written), dtype="<f8").tolist()
        return numbers
    return [_float(n) for n in (written if isinstance(written, list) else [written])]


def _said(word: str, figure: str, columns: Mapping[str, Sequence[float]]) -> list[float]:
    """What `word` says of a figure, for each site; empty where the figures that it takes are not.

    An attribute's gap is within - between; a figure without an attribute the mean of those with.
    """
    if word == MEAN:
        of_attributes = [c for other, c in columns.items() if other.startswith(f"{figure}/")]
        return [mean_of_known(site) for site in zip(*of_attributes, strict=True)]
    name, _, attribute = figure.partition("/")
    parts = [columns.get(f"{part}/{attribute}", ()) for part in ("within", "between")]
    return [one - other for one, other in zip(*parts, strict=False)] if name == "gap" else []


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
    return len(values) == len(others) and all(map(_is_same, values, others))


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
