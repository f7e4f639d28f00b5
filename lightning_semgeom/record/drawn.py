"""The methods of a history that draw it (they need matplotlib)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_semgeom.record.history import History


def plot(
    history: History, site: str | None = None, ax: Axes | None = None, label: str | None = None
) -> tuple[Figure, Axes | np.ndarray]:
    """Gaps, phases and asymmetry over log steps (needs matplotlib).

    Args:
        history: what to draw.
        site: whose gaps to draw into `ax`; None: the first one's.
        ax: where to draw gaps alone, beside what is drawn there; None: a new figure of all sites.
        label: the run's name in the legend of `ax`; see `compare` for many runs.

    Returns:
        The figure, and its axes `[2, sites]` or `ax`.

    Raises:
        ValueError: if there is a label and no `ax`.
    """
    from lightning_semgeom.show.plots.timeline import draw_gaps, timeline

    if ax is None:
        if label is not None:
            raise ValueError(f"plot(label='{label}') names a run among others: give ax=, too.")
        return timeline(history)
    draw_gaps(ax, history, site or history.sites[0], label=label)
    return ax.get_figure(root=True), ax  # type: ignore[return-value]


def plot_layers(
    history: History, metric: str = "gap", attribute: str | None = None
) -> tuple[Figure, Axes]:
    """A figure of all layers by step as a heat map, each one's largest marked (needs matplotlib).

    Args:
        history: what to draw.
        metric: which figure, as `gap`, `z` or `effective_rank`.
        attribute: of which attribute; None: the mean over all, or a figure that has none.

    Returns:
        The figure, and the axes of the map.

    Raises:
        ValueError: if fewer than two hidden sites were measured.
        KeyError: if there is no such figure; the message lists close ones.
    """
    from lightning_semgeom.show.plots.layers import draw_layers

    return draw_layers(history, metric, attribute)
