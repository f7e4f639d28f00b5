"""The timeline of a run: gaps with their phases, asymmetry and loss over log steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_semgeom.record.deceleration import loss_deceleration
from lightning_semgeom.show.plots.layout import (
    Margins,
    few_ticks,
    fitted,
    log_steps,
    panels,
    shortened,
)
from lightning_semgeom.show.plots.style import COLOURS, GREY, bare_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_semgeom.record.history import History

_MARKS = (("onset_step", "^", "onset"), ("peak_step", "*", "peak"), ("collapse_step", "v", "gone"))
_MARGINS = Margins(left=0.9, right=0.2, bottom=0.55, top=0.4, between=(0.7, 0.28))
_LEGEND = 7  # points
_GAP = "gap of an attribute"
Curve = tuple[np.ndarray, np.ndarray]


def timeline(
    history: History, control: History | None = None, loss: Curve | None = None
) -> tuple[Figure, np.ndarray]:
    """Gaps, asymmetry and loss over log steps, one column a site.

    Args:
        history: the run.
        control: the same run measured with shuffled attributes, drawn in grey.
        loss: steps and values of the training loss; a line marks where it decelerates.

    Returns:
        The figure, and its axes `[rows, sites]`.
    """
    sites = history.sites or [""]
    rows = 2 if loss is None else 3
    figure = bare_figure(4.6 * len(sites) + 1.4, 2.1 * rows + 1.2)
    axes = panels(figure, _MARGINS, rows, len(sites), sharex=True)
    room = _MARGINS.panel(figure, rows, len(sites))[0] + _MARGINS.between[0]
    records = [*history.records, *(() if control is None else control.records)]
    last = max([0, *(record.step for record in records), *(() if loss is None else loss[0])])
    slows = None if loss is None else loss_deceleration(*(of.tolist() for of in loss))
    log_steps(axes[0, 0], last + 1)  # the others share its steps
    for column, site in enumerate(sites):
        _draw_attributes(axes[0, column], history, site, control)
        title, size = fitted(figure, site or "nothing recorded", 12, room)
        axes[0, column].set_title(title, fontsize=size, y=1, pad=14)
        if site:
            curve = history.curve(history.key(site, "asymmetry"))
            _draw(axes[1, column], curve, color=COLOURS[-1])
        if loss is not None:
            _draw(axes[2, column], loss, color="#777777", linewidth=1)
            if slows is not None:
                _mark_deceleration(axes[:, column], slows.step)
        for axis in axes[:, column]:
            axis.grid(True, color="#EEEEEE")
            few_ticks(axis, "y")
    _draw_legend(axes[0, 0], lambda name: shortened(figure, name, _LEGEND, room / 2 - 0.9))
    for row, label in enumerate(("gap (cosine)", "asymmetry", "training loss")[:rows]):
        axes[row, 0].set_ylabel(label)
    for axis in axes[-1]:
        axis.set_xlabel("optimizer steps + 1")
    return figure, axes


def draw_gaps(
    axis: Axes,
    history: History,
    site: str,
    control: History | None = None,
    with_legend: bool = True,
    label: str | None = None,
) -> None:
    """The gap of each attribute at `site`, with marks where phases began.

    What is drawn there already keeps its colours, and others follow.
    """
    axis.set_xscale("log")
    axis.grid(True, color="#EEEEEE")
    _draw_attributes(axis, history, site, control, label)
    if with_legend:
        _draw_legend(axis)


def _draw_attributes(
    axis: Axes, history: History, site: str, control: History | None, label: str | None = None
) -> None:
    before = sum(line.get_gid() == _GAP for line in axis.get_lines())
    axis.axhline(0, color="#BBBBBB", linewidth=0.8)
    if control is not None and site in control.sites:
        for number, attribute in enumerate(control.attributes(site)):
            curve = control.curve(control.key(site, f"gap/{attribute}"))
            told = "shuffled (control)" if number == 0 else None
            _draw(axis, curve, color=GREY, linewidth=1, linestyle=":", label=told)
    marked = False
    for number, attribute in enumerate(history.attributes(site), before):
        colour = COLOURS[number % len(COLOURS)]
        steps, values = history.gap(attribute, site)
        told = attribute if label is None else f"{label}: {attribute}"
        _draw(axis, (steps, values), color=colour, label=told, gid=_GAP)
        milestones = history.milestones(site, attribute)
        for name, marker, _ in _MARKS:
            at = np.flatnonzero(steps == getattr(milestones, name))
            if not at.size:
                continue
            marked = True
            axis.plot(
                steps[at] + 1,
                values[at],
                marker,
                color=colour,
                markersize=11 if marker == "*" else 7,
                markeredgecolor="black",
                markeredgewidth=0.7,
            )
    there = {line.get_label() for line in axis.get_lines()}
    for _, marker, name in (mark for mark in _MARKS if marked and mark[2] not in there):
        axis.plot([], [], marker, color="white", markeredgecolor="black", label=name)


def _mark_deceleration(axes: np.ndarray, step: float) -> None:
    """A line through gaps and loss where the loss slows down."""
    for axis, told in ((axes[0], "loss decelerates"), (axes[2], None)):
        axis.axvline(step + 1, color="#777777", linewidth=1, linestyle="--", label=told)


def _draw_legend(axis: Axes, told: Callable[[str], str] = str) -> None:
    handles, names = axis.get_legend_handles_labels()
    if handles:
        names = [told(name) for name in names]
        axis.legend(handles, names, fontsize=_LEGEND, ncols=2, framealpha=0.85)


def _draw(axis: Axes, curve: Curve, **style: Any) -> None:
    """A curve over steps + 1, so that step 0 has a place on the log axis."""
    steps, values = curve
    known = np.isfinite(values)
    axis.plot(steps[known] + 1, values[known], **style)
