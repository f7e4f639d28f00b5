"""A figure of all layers of a run by step, for whatever draws it.

Legend: L layers in the model's order, n steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lightning_semgeom.record.places import without_common_start

if TYPE_CHECKING:
    from lightning_semgeom.record.history import History

_WEIGHTS = ("unembedding", "embedding")


@dataclass(frozen=True)
class Layers:
    """One figure by layer and step."""

    steps: np.ndarray
    """int64 `[n]`."""
    values: np.ndarray
    """fp64 `[L, n]`; NaN where undefined."""
    names: tuple[str, ...]
    """As much of each layer's name as tells it from the others."""
    around: str
    """What their names begin with; empty where that is nothing."""

    @property
    def largest(self) -> float:
        """The largest absolute value; 1 where there is none."""
        known = np.abs(self.values[np.isfinite(self.values)])
        return float(known.max(initial=0)) or 1.0

    @property
    def peaks(self) -> list[tuple[int, int]]:
        """Layer and place of its largest value, for those that have one."""
        known = np.where(np.isfinite(self.values), self.values, -np.inf)
        found = enumerate(zip(known.argmax(1).tolist(), known.max(1), strict=True))
        return [(layer, place) for layer, (place, top) in found if np.isfinite(top)]


def layer_sites(history: History) -> list[str]:
    """The hidden sites; where none is called so, all that are no weights."""
    hidden = [site for site in history.sites if site.startswith("hidden.")]
    return hidden or [site for site in history.sites if site not in _WEIGHTS]


def layers_of(history: History, metric: str = "gap", attribute: str | None = None) -> Layers:
    """A figure of the hidden sites of a run.

    Raises:
        ValueError: if there are fewer than two.
        KeyError: if they have no such figure; the message lists close ones.
    """
    sites = layer_sites(history)
    if len(sites) < 2:
        raise ValueError(
            f"a map of layers needs two hidden sites or more; the history has {len(sites)}, of the "
            f"sites {', '.join(history.sites) or 'none'}. Measure some: hidden=['model.layers.*']."
        )
    figure = metric if attribute is None else f"{metric}/{attribute}"
    curves = [history.curve(history.key(site, figure)) for site in sites]
    parts = [tuple(site.split(".")) for site in sites]
    short = without_common_start(parts)
    around = parts[0][: len(parts[0]) - len(short[0])]
    values = np.stack([values for _, values in curves])
    return Layers(curves[0][0], values, tuple(map(".".join, short)), ".".join(around))
