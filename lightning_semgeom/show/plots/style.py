"""What all pictures have in common: size, colours, and how they become pixels."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_semgeom.extras import needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's palette: told apart by colour-blind readers, legible on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#999999"
DPI = 100


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` by `height` inches, in which matplotlib finds room for all.

    Its ground is opaque: dashboards are dark or light, and black letters need white under them.
    """
    figure = bare_figure(width, height)
    figure.set_layout_engine("constrained")
    return figure


def bare_figure(width: float, height: float) -> Figure:
    """As `new_figure`, for axes that have their places: drawn in a third of the time."""
    with needs("plots"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.set_layout_engine("none")  # whatever a user's settings say
    FigureCanvasAgg(figure)
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """The figure drawn, uint8 `[height, width, 3]`."""
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def value_colours(labels: list[str]) -> dict[str, str]:
    """A colour for each of the most frequent labels; there are fewer colours than labels may be."""
    common = Counter(label for label in labels if label).most_common(len(COLOURS))
    shown = {label for label, _ in common}
    in_order = [label for label in dict.fromkeys(labels) if label in shown]
    return dict(zip(in_order, COLOURS, strict=False))
