"""What one look at a model says, in a table and in plain words: no curve, and no phases."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan

from lightning_semgeom.record.history import History

MOMENT_HEADER = ("site", "attribute", "gap", "z", "strength", "partial gap")
_METRICS = (("gap", 3), ("z", 1), ("strength", 3), ("partial_gap", 3))
_CLEAR = 5.0  # of z: as PhaseDetector asks for


def is_moment(histories: Sequence[History]) -> bool:
    """Whether each of them is one look alone."""
    return all(len(history) == 1 for history in histories)


def moment_cells(history: History, mark: str = "") -> list[tuple[str, ...]]:
    """A line for each site and attribute, under `MOMENT_HEADER`; `mark` follows the attribute."""
    return [
        (
            site,
            attribute + mark,
            *(
                _told(_value(history, site, f"{metric}/{attribute}"), digits)
                for metric, digits in _METRICS
            ),
        )
        for site in history.sites
        for attribute in history.attributes(site)
    ]


def moment_sentence(history: History, control: History | None) -> str:
    """What stands out at the first site, and how large the gaps of the control are."""
    site = history.sites[0]
    told = [_clause(history, site, attribute) for attribute in history.attributes(site)]
    text = f"In the {site}, {'; '.join(told)}."
    if control is None:
        return text
    gaps = [_value(control, site, f"gap/{a}") for a in control.attributes(site)]
    largest = max((abs(gap) for gap in gaps if not isnan(gap)), default=0.0)
    return f"{text} With shuffled attributes no gap is larger than {largest:.3f}."


def _clause(history: History, site: str, attribute: str) -> str:
    gap, z = (_value(history, site, f"{metric}/{attribute}") for metric in ("gap", "z"))
    if isnan(gap) or isnan(z):
        return f"{attribute} has no gap: too few of its rows were found"
    told = f"gap {_told(gap, 3)}, z {_told(z, 1)}"
    if gap > 0 and z >= _CLEAR:
        return f"rows that share a value of {attribute} are more alike than others ({told})"
    return f"{attribute} does not stand out from chance ({told})"


def _value(history: History, site: str, metric: str) -> float:
    try:
        return history.records[0].values[history.key(site, metric)]
    except KeyError:  # a history of version 0.1 has fewer figures
        return nan


def _told(value: float, digits: int) -> str:
    return "-" if isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.000
