"""The map of layers: a figure of each of them at each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lightning_semgeom.show.layers import layers_of
from lightning_semgeom.show.plots.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_semgeom.record.history import History

_MOST_STEPS, _MOST_LAYERS = 9, 24  # that have their names


def draw_layers(history: History, metric: str, attribute: str | None) -> tuple[Figure, Axes]:
    """See `History.plot_layers`.

    Steps are a column each, in their order: where they are log-spaced, so is the axis.
    """
    found = layers_of(history, metric, attribute)
    count, steps = found.values.shape
    figure = new_figure(7.2, float(np.clip(1.2 + 0.24 * count, 2.6, 9)))
    axis = figure.subplots()
    image = axis.imshow(
        np.ma.masked_invalid(found.values),
        cmap="RdBu_r",
        vmin=-found.largest,
        vmax=found.largest,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    axis.set_facecolor("#DDDDDD")  # where nothing is defined
    for layer, place in found.peaks:
        axis.plot(place, layer, "*", color="white", markeredgecolor="black", markersize=9)
    shown = _spread(steps, _MOST_STEPS)
    axis.set_xticks(shown, [f"{found.steps[k]:g}" for k in shown])
    rows = _spread(count, _MOST_LAYERS)
    axis.set_yticks(rows, [found.names[k] for k in rows], fontsize=8)
    axis.set_xlabel("optimizer steps")
    axis.set_ylabel(found.around)
    figure.colorbar(image, ax=axis, label=metric if attribute is None else f"{metric}, {attribute}")
    return figure, axis


def _spread(count: int, most: int) -> list[int]:
    """Places from the first to the last, evenly, at most `most`."""
    return sorted({round(k) for k in np.linspace(0, count - 1, min(count, most))})
