"""The figures of hidden sites: one row for each label, compared as the rows of a weight are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.capture.activations import HiddenRows
from lightning_semgeom.faults import attempted
from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.classes import class_offsets
from lightning_semgeom.geometry.eigenspectrum import eigenspectrum
from lightning_semgeom.geometry.moved import moved
from lightning_semgeom.geometry.order import numbered
from lightning_semgeom.measure.figures import Measurement, measurements
from lightning_semgeom.measure.plan import SitePlan, plan_site
from lightning_semgeom.measure.reduced import are_due
from lightning_semgeom.measure.site import reduced_offsets
from lightning_semgeom.record.keys import EIGENSPECTRUM


@dataclass(frozen=True)
class _LabelPlan:
    """What can be prepared for hidden rows from their labels alone."""

    labels: Tensor
    """int64 `[m]`, on the host."""
    members: Bags
    """The rows of each label that occurs, where the rows lie."""
    site: SitePlan
    """Of one row for each of these labels."""


class HiddenFigures:
    """Measures hidden sites.

    Args:
        table: the attributes of the labels.
        gram_size: most lines of a Gram picture.
        eigenspectrum: whether to take that of the positions too.
    """

    def __init__(self, table: AttributeTable, gram_size: int, eigenspectrum: bool = False) -> None:
        self._table = table
        self._eigenspectrum = eigenspectrum
        self._gram_size = gram_size
        self._plan: _LabelPlan | None = None

    def measure(
        self, hidden: Mapping[str, HiddenRows | Exception], eigenvalues: bool = True
    ) -> dict[str, Measurement | Exception]:
        """The figures of each site's rows, of all processes, or what was wrong with it.

        Args:
            hidden: the rows of each site.
            eigenvalues: see `reduced`.
        """
        plans = {site: attempted(self._plan_of, rows) for site, rows in hidden.items()}
        known = {site: plan.site for site, plan in plans.items() if isinstance(plan, _LabelPlan)}
        more = {site: attempted(self._more, rows, eigenvalues) for site, rows in hidden.items()}

        def measured(sites: Iterable[str], careful: bool) -> dict[str, Measurement | Exception]:
            found = {
                s: attempted(_reduced, hidden[s], plans[s], more[s], careful, eigenvalues)
                for s in sites
            }
            return measurements(found, known)

        found = measured(hidden, careful=False)
        unsound = [s for s, m in found.items() if isinstance(m, Measurement) and not m.is_sound]
        return found | measured(unsound, careful=True)

    def _plan_of(self, hidden: HiddenRows) -> _LabelPlan:
        """All hidden sites of a record have the same labels, and a probe's are always the same."""
        plan, labels, device = self._plan, hidden.labels, hidden.rows.device
        if plan is None or plan.members.order.device != device or not plan.labels.equal(labels):
            known = labels < len(self._table)
            found, index = numbered(labels[known], len(self._table))
            members = Bags.of(torch.full_like(labels, -1).masked_scatter_(known, index), len(found))
            site = plan_site(self._table, found, self._gram_size)
            plan = self._plan = _LabelPlan(labels, moved(members, device), site.to(device))
        return plan

    def _more(self, hidden: HiddenRows, eigenvalues: bool) -> list[Tensor]:
        """`EIGENSPECTRUM` of the positions, where it is asked for and due."""
        if not (self._eigenspectrum and are_due(eigenvalues, hidden.rows.shape[1])):
            return []
        shape = eigenspectrum(hidden.rows)
        return [shape[metric] for metric in EIGENSPECTRUM]


def _reduced(
    hidden: HiddenRows, plan: _LabelPlan, more: Sequence[Tensor], careful: bool, eigenvalues: bool
) -> Tensor:
    # Positions with the same label share all attributes and are alike for other reasons; one row a
    # label keeps them out of the comparison, and the null honest.
    offsets = class_offsets(hidden.rows, plan.members)
    return reduced_offsets(offsets, plan.site, careful, eigenvalues, more)
