"""Which steps of a run to measure: `0:512,1000:143000:10`.

Parts are joined by commas. `1000` is that step, `0:512` all that there are from 0 to 512, both
included, and `1000:143000:10` every tenth of those that there are, from the first on. An end that
is left out is the run's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from lightning_semgeom.record.record import listed

_PART = re.compile(r"(\d+)|(\d*):(\d*)(?::(\d+))?")
_EXPECTED = (
    "expected parts joined by commas: 1000 is one step, 0:512 all from 0 to 512, 1000:143000:10 "
    "every tenth of those that there are from 1000 to 143000"
)


class _Part(NamedTuple):
    text: str
    begin: int
    end: float
    every: int


class ChosenSteps:
    """The steps that a text chooses of those that there are.

    Args:
        text: as this module says.

    Raises:
        ValueError: if it is none.
    """

    def __init__(self, text: str) -> None:
        self._parts = [_part(part.strip(), text) for part in text.split(",")]

    def of(self, steps: Iterable[int]) -> tuple[set[int], list[str]]:
        """Those that are chosen; and a line for each part that chooses none.

        Raises:
            ValueError: if none is.
        """
        there = sorted(set(steps))
        chosen: set[int] = set()
        lacking = []
        for text, begin, end, every in self._parts:
            found = [step for step in there if begin <= step <= end][::every]
            chosen.update(found)
            if not found and there:
                near = min(there, key=lambda step: abs(step - begin))
                what = f"step {text} is not" if text.isdecimal() else f"no step of {text} is"
                lacking.append(f"{what} there; the nearest to {begin} is {near}.")
        if there and not chosen:
            raise ValueError(f"steps: {' '.join(lacking)} There are steps {listed(there)}.")
        return chosen, lacking


def _part(part: str, text: str) -> _Part:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(f"steps: '{part}' in '{text}' is no step and no range; {_EXPECTED}.")
    alone, begin, end, every = match.groups()
    if alone is not None:
        return _Part(part, int(alone), int(alone), 1)
    found = _Part(part, int(begin or 0), int(end) if end else float("inf"), int(every or 1))
    if found.begin > found.end or not found.every:
        raise ValueError(f"steps: '{part}' in '{text}' chooses nothing; {_EXPECTED}.")
    return found
