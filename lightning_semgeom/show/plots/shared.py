"""How alike the rows of one site are at one step, by the number of attributes they share."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_semgeom.record.picture import SitePicture
from lightning_semgeom.show.plots.layout import Margins, few_ticks, fitted, panels, text_width
from lightning_semgeom.show.plots.style import COLOURS, bare_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_MARGINS = Margins(left=0.8, right=0.15, bottom=0.55, top=0.35)
_STEP = 0.05


class SharedDrawing:
    """Mean cosine of the pairs of rows that share no attribute, one, two, and so on."""

    def __init__(self, picture: SitePicture, axis: Axes | None = None) -> None:
        self._is_own = axis is None
        self.axis = panels(bare_figure(6, 3.6), _MARGINS)[0, 0] if axis is None else axis
        self.figure: Figure = self.axis.get_figure(root=True)  # type: ignore[assignment]
        names = picture.unmixed()
        numbers = np.arange(len(names) + 1)
        colours = ["#B5C7DC" if number == 0 else COLOURS[0] for number in numbers]
        self._bars = self.axis.bar(numbers, np.zeros(len(numbers)), 0.6, color=colours).patches
        above: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
        self._counts = [self.axis.annotate("", (k, 0), (0, 2), **above) for k in numbers]
        self.axis.axhline(0, color="#444444", linewidth=0.8)
        self.axis.set_xticks(numbers)
        self.axis.set_xlim(-0.6, len(numbers) - 0.4)
        told = ", ".join(names) or "none that the picture has room for"
        self.axis.set_xlabel(f"shared attributes ({told})", fontsize=9)
        self.axis.set_ylabel("mean cosine")
        self.axis.set_title("", fontsize=10, y=1, pad=6)
        if self._is_own:
            few_ticks(self.axis, "y", 6)
            self._fit(self.axis.xaxis.label)

    @staticmethod
    def layout(picture: SitePicture) -> Hashable:
        """The names of the attributes that count."""
        return picture.unmixed()

    def show(self, picture: SitePicture, title: str) -> Sequence[Hashable]:
        """Put in the cosines, with how many pairs each is of, and the title."""
        shared = picture.shared()
        known = np.isfinite(shared.cosine)
        for number, (bar, count) in enumerate(zip(self._bars, self._counts, strict=True)):
            height = float(shared.cosine[number]) if known[number] else 0.0
            bar.set(height=height, visible=known[number])
            is_up = height >= 0
            count.xy = (number, height)
            count.xyann = (0, 2 if is_up else -2)
            words = _told(shared.pairs[number] / 2) if known[number] else ""
            count.set(text=words, va="bottom" if is_up else "top", fontsize=8)
        limits = _limits(shared.cosine[known])
        self.axis.set_ylim(*limits)
        self.axis.title.set(text=title, fontsize=10)
        if self._is_own:
            self._fit(self.axis.title)
            self._fit_counts()
        return (limits,)

    @property
    def data(self) -> Sequence[Artist]:
        """The bars."""
        return self._bars

    @property
    def notes(self) -> Sequence[Artist]:
        """None."""
        return ()

    @property
    def words(self) -> Sequence[Artist]:
        """The title, and what stands at the bars."""
        return [self.axis.title, *self._counts]

    def _fit(self, text: Text) -> None:
        """Make words as small as the figure needs them."""
        width, _ = _MARGINS.panel(self.figure)
        words, size = fitted(self.figure, text.get_text(), float(text.get_fontsize()), width)
        text.set(text=words, fontsize=size)

    def _fit_counts(self) -> None:
        room = 0.97 * _MARGINS.panel(self.figure)[0] / (len(self._counts) + 0.2)
        widest = max(text_width(self.figure, count.get_text(), 8) for count in self._counts)
        for count in self._counts if widest > room else ():
            count.set_fontsize(8 * room / widest)


def draw_shared(
    picture: SitePicture, title: str = "", axis: Axes | None = None
) -> tuple[Figure, Axes]:
    """Mean cosine of the pairs of rows that share no attribute, one, two, and so on.

    Args:
        picture: of a site at a step.
        title: what to write above.
        axis: where to draw; None for a figure of 600 pixels.
    """
    drawing = SharedDrawing(picture, axis)
    drawing.show(picture, title)
    return drawing.figure, drawing.axis


def _limits(cosines: np.ndarray) -> tuple[float, float]:
    """Of the axis, with room for words at the bars; in steps, so that they seldom change."""
    low, high = cosines.min(initial=0), cosines.max(initial=0)
    room = 0.05 * (high - low)
    low, high = min(low - room * (low < 0), -0.1), max(high + room * (high > 0), 0.3)
    room = 0.08 * (high - low)
    return floor((low - room) / _STEP) * _STEP, ceil((high + room) / _STEP) * _STEP


def _told(pairs: float) -> str:
    return f"{pairs:,.0f} pairs" if pairs < 1e7 else f"{pairs / 1e6:,.0f}M pairs"
