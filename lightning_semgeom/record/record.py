"""What one capture found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isnan, nan


@dataclass(frozen=True)
class Record:
    """What one capture found."""

    step: int
    """Optimizer steps that the weights had had."""
    values: Mapping[str, float]
    """Figures by the keys that loggers get; NaN where undefined."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Site -> file of its picture, relative to the history's folder, where one was kept."""

    def __repr__(self) -> str:
        known = {key: value for key, value in self.values.items() if not isnan(value)}
        shown = [f"{key} {value:.3g}" for key, value in known.items() if key.count("/") == 1]
        return (
            f"Record of step {self.step}: {', '.join(shown[:6]) or 'nothing is known'}; "
            f"{len(known)} figures of {len(self.values)} in .values"
        )


@dataclass(frozen=True)
class Milestones:
    """Steps at which phases began; None where one has not begun."""

    onset_step: int | None
    """Structure appeared."""
    peak_step: int | None
    """The largest gap, once confirmed."""
    collapse_step: int | None
    """Structure was gone."""


def picture_file(site: str, step: int) -> str:
    """Where the picture of `site` at `step` usually is, relative to the history's folder."""
    return f"pictures/{site}/{step:08d}.npz"


def mean_of_known(numbers: Iterable[float]) -> float:
    """The mean of those that are not NaN, added up in their order; NaN if none is."""
    known = [number for number in numbers if not isnan(number)]
    return sum(known) / len(known) if known else nan


def listed(steps: list[int], most: int = 12) -> str:
    """`0, 1 and 2`, or the first ones and how many there are."""
    if len(steps) > most:
        return f"{', '.join(map(str, steps[:most]))}, ... ({len(steps)} in all)"
    return f"{', '.join(map(str, steps[:-1]))} and {steps[-1]}"


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """That there is no `name` of a kind, in words, with close ones, or with the first."""
    if not known:
        return f"no {kind} '{name}' in the history, which has none."
    close = get_close_matches(name, known, n=5, cutoff=0.4)
    if close:
        return f"no {kind} '{name}' in the history; close ones: {', '.join(close)}."
    return f"no {kind} '{name}' in the history; it has {', '.join(known[:5])}."
