"""What one capture found, and how it is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any


@dataclass(frozen=True)
class GramFile:
    """Where a Gram picture is, and what its rows are."""

    file: str
    """fp32 `[m, m]` in .npy format, relative to the history's folder."""
    bands: tuple[tuple[str, int], ...]
    """The first attribute's values along its rows: name and number of rows, in order."""


@dataclass(frozen=True)
class Record:
    """What one capture found."""

    step: int
    """Optimizer steps that the weights had had."""
    values: Mapping[str, float]
    """Figures by the keys that loggers get; NaN where undefined."""
    grams: Mapping[str, GramFile] = field(default_factory=dict)
    """Site -> its Gram picture, where one was kept."""


def to_json(record: Record) -> str:
    """One line of strict JSON; what is not finite is null."""
    values = {key: value if isfinite(value) else None for key, value in record.values.items()}
    line = {"step": record.step, "values": values, "grams": grams_to_dict(record.grams)}
    return json.dumps(line, allow_nan=False) + "\n"


def from_json(line: str) -> Record:
    """The record of one line.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: if it is none.
    """
    if not line.endswith("\n"):
        raise ValueError("it has no end")
    found = json.loads(line)
    values = {key: nan if value is None else float(value) for key, value in found["values"].items()}
    return Record(int(found["step"]), values, grams_from_dict(found["grams"]))


def grams_to_dict(grams: Mapping[str, GramFile]) -> dict[str, dict[str, Any]]:
    """Strings, integers and lists alone, for JSON and for checkpoints."""
    return {
        site: {"file": g.file, "bands": [[*band] for band in g.bands]} for site, g in grams.items()
    }


def grams_from_dict(grams: Mapping[str, Mapping[str, Any]]) -> dict[str, GramFile]:
    """What `grams_to_dict` made a dict of."""
    return {
        site: GramFile(str(g["file"]), tuple((str(name), int(n)) for name, n in g["bands"]))
        for site, g in grams.items()
    }
