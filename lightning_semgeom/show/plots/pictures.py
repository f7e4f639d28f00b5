"""Pictures of one site at one step: its Gram, its map, and what sharing attributes does."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_semgeom.record.picture import MIXED, SitePicture
from lightning_semgeom.show.plots.style import COLOURS, new_figure, value_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = 26  # names that fit beside a Gram


def draw_gram(
    picture: SitePicture, title: str = "", axis: Axes | None = None
) -> tuple[Figure, Axes]:
    """The Gram in the order of the first attribute, whose values are bands along its edges.

    Args:
        picture: of a site at a step.
        title: what to write above.
        axis: where to draw; None for a figure of 600 pixels.
    """
    own = axis is None
    axis = new_figure(6, 5.4).subplots() if axis is None else axis
    gram = picture.gram if picture.gram.size else np.full((1, 1), np.nan)
    image = axis.imshow(gram, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axis.set_title(title, fontsize=10, pad=12)
    axis.set_xticks([])
    axis.set_yticks([])
    _draw_bands(axis, picture.bands(), named=own)
    figure = _figure(axis)
    if own:
        figure.colorbar(image, ax=axis, label=_entry(picture), shrink=0.8)
        axis.set_ylabel(picture.attributes[0])
    return figure, axis


def gram_row(panels: Sequence[tuple[str, SitePicture]]) -> Figure:
    """Grams side by side, all on the colour range [-1, 1].

    Args:
        panels: title and picture of each.
    """
    figure = new_figure(3.4 * max(len(panels), 1) + 1.4, 3.7)
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
    for axis, (title, picture) in zip(axes, panels, strict=False):
        draw_gram(picture, title, axis)
    for axis, (_, picture) in [*zip(axes, panels, strict=False)][:1]:
        _name_bands(axis, picture.bands())
    if panels:
        label = _entry(panels[0][1])
        figure.colorbar(axes[0].images[0], ax=list(axes), label=label, shrink=0.8)
    return figure


def _entry(picture: SitePicture) -> str:
    """What a pixel is, in words."""
    return "cosine" if (picture.rows <= 1).all() else f"mean cosine ({picture.rows.sum()} rows)"


def _draw_bands(axis: Axes, bands: Sequence[tuple[str, int]], named: bool) -> None:
    from matplotlib.patches import Rectangle

    width = max(sum(cells for _, cells in bands) / 32, 0.5)
    first = -0.5
    for number, (_, cells) in enumerate(bands):
        colour = COLOURS[number % len(COLOURS)]
        span: dict[str, Any] = {"facecolor": colour, "clip_on": False, "edgecolor": "none"}
        axis.add_patch(Rectangle((-0.5 - width, first), width, cells, **span))
        axis.add_patch(Rectangle((first, -0.5 - width), cells, width, **span))
        if number:
            axis.axhline(first, color="#444444", linewidth=0.4)
            axis.axvline(first, color="#444444", linewidth=0.4)
        first += cells
    if named:
        _name_bands(axis, bands)


def _name_bands(axis: Axes, bands: Sequence[tuple[str, int]]) -> None:
    """Write the bands' names beside them, as far as they have room."""
    total, first, places = sum(cells for _, cells in bands), -0.5, []
    room = 0.0
    for name, cells in bands:
        room += cells
        if room >= total / _LINES:
            places.append((first + cells / 2, name))
            room = 0.0
        first += cells
    axis.set_yticks([at for at, _ in places], [name for _, name in places], fontsize=8)
    axis.tick_params(axis="y", length=0, pad=10)


def draw_shared(
    picture: SitePicture, title: str = "", axis: Axes | None = None
) -> tuple[Figure, Axes]:
    """Mean cosine of the pairs of rows that share no attribute, one, two, and so on.

    Args:
        picture: of a site at a step.
        title: what to write above.
        axis: where to draw; None for a figure of 600 pixels.
    """
    axis = new_figure(6, 3.6).subplots() if axis is None else axis
    shared = picture.shared()
    numbers = np.arange(len(shared.cosine))
    known = np.isfinite(shared.cosine)
    colours = ["#B5C7DC" if number == 0 else COLOURS[0] for number in numbers[known]]
    bars = axis.bar(numbers[known], shared.cosine[known], 0.6, color=colours)
    counts = [f"{pairs / 2:,.0f} pairs" for pairs in shared.pairs[known]]
    axis.bar_label(bars, counts, fontsize=8, padding=2)
    axis.axhline(0, color="#444444", linewidth=0.8)
    low, high = min(axis.get_ylim()[0], -0.1), max(axis.get_ylim()[1], 0.3)
    axis.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    axis.set_xticks(numbers)
    axis.set_xlim(-0.6, len(numbers) - 0.4)
    names = ", ".join(shared.attributes) or "none that the picture has room for"
    axis.set_xlabel(f"shared attributes ({names})", fontsize=9)
    axis.set_ylabel("mean cosine")
    axis.set_title(title, fontsize=10)
    return _figure(axis), axis


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
    figure = new_figure(6, 0.5 + (5.4 if columns == 1 else 3.0) * lines)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    axes: np.ndarray = grid[:number]
    for unused in grid[number:]:
        unused.set_axis_off()
    area = 14 * np.sqrt(picture.rows / max(picture.rows.mean(), 1)) if len(picture.rows) else 14
    for a, axis in enumerate(axes[: len(picture.attributes)]):
        _draw_points(axis, positions, area, picture.labels[:, a].tolist())
        axis.set_title(str(picture.attributes[a]), fontsize=9)
        axis.set_aspect("equal")
        axis.tick_params(labelsize=7)
        axis.grid(True, color="#EEEEEE")
    names = [
        f"principal component {number + 1}{'' if np.isnan(share) else f' ({100 * share:.0f} %)'}"
        for number, share in enumerate(shares)
    ]
    figure.supxlabel(names[0], fontsize=8)
    figure.supylabel(names[1], fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure, axes


def _draw_points(axis: Axes, positions: np.ndarray, area: Any, labels: list[str]) -> None:
    colours = value_colours([label for label in labels if label != MIXED])
    area = np.broadcast_to(area, len(labels))
    values = np.array(labels, dtype=np.str_)
    others = ~np.isin(values, [*colours])
    for name, chosen, colour in [
        ("other or none", others, "#CCCCCC"),
        *((label, values == label, colour) for label, colour in colours.items()),
    ]:
        if chosen.any():
            x, y = positions[chosen].T
            axis.scatter(
                x, y, area[chosen], c=colour, label=name, edgecolors="white", linewidths=0.3
            )
    if labels:
        axis.legend(fontsize=6.5, ncols=2, framealpha=0.7, handletextpad=0.1, columnspacing=0.6)


def _figure(axis: Axes) -> Figure:
    figure: Any = axis.get_figure(root=True)
    return figure  # type: ignore[no-any-return]
