"""The figures of all weight sites, from the parts that each process has: two all-reduces in all.

First the means, which all rows are centred with, then the sums of the centred rows. Both go for all
sites at once; a site that fails anywhere is left out everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.capture.ranks import Ranks
from lightning_semgeom.capture.shards import OwnedRows
from lightning_semgeom.faults import attempted
from lightning_semgeom.geometry.sums import MeanSums, RowSums, mean_sums
from lightning_semgeom.measure.site import Measurement, SitePlan, measured, plan_site, site_sums


class WeightFigures:
    """Measures the weight sites.

    Args:
        table: the attributes of the rows.
        widths: d of each site, the same on all processes.
        gram_size: most rows in a Gram picture.
        ranks: the processes.
    """

    def __init__(
        self, table: AttributeTable, widths: Mapping[str, int], gram_size: int, ranks: Ranks
    ) -> None:
        self._table = table
        self._widths = widths
        self._gram_size = gram_size
        self._ranks = ranks
        self._plans: dict[str, SitePlan] = {}

    def measure(
        self, owned: Mapping[str, OwnedRows | Exception], trouble: Exception | None
    ) -> dict[str, Measurement | Exception]:
        """The figures of each site, or what was wrong with it on this process or on another.

        Args:
            owned: this process's rows of each site.
            trouble: what is to end the run on all processes; see `Ranks.add_up`.
        """
        means = self._ranks.add_up(
            {site: attempted(self._mean, site, rows) for site, rows in owned.items()},
            {site: MeanSums.packed_size(width) for site, width in self._widths.items()},
            trouble,
        )
        sizes = {
            site: RowSums.packed_size(self._plans[site].codes, self._widths[site])
            for site, mean in means.items()
            if not isinstance(mean, Exception)
        }
        sums = self._ranks.add_up(
            {site: attempted(self._sums, site, owned[site], means[site]) for site in sizes}, sizes
        )
        return {
            site: attempted(self._figures, site, mean, sums.get(site, mean))
            for site, mean in means.items()
        }

    def _mean(self, site: str, owned: OwnedRows) -> Tensor:
        if site not in self._plans:
            row_ids = torch.arange(owned.total, device=owned.rows.device)
            self._plans[site] = plan_site(self._table, row_ids, self._gram_size)
        return mean_sums(owned.rows).packed()

    def _sums(self, site: str, owned: OwnedRows, mean: Tensor) -> Tensor:
        centre = MeanSums.unpacked(mean).mean
        return site_sums(owned.rows, self._plans[site], centre, owned.slice).packed()

    def _figures(self, site: str, mean: Tensor, sums: Tensor) -> Measurement:
        plan = self._plans[site]
        whole = RowSums.unpacked(sums, plan.codes, self._widths[site])
        return measured(whole, plan, MeanSums.unpacked(mean))
