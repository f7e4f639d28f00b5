"""The figures of hidden sites: one row for each label, compared as the rows of a weight are."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.capture.activations import HiddenRows
from lightning_semgeom.geometry.classes import class_means
from lightning_semgeom.measure.site import Measurement, SitePlan, measure, plan_site


class HiddenFigures:
    """Measures hidden sites.

    Args:
        table: the attributes of the labels.
        gram_size: most lines of a Gram picture.
    """

    def __init__(self, table: AttributeTable, gram_size: int) -> None:
        self._table = table
        self._gram_size = gram_size
        self._plan: tuple[Tensor, SitePlan] | None = None

    def measure(self, hidden: HiddenRows) -> Measurement:
        """The figures of one site's rows, of all processes."""
        # Positions with the same label share all attributes and are alike for other reasons;
        # one row a label keeps them out of the comparison, and the null honest.
        known = hidden.labels < len(self._table)
        rows, labels = class_means(hidden.rows[known], hidden.labels[known])
        return measure(rows, self._plan_of(labels))

    def _plan_of(self, labels: Tensor) -> SitePlan:
        """All hidden sites of a record have the same labels, and a probe's are always the same."""
        if self._plan is None or not torch.equal(labels, self._plan[0]):
            self._plan = labels, plan_site(self._table, labels, self._gram_size)
        return self._plan[1]
