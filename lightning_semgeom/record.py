"""What one capture found, and how it is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, nan


@dataclass(frozen=True)
class Record:
    """What one capture found."""

    step: int
    """Optimizer steps that the weights had had."""
    values: Mapping[str, float]
    """Figures by the keys that loggers get; NaN where undefined."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Site -> file of its picture, relative to the history's folder, where one was kept."""


@dataclass(frozen=True)
class Milestones:
    """Steps at which phases began; None where one has not begun."""

    onset_step: int | None
    """Structure appeared."""
    peak_step: int | None
    """The largest gap, once confirmed."""
    collapse_step: int | None
    """Structure was gone."""


def to_json(record: Record) -> str:
    """One line of strict JSON; what is not finite is null."""
    values = {key: value if isfinite(value) else None for key, value in record.values.items()}
    line = {"step": record.step, "values": values, "pictures": dict(record.pictures)}
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
    pictures = {str(site): str(file) for site, file in found["pictures"].items()}
    return Record(int(found["step"]), values, pictures)
