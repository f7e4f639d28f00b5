"""What the metric classes have in common: they are measured, not trained, and can be drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class GeometryMetric(Metric):
    """A torchmetrics Metric with states that add up, whose answer is figures by name.

    States stay in fp64 whatever the module's dtype: figures are differences of large sums.
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    if TYPE_CHECKING:  # torch.jit.script cannot read these
        settings: Tensor
        plotted: ClassVar[tuple[str, ...]]
        """The figures that `plot` draws: those that share a scale."""

    def add_settings(self, *numbers: int) -> None:
        """Tell this metric apart from others of its class that take the same rows differently.

        A MetricCollection lets metrics with equal states share one; what differs in `numbers`, each
        below 65536, is not shared.
        """
        settings = torch.tensor(numbers, dtype=torch.float64)
        self.add_state("settings", settings, dist_reduce_fx="max")

    def persistent(self, mode: bool = False) -> None:
        """Change whether states are saved in `state_dict`; the settings are not."""
        super().persistent(mode)
        self._persistent["settings"] = False

    def set_dtype(self, dst_type: str | torch.dtype) -> Metric:
        """Leave the states in fp64, with a warning where another dtype is asked for."""
        if dst_type not in (torch.float64, torch.double, "torch.DoubleTensor"):
            warnings.warn(
                f"{type(self).__name__}: its states stay in fp64, since {dst_type} would lose the "
                "differences that the figures are made of; rows may have any dtype.",
                stacklevel=2,
            )
        return self

    def _apply(
        self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ""
    ) -> nn.Module:
        def moved(state: Tensor) -> Tensor:
            found = fn(state)
            return found if found.dtype == state.dtype else state.to(found.device)

        applied: nn.Module = super()._apply(moved, exclude_state)
        return applied

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
        from lightning_semgeom.show.plots.metrics import draw_values

        return draw_values(self.compute() if val is None else val, self.plotted, ax)
