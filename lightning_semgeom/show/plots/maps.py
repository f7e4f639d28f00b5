"""The map of one site at one step: which cells lie near each other, and what they share."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_semgeom.record.picture import MIXED, SitePicture
from lightning_semgeom.show.plots.layout import (
    Margins,
    few_ticks,
    fitted,
    panels,
    shortened,
    text_width,
)
from lightning_semgeom.show.plots.style import bare_figure, value_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARGINS = Margins(left=0.72, right=0.12, bottom=0.5, top=0.52, between=(0.15, 0.32))


def draw_map(picture: SitePicture, title: str = "") -> tuple[Figure, np.ndarray]:
    """The first two principal components of the cells, once an attribute, coloured by its values.

    Args:
        picture: of a site at a step.
        title: what to write above.

    Returns:
        The figure, and its axes `[A]`.
    """
    positions, shares = picture.map()
    number = max(len(picture.attributes), 1)
    columns = min(number, 2)
    lines = ceil(number / columns)
    figure = bare_figure(6, 0.5 + (5.4 if columns == 1 else 3.0) * lines)
    grid = panels(figure, _MARGINS, lines, columns, sharex=True, sharey=True).ravel()
    axes: np.ndarray = grid[:number]
    for unused in grid[number:]:
        unused.set_axis_off()
    width, height = _MARGINS.panel(figure, lines, columns)
    area = 14 * np.sqrt(picture.rows / max(picture.rows.mean(), 1)) if len(picture.rows) else 14
    for a, axis in enumerate(axes[: len(picture.attributes)]):
        _draw_points(axis, positions, area, picture.labels[:, a].tolist(), width)
        name, size = fitted(figure, str(picture.attributes[a]), 9, width)
        axis.set_title(name, fontsize=size, y=1, pad=5)
        axis.set_aspect("equal")
        axis.tick_params(labelsize=7)
        axis.grid(True, color="#EEEEEE")
    _set_limits(axes[0], positions, height / width)
    few_ticks(axes[0], number=6 if columns == 1 else 4)
    names = [
        f"principal component {number + 1}{'' if np.isnan(share) else f' ({100 * share:.0f} %)'}"
        for number, share in enumerate(shares)
    ]
    across, down = figure.get_size_inches()
    middle = 0.5 + (_MARGINS.left - _MARGINS.right) / across / 2
    figure.supxlabel(names[0], fontsize=8, x=middle, y=0.08 / down)
    figure.supylabel(names[1], fontsize=8, x=0.08 / across)
    words, size = fitted(figure, title, 10, across - 0.2)
    figure.suptitle(words, fontsize=size, y=1 - 0.08 / down)
    return figure, axes


def _set_limits(axis: Axes, positions: np.ndarray, shape: float) -> None:
    """The same scale on both axes, with room around the points; `shape` is height to width."""
    known = positions[np.isfinite(positions).all(1)]
    if not len(known):
        return
    low, high = known.min(0), known.max(0)
    reach = max(0.55 * max(high[0] - low[0], (high[1] - low[1]) / shape), 1e-3)
    middle = (low + high) / 2
    axis.set_xlim(middle[0] - reach, middle[0] + reach)
    axis.set_ylim(middle[1] - shape * reach, middle[1] + shape * reach)


def _draw_points(
    axis: Axes, positions: np.ndarray, area: Any, labels: list[str], width: float
) -> None:
    """The cells, a colour a value; the axis is `width` inches wide."""
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path
    from matplotlib.transforms import IdentityTransform

    colours = value_colours([label for label in labels if label != MIXED])
    area = np.broadcast_to(area, len(labels))
    values = np.array(labels, dtype=np.str_)
    others = ~np.isin(values, [*colours])
    drawn = {}
    for name, chosen, colour in [
        ("other or none", others, "#CCCCCC"),
        *((label, values == label, colour) for label, colour in colours.items()),
    ]:
        if chosen.any():
            # As Axes.scatter makes it, which takes longest to find limits: they are known here.
            points = PathCollection(
                [Path.circle(radius=0.5)],
                area[chosen],
                offsets=positions[chosen],
                offset_transform=axis.transData,
                facecolors=colour,
                edgecolors="white",
                linewidths=0.3,
                label=name,
            )
            points.set_transform(IdentityTransform())  # sizes are points, not data
            drawn[name] = points
            axis.add_collection(points, autolim=False)
    if drawn:
        _draw_legend(axis, drawn, width)


def _draw_legend(axis: Axes, drawn: dict[str, Any], width: float) -> None:
    figure: Any = axis.get_figure(root=True)
    size, mark = 6.5, 0.35  # points; inches beside a name
    widest = max(text_width(figure, name, size) for name in drawn)
    columns = 2 if widest + mark <= width / 2 else 1
    names = [shortened(figure, name, size, width / columns - mark) for name in drawn]
    axis.legend(
        [*drawn.values()],
        names,
        fontsize=size,
        ncols=columns,
        framealpha=0.7,
        handletextpad=0.1,
        columnspacing=0.6,
    )
