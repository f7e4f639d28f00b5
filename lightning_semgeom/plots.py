"""Pictures of a history: the timeline of a run, and Gram matrices side by side.

Figures are made without pyplot: nothing global changes and nothing stays open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_semgeom.history import History
from lightning_semgeom.phases import PhaseDetector

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette: told apart by colour-blind readers, legible on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKS = (("onset_step", "^", "onset"), ("peak_step", "*", "peak"), ("collapse_step", "v", "gone"))
Curve = tuple[np.ndarray, np.ndarray]


def timeline(
    history: History,
    control: History | None = None,
    loss: Curve | None = None,
    phases: Mapping[tuple[str, str], PhaseDetector] | None = None,
) -> Figure:
    """Gaps, asymmetry and loss over log steps, one column a site.

    Args:
        history: the run.
        control: the same run measured with shuffled attributes, drawn in grey.
        loss: steps and values of the training loss.
        phases: the detector of each (site, attribute), for marks at onset, peak and collapse.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sites = history.sites or [""]
    rows = 2 if loss is None else 3
    figure = Figure(figsize=(4.6 * len(sites) + 0.6, 2.1 * rows + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(sites), squeeze=False, sharex=True)
    for column, site in enumerate(sites):
        gaps, asymmetry = axes[0, column], axes[1, column]
        _draw_gaps(gaps, history, site, control, phases or {}, with_legend=column == 0)
        gaps.set_title(site or "nothing recorded")
        if site:
            _draw(asymmetry, history.curve(history.key(site, "asymmetry")), color=COLOURS[-1])
        if loss is not None:
            _draw(axes[2, column], loss, color="#777777", linewidth=1)
    for row, label in enumerate(("gap (cosine)", "asymmetry", "training loss")[:rows]):
        axes[row, 0].set_ylabel(label)
    for axis in axes[-1]:
        axis.set_xlabel("optimizer steps + 1")
    return figure


def _draw_gaps(
    axis: Axes,
    history: History,
    site: str,
    control: History | None,
    phases: Mapping[tuple[str, str], PhaseDetector],
    with_legend: bool,
) -> None:
    axis.axhline(0, color="#BBBBBB", linewidth=0.8)
    if control is not None:
        for number, attribute in enumerate(control.attributes(site)):
            curve = control.curve(control.key(site, f"gap/{attribute}"))
            label = "shuffled (control)" if number == 0 else None
            _draw(axis, curve, color="#999999", linewidth=1, linestyle=":", label=label)
    for number, attribute in enumerate(history.attributes(site)):
        colour = COLOURS[number % len(COLOURS)]
        steps, values = history.curve(history.key(site, f"gap/{attribute}"))
        _draw(axis, (steps, values), color=colour, label=attribute)
        detector = phases.get((site, attribute))
        for milestone, marker, _ in _MARKS if detector else ():
            step = getattr(detector, milestone)
            at = np.flatnonzero(steps == step)
            if at.size:
                axis.plot(
                    steps[at] + 1,
                    values[at],
                    marker,
                    color=colour,
                    markersize=11 if marker == "*" else 7,
                    markeredgecolor="black",
                    markeredgewidth=0.7,
                )
    for _, marker, name in _MARKS if phases else ():
        axis.plot([], [], marker, color="white", markeredgecolor="black", label=name)
    if with_legend and axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7, ncols=2, framealpha=0.85)


def _draw(axis: Axes, curve: Curve, **style: Any) -> None:
    """A curve over steps + 1, so that step 0 has a place on the log axis."""
    steps, values = curve
    axis.set_xscale("log")
    axis.grid(True, color="#EEEEEE")
    known = np.isfinite(values)
    axis.plot(steps[known] + 1, values[known], **style)


def gram_figure(
    panels: Sequence[tuple[str, np.ndarray]],
    bands: Sequence[Sequence[tuple[str, int]]] | None = None,
) -> Figure:
    """Gram matrices side by side, all on the colour range [-1, 1].

    Args:
        panels: title and cosines `[m, m]` of each.
        bands: for each panel the attribute values along its rows, name and number of rows, drawn
            along its edges.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * max(len(panels), 1) + 1.4, 3.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
    image = None
    for number, (axis, (title, gram)) in enumerate(zip(axes, panels, strict=False)):
        image = axis.imshow(gram, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=10, pad=12)
        axis.set_xticks([])
        axis.set_yticks([])
        if bands is not None:
            _draw_bands(axis, bands[number], named=number == 0)
    if image is not None:
        figure.colorbar(image, ax=list(axes), label="cosine", shrink=0.8)
    return figure


def _draw_bands(axis: Axes, bands: Sequence[tuple[str, int]], named: bool) -> None:
    from matplotlib.patches import Rectangle

    width = max(sum(rows for _, rows in bands) / 32, 0.5)
    first, centres = -0.5, []
    for number, (_, rows) in enumerate(bands):
        colour = COLOURS[number % len(COLOURS)]
        span: dict[str, Any] = {"facecolor": colour, "clip_on": False, "edgecolor": "none"}
        axis.add_patch(Rectangle((-0.5 - width, first), width, rows, **span))
        axis.add_patch(Rectangle((first, -0.5 - width), rows, width, **span))
        centres.append(first + rows / 2)
        if number:
            axis.axhline(first, color="#444444", linewidth=0.4)
            axis.axvline(first, color="#444444", linewidth=0.4)
        first += rows
    if named:
        axis.set_yticks(centres, [name for name, _ in bands], fontsize=8)
        axis.tick_params(axis="y", length=0, pad=10)
