"""What the metric classes have in common: they are measured, not trained, and can be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor
from torchmetrics import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class GeometryMetric(Metric):
    """A torchmetrics Metric with sum states, whose answer is figures by name."""

    full_state_update = False
    higher_is_better = None
    is_differentiable = False
    plotted: ClassVar[tuple[str, ...]]
    """The figures that `plot` draws: those that share a scale."""

    def plot(
        self,
        val: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]] | None = None,
        ax: Axes | None = None,
    ) -> tuple[Figure, Axes]:
        """The figures named in `plotted`, as bars or as curves (needs matplotlib).

        Args:
            val: what `compute` or `forward` gave, or several of them for curves; None: compute now.
            ax: where to draw; None for a new figure.
        """
        from lightning_semgeom.plots.metrics import draw_values

        return draw_values(self.compute() if val is None else val, self.plotted, ax)
