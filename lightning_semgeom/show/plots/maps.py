"""The map of one site at one step: which cells lie near each other, and what they share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any, Final

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
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.transforms import Bbox

    Limits = tuple[tuple[float, float], tuple[float, float]]

_MARGINS = Margins(left=0.72, right=0.12, bottom=0.5, top=0.52, between=(0.15, 0.32))
_AREA = 14.0  # square points of a cell with as many rows as the mean
_REACHES = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12.5)
# Where legends may be, by matplotlib's codes from 1.
_CORNERS: Final = ("NE", "NW", "SW", "SE", "E", "W", "E", "S", "N", "C")


class MapDrawing:
    """The first two principal components of the cells, once an attribute, coloured by values."""

    def __init__(self, picture: SitePicture) -> None:
        number = max(len(picture.attributes), 1)
        columns = min(number, 2)
        lines = ceil(number / columns)
        self.figure = bare_figure(6, 0.5 + (5.4 if columns == 1 else 3.0) * lines)
        grid = panels(self.figure, _MARGINS, lines, columns, sharex=True, sharey=True).ravel()
        self.axes: np.ndarray = grid[:number]
        for unused in grid[number:]:
            unused.set_axis_off()
        width, height = _MARGINS.panel(self.figure, lines, columns)
        self._shape = height / width
        self._points: list[tuple[np.ndarray, PathCollection]] = []
        self._legends: list[Legend] = []
        for a, axis in enumerate(self.axes[: len(picture.attributes)]):
            if len(picture.labels):
                of_colours = _cells_of(picture.labels[:, a].tolist())
                self._points.append(_draw_points(axis, of_colours))
                self._legends.append(_draw_legend(axis, of_colours, width))
            name, size = fitted(self.figure, str(picture.attributes[a]), 9, width)
            axis.set_title(name, fontsize=size, y=1, pad=5)
            axis.set_aspect("equal")
            axis.tick_params(labelsize=7)
            axis.grid(True, color="#EEEEEE")
        few_ticks(self.axes[0], number=6 if columns == 1 else 4)
        across, down = self.figure.get_size_inches()
        middle = 0.5 + (_MARGINS.left - _MARGINS.right) / across / 2
        self._title = self.figure.suptitle("", y=1 - 0.08 / down)
        self._names = (
            self.figure.supxlabel("", fontsize=8, x=middle, y=0.08 / down),
            self.figure.supylabel("", fontsize=8, x=0.08 / across),
        )
        self._sizes = [legend.get_window_extent() for legend in self._legends]

    @staticmethod
    def layout(picture: SitePicture) -> Hashable:
        """The attributes, and the cells' labels."""
        labels = picture.labels
        return (*picture.attributes.tolist(),), labels.shape, labels.dtype, labels.tobytes()

    def show(self, picture: SitePicture, title: str) -> Sequence[Hashable]:
        """Put in where the cells are, their sizes, and the words around."""
        positions, shares = picture.map()
        area = _AREA * np.sqrt(picture.rows / max(picture.rows.sum() / max(len(positions), 1), 1))
        for order, points in self._points:
            points.set(offsets=positions[order], sizes=area[order])
        known = positions[np.isfinite(positions).all(1)]
        limits = _limits(known, self._shape)
        self.axes[0].set(xlim=limits[0], ylim=limits[1])
        notes: list[Hashable] = [
            _place_legend(*one, known) for one in zip(self._legends, self._sizes, strict=True)
        ]
        for number, (name, share) in enumerate(zip(self._names, shares, strict=True), 1):
            told = "" if np.isnan(share) else f" ({100 * share:.0f} %)"
            name.set_text(f"principal component {number}{told}")
            notes.append(told)
        words, size = fitted(self.figure, title, 10, self.figure.get_size_inches()[0] - 0.2)
        self._title.set(text=words, fontsize=size)
        return limits, *notes

    @property
    def data(self) -> Sequence[Artist]:
        """The cells."""
        return [points for _, points in self._points]

    @property
    def notes(self) -> Sequence[Artist]:
        """What the colours mean, and what the axes are."""
        return [*self._legends, *self._names]

    @property
    def words(self) -> Sequence[Artist]:
        """The title."""
        return [self._title]


def draw_map(picture: SitePicture, title: str = "") -> tuple[Figure, np.ndarray]:
    """The first two principal components of the cells, once an attribute, coloured by its values.

    Args:
        picture: of a site at a step.
        title: what to write above.

    Returns:
        The figure, and its axes `[A]`.
    """
    drawing = MapDrawing(picture)
    drawing.show(picture, title)
    return drawing.figure, drawing.axes


def _limits(known: np.ndarray, shape: float) -> Limits:
    """The same scale on both axes, with room around the points; `shape` is height to width.

    They go in steps, so that what one sees move from one picture to the next are points.
    """
    low, high = (known.min(0), known.max(0)) if len(known) else (-np.ones(2), np.ones(2))
    least = max(0.6 * max(high[0] - low[0], (high[1] - low[1]) / shape), 1e-3)
    power = 10.0 ** floor(log10(least))
    reach = next(step * power for step in _REACHES if step * power >= least)
    reaches = np.array([reach, shape * reach])
    middle = np.round((low + high) / 2 / reaches * 5) / 5 * reaches
    (left, bottom), (right, top) = (middle - reaches).tolist(), (middle + reaches).tolist()
    return (left, right), (bottom, top)


def _cells_of(labels: list[str]) -> dict[str, tuple[str, np.ndarray]]:
    """By name in the legend a colour, and which cells have it: those drawn first come first."""
    colours = value_colours([label for label in labels if label != MIXED])
    values = np.array(labels, dtype=np.str_)
    others = {"other or none": ("#CCCCCC", (~np.isin(values, [*colours])).nonzero()[0])}
    named = {label: (colour, (values == label).nonzero()[0]) for label, colour in colours.items()}
    return {name: found for name, found in (others | named).items() if found[1].size}


def _draw_points(
    axis: Axes, cells: Mapping[str, tuple[str, np.ndarray]]
) -> tuple[np.ndarray, PathCollection]:
    """Points that have no places yet, and which cell each of them is."""
    order = np.concatenate([chosen for _, chosen in cells.values()])
    colours = [colour for colour, chosen in cells.values() for _ in chosen]
    points = _points(colours, offsets=np.zeros((len(order), 2)), offset_transform=axis.transData)
    axis.add_collection(points, autolim=False)
    return order, points


def _points(colours: list[str], **where: Any) -> PathCollection:
    """As Axes.scatter makes them, which takes longest to find limits: they are known here."""
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path
    from matplotlib.transforms import IdentityTransform

    look: dict[str, Any] = {"facecolors": colours, "edgecolors": "white", "linewidths": 0.3}
    points = PathCollection([Path.circle(radius=0.5)], [_AREA], **look, **where)
    points.set_transform(IdentityTransform())  # sizes are points, not data
    return points


def _draw_legend(axis: Axes, cells: Mapping[str, tuple[str, np.ndarray]], width: float) -> Legend:
    """What the colours mean; the axis is `width` inches wide."""
    figure: Any = axis.get_figure(root=True)
    size, mark = 6.5, 0.35  # points; inches beside a name
    widest = max(text_width(figure, name, size) for name in cells)
    columns = 2 if widest + mark <= width / 2 else 1
    names = [shortened(figure, name, size, width / columns - mark) for name in cells]
    return axis.legend(
        [_points([colour]) for colour, _ in cells.values()],
        names,
        fontsize=size,
        ncols=columns,
        framealpha=0.7,
        handletextpad=0.1,
        columnspacing=0.6,
    )


def _place_legend(legend: Legend, extent: Bbox, known: np.ndarray) -> int:
    """Put it where it hides fewest points, as `loc="best"` does each time that it is drawn."""
    figure: Any = legend.get_figure(root=True)
    axis: Any = legend.axes
    pad = legend.borderaxespad * legend.prop.get_size_in_points() * figure.dpi / 72
    room, places = axis.bbox.padded(-pad), axis.transData.transform(known)
    hidden = [extent.anchored(at, room).count_contains(places) for at in _CORNERS]
    code = 1 + int(np.argmin(hidden))
    legend.set_loc(code)
    return code
