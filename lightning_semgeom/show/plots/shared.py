"""How alike the rows of one site are at one step, by the number of attributes they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_semgeom.record.picture import SitePicture
from lightning_semgeom.show.plots.layout import Margins, few_ticks, fitted, panels, text_width
from lightning_semgeom.show.plots.style import COLOURS, bare_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARGINS = Margins(left=0.8, right=0.15, bottom=0.55, top=0.35)


def draw_shared(
    picture: SitePicture, title: str = "", axis: Axes | None = None
) -> tuple[Figure, Axes]:
    """Mean cosine of the pairs of rows that share no attribute, one, two, and so on.

    Args:
        picture: of a site at a step.
        title: what to write above.
        axis: where to draw; None for a figure of 600 pixels.
    """
    own = axis is None
    axis = panels(bare_figure(6, 3.6), _MARGINS)[0, 0] if axis is None else axis
    shared = picture.shared()
    numbers = np.arange(len(shared.cosine))
    known = np.isfinite(shared.cosine)
    colours = ["#B5C7DC" if number == 0 else COLOURS[0] for number in numbers[known]]
    bars = axis.bar(numbers[known], shared.cosine[known], 0.6, color=colours)
    counts = [_told(pairs / 2) for pairs in shared.pairs[known]]
    axis.bar_label(bars, counts, fontsize=8, padding=2)
    axis.axhline(0, color="#444444", linewidth=0.8)
    low, high = min(axis.get_ylim()[0], -0.1), max(axis.get_ylim()[1], 0.3)
    axis.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    axis.set_xticks(numbers)
    axis.set_xlim(-0.6, len(numbers) - 0.4)
    names = ", ".join(shared.attributes) or "none that the picture has room for"
    axis.set_xlabel(f"shared attributes ({names})", fontsize=9)
    axis.set_ylabel("mean cosine")
    axis.set_title(title, fontsize=10, y=1, pad=6)
    figure: Any = axis.get_figure(root=True)
    if own:
        few_ticks(axis, "y", 6)
        _fit_words(figure, axis)
    return figure, axis


def _told(pairs: float) -> str:
    return f"{pairs:,.0f} pairs" if pairs < 1e7 else f"{pairs / 1e6:,.0f}M pairs"


def _fit_words(figure: Figure, axis: Axes) -> None:
    """Make words as small as the figure needs them."""
    width, _ = _MARGINS.panel(figure)
    for text in (axis.title, axis.xaxis.label):
        words, size = fitted(figure, text.get_text(), float(text.get_fontsize()), width)
        text.set(text=words, fontsize=size)
    room = 0.97 * width / (len(axis.get_xticks()) + 0.2)
    widest = max((text_width(figure, text.get_text(), 8) for text in axis.texts), default=0.0)
    for text in axis.texts if widest > room else ():
        text.set_fontsize(8 * room / widest)
