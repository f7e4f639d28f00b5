"""What a history says, in numbers a table can show and in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf, isnan, nan
from typing import TYPE_CHECKING

from lightning_semgeom.record.places import CONTROL, control_file
from lightning_semgeom.record.record import Milestones, listed
from lightning_semgeom.stores import is_in_store, is_there

if TYPE_CHECKING:
    from lightning_semgeom.record.history import History


@dataclass(frozen=True)
class CurveSummary:
    """The gap of one attribute at one site, from its first capture to its last."""

    site: str
    attribute: str
    milestones: Milestones
    """When its phases began."""
    start: float
    """The first gap."""
    top: float
    """The largest gap."""
    end: float
    """The last gap."""
    z_at_top: float
    """z at the largest gap."""

    @property
    def is_late(self) -> bool:
        """Whether the onset came after the peak."""
        steps = self.milestones
        return (steps.onset_step or 0) > (inf if steps.peak_step is None else steps.peak_step)

    @property
    def ending(self) -> str:
        """When it was gone, or in what state the run left it."""
        steps = self.milestones
        if steps.onset_step is None:
            return "-"
        if steps.peak_step is None:
            return "still rising"
        return "not yet" if steps.collapse_step is None else str(steps.collapse_step)

    @property
    def words(self) -> str:
        """All about it in a clause."""
        steps = self.milestones
        if steps.onset_step is None:
            return f"{self.attribute} did not emerge"
        start = f"{self.attribute} emerged at step {steps.onset_step}"
        if steps.peak_step is None:
            return f"{start} and had not fallen from its peak by the end"
        kept = f"{100 * max(self.end, 0) / self.top:.0f} % of that was left at the end"
        if steps.collapse_step is None:
            return f"{start}, peaked at {steps.peak_step}, and {kept}"
        return (
            f"{start}, peaked at {steps.peak_step}, was gone by {steps.collapse_step}, and {kept}"
        )


def known_gaps(history: History, site: str, metric: str = "gap") -> dict[int, float]:
    """The gap of all or one attribute by step, where it is defined."""
    steps, gaps = history.curve(history.key(site, metric))
    return {int(step): float(g) for step, g in zip(steps, gaps, strict=True) if not isnan(g)}


def summaries(history: History) -> list[CurveSummary]:
    """One for each site and attribute that has a gap."""
    found = []
    steps = [record.step for record in history]
    for site in history.sites:
        for attribute in history.attributes(site):
            gaps = known_gaps(history, site, f"gap/{attribute}")
            if not gaps:
                continue
            milestones = history.milestones(site, attribute)
            top = max(gaps, key=lambda step: gaps[step])
            if milestones.peak_step in gaps:
                top = milestones.peak_step
            z = f"z/{attribute}"
            known = z in history.metrics(site)  # not where somebody made the records by hand
            zs = history.curve(history.key(site, z))[1] if known else [nan] * len(steps)
            start, *_, end = [*gaps.values()] * 2
            found.append(
                CurveSummary(
                    site, attribute, milestones, start, gaps[top], end, zs[steps.index(top)]
                )
            )
    return found


HEADER = ("site", "attribute", "onset", "peak", "gone", "start", "peak", "end", "z at peak")


def cells(summary: CurveSummary, mark: str = "") -> tuple[str, ...]:
    """A line of a table under `HEADER`; `mark` follows the attribute's name."""
    onset, peak = summary.milestones.onset_step, summary.milestones.peak_step
    return (
        summary.site,
        summary.attribute + mark,
        "-" if onset is None else str(onset),
        "-" if peak is None else str(peak),
        summary.ending,
        *(f"{gap:.3f}" for gap in (summary.start, summary.top, summary.end)),
        f"{summary.z_at_top:.1f}",
    )


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 2) -> str:
    """A header and rows in columns of one width; the first `left` ones begin at one place."""
    widths = _widths(header, rows)
    lines = []
    for row in [header, *rows]:
        words = [cell.ljust(width) for cell, width in zip(row[:left], widths[:left], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[left:], widths[left:], strict=True)]
        lines.append("  ".join(words + numbers))
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _widths(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(header, *rows, strict=True)]


def table_of(history: History, control: History | None = None) -> str:
    """When each attribute emerged, peaked and was gone at each site, and its shuffled control."""
    found = summaries(history)
    rows = [cells(summary) for summary in found]
    if control is not None:
        rows += [cells(summary, " (shuffled)") for summary in summaries(control)]
    widths = _widths(HEADER, rows)
    above = " " * (sum(widths[:5]) + 10) + "gap".center(sum(widths[5:8]) + 4)
    table = f"{above.rstrip()}\n{text_table(HEADER, rows)}"
    return "\n\n".join([table, *notes(history, found, control)])


def notes(
    history: History, found: Sequence[CurveSummary], control: History | None = None
) -> list[str]:
    """What a reader of its table has to know, a line each.

    Args:
        history: of which the table is.
        found: its `summaries`.
        control: the same run measured with shuffled attributes, if the reader sees it.
    """
    told = []
    peaks = [s for s in found if s.milestones.peak_step is not None]
    if peaks and control is None and not _has_control(history):
        told.append(
            "No control was measured, and attributes without meaning may peak, too: measure "
            f"table.shuffled(0) beside these, under the name '{history.name}{CONTROL}'."
        )
    late = [f"{s.attribute} in {s.site}" for s in peaks if s.is_late]
    if late:
        told.append(
            f"The onset of {'; '.join(late)} comes after the peak. The peak is the largest gap "
            "itself; an onset is told by averages over captures, which follow a fast rise late."
        )
    return told


def _has_control(history: History) -> bool:
    """Whether it is a control itself, or has one beside it on this machine."""
    if history.name.endswith(CONTROL) or history.folder is None:
        return history.name.endswith(CONTROL)
    return not is_in_store(history.folder) and is_there(control_file(history.folder))


def sentence(history: History, control: History | None = None) -> str:
    """The run in plain words, at its first site."""
    if not history.sites:
        return "Nothing was recorded."
    site = history.sites[0]
    told = [summary.words for summary in summaries(history) if summary.site == site]
    if control is not None:
        alarms = sum(s.milestones.onset_step is not None for s in summaries(control))
        told.append(
            f"{alarms} shuffled curves emerged, too" if alarms else "shuffled attributes never did"
        )
    same = "".join(
        f" Steps {listed(steps)} have the same figures to the bit: their weights may be copies."
        for steps in identical_steps(history)
    )
    return f"In the {site}, {'; '.join(told) or 'no gap is defined'}.{same}"


def identical_steps(history: History) -> list[list[int]]:
    """Groups of steps at which every figure of every site was the same to the bit."""
    # What is known of the steps before is another at each step.
    of_run = {"phase", "asymmetry_peak_step", *(found.name for found in fields(Milestones))}
    measured = [key for key in history.keys if key.split("/")[1] not in of_run]
    found: dict[tuple[float, ...], list[int]] = {}
    for record in history:
        figures = tuple(record.values.get(key, nan) for key in measured)
        known = tuple(0.0 if isnan(figure) else figure for figure in figures)
        if any(known):
            found.setdefault(known, []).append(record.step)
    return [steps for steps in found.values() if len(steps) > 1]
