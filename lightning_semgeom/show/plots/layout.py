"""Where the parts of a picture are, in inches, and which words fit there.

A layout engine draws a picture three times over to find that out; here it follows from the size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMALLEST = 6  # points; what does not fit at that size is cut


@dataclass(frozen=True)
class Margins:
    """Inches around the axes of a figure, for their ticks, names and titles."""

    left: float
    right: float
    bottom: float
    top: float
    between: tuple[float, float] = (0.0, 0.0)
    """Between columns, and between lines."""

    def panel(self, figure: Figure, lines: int = 1, columns: int = 1) -> tuple[float, float]:
        """Width and height of each of `lines` times `columns` axes."""
        width, height = figure.get_size_inches()
        across, down = self.between
        return (
            (width - self.left - self.right - across * (columns - 1)) / columns,
            (height - self.bottom - self.top - down * (lines - 1)) / lines,
        )


def panels(
    figure: Figure, margins: Margins, lines: int = 1, columns: int = 1, **shared: Any
) -> np.ndarray:
    """Axes `[lines, columns]` within `margins`."""
    width, height = figure.get_size_inches()
    wide, high = margins.panel(figure, lines, columns)
    place = {
        "left": margins.left / width,
        "right": 1 - margins.right / width,
        "bottom": margins.bottom / height,
        "top": 1 - margins.top / height,
        "wspace": margins.between[0] / wide,
        "hspace": margins.between[1] / high,
    }
    axes: np.ndarray = figure.subplots(lines, columns, squeeze=False, gridspec_kw=place, **shared)
    return axes


def box(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / down, width / across, height / down))


def text_width(figure: Figure, text: str, size: float) -> float:
    """How wide a line of `text` is, in inches; `size` in points."""
    from matplotlib.font_manager import FontProperties, findfont

    return _width(text, size, figure.dpi, findfont(FontProperties(size=size)))


@lru_cache(maxsize=1024)
def _width(text: str, size: float, dpi: float, font: str) -> float:
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer: Any = RendererAgg(1, 1, dpi)  # type: ignore[no-untyped-call]
    found = FontProperties(size=size, fname=font)
    width: float = renderer.get_text_width_height_descent(text, found, ismath=False)[0]
    return width / dpi


def fitted(figure: Figure, text: str, size: float, room: float) -> tuple[str, float]:
    """`text` and the size at which it is `room` inches wide or less: smaller, then cut."""
    width = text_width(figure, text, size)
    if width <= room:
        return text, size
    small = max(size * room / width, min(_SMALLEST, size))
    return shortened(figure, text, small, room), small


def shortened(figure: Figure, text: str, size: float, room: float) -> str:
    """`text` without its middle where it is wider than `room`: names differ at their ends."""
    width = text_width(figure, text, size)
    kept, short = int(len(text) * min(room / width, 1)) if width else len(text), text
    while kept > 1 and text_width(figure, short, size) > 1.02 * room:
        first = kept // 2
        short = f"{text[:first]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (kept - first) + 1 :]}"
        kept -= 1
    return short


def few_ticks(axis: Axes, which: Literal["both", "x", "y"] = "both", number: int = 4) -> None:
    """Some four round numbers along an axis, none wider than the margins."""
    axis.locator_params(axis=which, nbins=number)
    axis.ticklabel_format(axis=which, scilimits=(-3, 4))


def log_steps(axis: Axes, last: float) -> None:
    """A log axis of steps from 1 to `last`: whole numbers, a tick each, and none between."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_xscale("log")
    few = last < 100
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=7))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
