"""The Gram of one site at one step, alone or in a row of several."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_semgeom.record.picture import SitePicture
from lightning_semgeom.show.plots.layout import box, fitted, shortened, text_width
from lightning_semgeom.show.plots.style import COLOURS, bare_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_LINES = 26  # names that fit beside a Gram
_NAMES = 8  # points
_BAR = 1.1  # inches for the scale of colours, its numbers and its label
_COLOUR_MAP = "RdBu_r"


class GramDrawing:
    """The Gram in the order of the first attribute, whose values are bands along its edges."""

    def __init__(self, picture: SitePicture) -> None:
        width, height = 6.0, 5.4
        self.figure = bare_figure(width, height)
        left = 0.55 + _name_width(self.figure, picture, 0.25 * width)
        self._width, self._left = width, left
        self._side = side = min(width - left - _BAR, height - 0.75)
        first = (height - 0.35 - side) / 2
        self.axis = box(self.figure, left, first, side, side)
        self._image = _draw_cells(self.axis, picture, "", 10, side)
        _name_bands(self.axis, picture, side, 0.25 * width)
        self._scale = _draw_scale(self.figure, left + side + 0.15, first, side)
        name, size = fitted(self.figure, str(picture.attributes[0]), 10, side)
        self.axis.set_ylabel(name, fontsize=size)

    @staticmethod
    def layout(picture: SitePicture) -> Hashable:
        """The cells' labels."""
        return len(picture.gram), str(picture.attributes[0]), tuple(picture.bands())

    def show(self, picture: SitePicture, title: str) -> Sequence[Hashable]:
        """Put in the cosines, the title, and what a pixel is."""
        figure, width, left, side = self.figure, self._width, self._left, self._side
        self._image.set_data(_cells(picture))
        words, size = fitted(figure, title, 10, width - 0.2)
        # A long title stands in the middle of the figure, not of the Gram.
        beside = min(left + side / 2, width - left - side / 2)
        is_long = text_width(figure, words, size) > 2 * beside - 0.2
        place = (width / 2 - left) / side if is_long else 0.5
        self.axis.title.set(text=words, fontsize=size, x=place)
        return None, _name_scale(self._scale, picture, side)

    @property
    def data(self) -> Sequence[Artist]:
        """The cells."""
        return [self._image]

    @property
    def notes(self) -> Sequence[Artist]:
        """What a pixel is."""
        return [self._scale.yaxis.label]

    @property
    def words(self) -> Sequence[Artist]:
        """The title."""
        return [self.axis.title]


def draw_gram(
    picture: SitePicture, title: str = "", axis: Axes | None = None
) -> tuple[Figure, Axes]:
    """The Gram in the order of the first attribute, whose values are bands along its edges.

    Args:
        picture: of a site at a step.
        title: what to write above.
        axis: where to draw; None for a figure of 600 pixels.
    """
    if axis is not None:
        _draw_cells(axis, picture, title, 10)
        return _figure(axis), axis
    drawing = GramDrawing(picture)
    drawing.show(picture, title)
    return drawing.figure, drawing.axis


def gram_row(panels: Sequence[tuple[str, SitePicture]]) -> Figure:
    """Grams side by side, all on the colour range [-1, 1].

    Args:
        panels: title and picture of each.
    """
    number = max(len(panels), 1)
    width, height = 3.4 * number + 1.4, 3.7
    figure = bare_figure(width, height)
    named = _name_width(figure, panels[0][1], 1.6) if panels else 0
    left, gap = 0.35 + named, 0.25
    side = min((width - left - _BAR - gap * (number - 1)) / number, height - 0.95)
    spare = (width - left - _BAR - gap * (number - 1) - number * side) / 2
    left, first = left + spare, (height - 0.75 - side) / 2 + 0.05
    axes = [box(figure, left + place * (side + gap), first, side, side) for place in range(number)]
    for axis, (title, picture) in zip(axes, panels, strict=False):
        words, size = fitted(figure, title, 10, side + gap)
        _draw_cells(axis, picture, words, size, side)
    if panels:
        _name_bands(axes[0], panels[0][1], side, 1.6)
        right = left + number * side + (number - 1) * gap
        _name_scale(_draw_scale(figure, right + 0.15, first, side), panels[0][1], side)
    return figure


def _draw_cells(
    axis: Axes, picture: SitePicture, title: str, size: float, side: float = 3.0
) -> AxesImage:
    """Cells, title and bands of a Gram that is `side` inches wide."""
    gram = _cells(picture)
    image = axis.imshow(gram, cmap=_COLOUR_MAP, vmin=-1, vmax=1, interpolation="nearest")
    axis.set_title(
        title, fontsize=size, y=1, pad=_band_width(len(gram)) * side / len(gram) * 72 + 5
    )
    axis.set_xticks([])
    axis.set_yticks([])
    _draw_bands(axis, picture.bands())
    return image


def _cells(picture: SitePicture) -> np.ndarray:
    return picture.gram if picture.gram.size else np.full((1, 1), np.nan)


def _draw_scale(figure: Figure, left: float, bottom: float, height: float) -> Axes:
    """What colours mean, beside Grams, in a quarter of the time of `Figure.colorbar`."""
    axis = box(figure, left, bottom, 0.18, height)
    shades = np.linspace(-1, 1, 256)[:, None]
    span = (0, 1, -1, 1)
    axis.imshow(shades, cmap=_COLOUR_MAP, aspect="auto", origin="lower", extent=span)
    axis.set_xticks([])
    axis.yaxis.tick_right()
    axis.yaxis.set_label_position("right")
    axis.set_yticks([-1, -0.5, 0, 0.5, 1])
    return axis


def _name_scale(scale: Axes, picture: SitePicture, height: float) -> str:
    """Write beside it what a pixel is; what that was."""
    is_one_row = (picture.rows <= 1).all()
    entry = "cosine" if is_one_row else f"mean cosine ({picture.rows.sum()} rows)"
    words, size = fitted(_figure(scale), entry, 10, height)
    scale.set_ylabel(words, fontsize=size)
    return entry


def _draw_bands(axis: Axes, bands: Sequence[tuple[str, int]]) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    total = sum(cells for _, cells in bands)
    width = _band_width(total)
    first, edges = -0.5, []
    for number, (_, cells) in enumerate(bands):
        colour = COLOURS[number % len(COLOURS)]
        span: dict[str, Any] = {"facecolor": colour, "clip_on": False, "edgecolor": "none"}
        for corner, size in (
            ((-0.5 - width, first), (width, cells)),
            ((first, -0.5 - width), (cells, width)),
        ):
            axis.add_artist(Rectangle(corner, *size, **span))
        if number:
            edges.append(first)
        first += cells
    ends = (-0.5, total - 0.5)
    lines = [[(ends[0], at), (ends[1], at)] for at in edges]
    lines += [[(at, ends[0]), (at, ends[1])] for at in edges]
    axis.add_collection(LineCollection(lines, colors="#444444", linewidths=0.4), autolim=False)


def _band_width(cells: int) -> float:
    return max(cells / 32, 0.5)


def _places(bands: Sequence[tuple[str, int]]) -> list[tuple[float, str]]:
    """The middle of each band whose name has room beside it."""
    total, first, places = sum(cells for _, cells in bands), -0.5, []
    room = 0.0
    for name, cells in bands:
        room += cells
        if room >= total / _LINES:
            places.append((first + cells / 2, name))
            room = 0.0
        first += cells
    return places


def _name_width(figure: Figure, picture: SitePicture, most: float) -> float:
    """How wide the bands' names become, in inches."""
    widths = [text_width(figure, name, _NAMES) for _, name in _places(picture.bands())]
    return min(max(widths, default=0.0), most)


def _name_bands(axis: Axes, picture: SitePicture, side: float, most: float) -> None:
    """Write the bands' names beside them, at most so many inches wide."""
    places, figure = _places(picture.bands()), _figure(axis)
    names = [shortened(figure, name, _NAMES, most) for _, name in places]
    cells = max(len(picture.gram), 1)
    axis.set_yticks([at for at, _ in places], names, fontsize=_NAMES)
    axis.tick_params(axis="y", length=0, pad=_band_width(cells) * side / cells * 72 + 4)


def _figure(axis: Axes) -> Figure:
    figure: Any = axis.get_figure(root=True)
    return figure  # type: ignore[no-any-return]
