"""`neural_collapse` as a torchmetrics Metric: sums about class means are its state.

Legend: K classes, d width.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import check_rows
from lightning_semgeom.geometry.classes import ClassSums, centre_agreement, class_sums
from lightning_semgeom.geometry.collapse import (
    FIGURES,
    check_classifier,
    check_labels,
    collapse_from_sums,
)
from lightning_semgeom.geometry.metrics.base import GeometryMetric
from lightning_semgeom.geometry.metrics.reference import ModuleReference
from lightning_semgeom.kinds import checked_kinds


class NeuralCollapse(GeometryMetric):
    """`neural_collapse` over a stream of rows, as a torchmetrics Metric.

    Its states add up over updates and processes about the class means, so that a stream has the
    digits of all rows at once. `nc4` compares with the class means of all rows, which a stream
    knows only when it has ended: it is computed for the rows whose update was given `means` of an
    earlier pass, else it is NaN.

    Args:
        num_classes: K.
        dim: width d of the rows.
        classifier: the layer from features to logits, for `nc3` and `nc4`. It is read when needed,
            neither copied nor registered as a part of the metric; a clone or copy of the metric
            reads the same one, or where the model was copied with the metric in it, the copy's.
        kwargs: passed on to `torchmetrics.Metric`.

    Raises:
        ValueError: if the classifier's weight is not `[num_classes, dim]`.

    Example:
        >>> metric = NeuralCollapse(num_classes=3, dim=3)
        >>> for _ in range(2):
        ...     metric.update(torch.eye(3), torch.arange(3))
        >>> f"{metric.compute()['etf_distance'].item():.3f}"
        '0.000'
    """

    plotted = FIGURES
    __jit_unused_properties__: ClassVar = [*GeometryMetric.__jit_unused_properties__, "counts"]

    if TYPE_CHECKING:  # torch.jit.script cannot read these
        moments: Tensor
        agreed: Tensor
        looked_at: Tensor

    @checked_kinds
    def __init__(
        self,
        num_classes: int,
        dim: int,
        classifier: torch.nn.Linear | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.dim = dim
        size = ClassSums.packed_size(num_classes, dim)
        merge = partial(_merged, num_classes=num_classes, dim=dim)
        self.add_state("moments", torch.zeros(size, dtype=torch.float64), dist_reduce_fx=merge)
        for name in ("agreed", "looked_at"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.set_classifier(classifier)

    @property
    def counts(self) -> Tensor:
        """fp64 `[K]`: how many rows each class has had."""
        return self._sums().counts

    def set_classifier(self, classifier: torch.nn.Linear | None) -> None:
        """Read another layer from now on, or none.

        Raises:
            ValueError: if its weight is not `[num_classes, dim]`.
        """
        if classifier is not None:
            check_classifier(classifier.weight, classifier.bias, self.num_classes, self.dim)
        self._classifier = ModuleReference(classifier)  # not as a submodule
        self.add_settings(*self._classifier.numbers)

    def update(self, rows: Tensor, labels: Tensor, means: Tensor | None = None) -> None:
        """Add `rows` `[n, dim]` of the classes `labels` `[n]`; `means` `[K, dim]` for `nc4`."""
        check_labels(rows, labels, self.num_classes)
        check_rows(rows, self.dim)
        added = class_sums(rows, labels, self.num_classes)
        self.moments = self._sums().merged(added).packed()
        classifier = self._classifier[0]
        if means is not None and classifier is not None:
            agreed, looked_at = centre_agreement(
                rows, labels, means.to(self.moments), classifier.weight, classifier.bias
            )
            self.agreed += agreed
            self.looked_at += looked_at

    def compute(self) -> dict[str, Tensor]:
        """The figures of `neural_collapse` for all rows seen."""
        classifier = self._classifier[0]
        figures = collapse_from_sums(
            self._sums(), None if classifier is None else classifier.weight
        )
        figures["nc4"] = self.agreed / self.looked_at
        return figures

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        """Also take states of version 0.1, which were sums about zero."""
        old = [prefix + name for name in ("counts", "sums", "squares", "second")]
        if all(name in state_dict for name in old):
            found = ClassSums.from_sums_about_zero(*(state_dict.pop(name) for name in old))
            state_dict[prefix + "moments"] = found.packed()
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def _sums(self) -> ClassSums:
        return ClassSums.unpacked(self.moments, self.num_classes, self.dim)


def _merged(gathered: Tensor, num_classes: int, dim: int) -> Tensor:
    """The state of all updates or processes, from `[m, size]`, one row for each."""
    parts = [ClassSums.unpacked(packed, num_classes, dim) for packed in gathered]
    return reduce(ClassSums.merged, parts).packed()
