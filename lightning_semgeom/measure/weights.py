"""The figures of all weight sites, from the parts that each process has: two all-reduces in all.

First the means, which all rows are centred with, then the sums of the centred rows. Both go for all
sites at once; a site that fails anywhere is left out everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import TypeVar

import torch
from torch import Tensor

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.capture.ranks import Ranks
from lightning_semgeom.capture.shards import OwnedRows
from lightning_semgeom.faults import attempted
from lightning_semgeom.geometry.sums import MeanSums, RowSums
from lightning_semgeom.measure.figures import Measurement, measurements
from lightning_semgeom.measure.plan import SitePlan, plan_site
from lightning_semgeom.measure.reduced import reduced
from lightning_semgeom.measure.site import site_mean, site_sums

Sums = TypeVar("Sums", MeanSums, RowSums)


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
        self._made: dict[tuple[int, int, int, torch.device], SitePlan] = {}
        # What was not fit for the quick way once will hardly be so soon.
        self._careful: set[str] = set()

    def measure(
        self,
        owned: Mapping[str, OwnedRows | Exception],
        trouble: Exception | None,
        eigenvalues: bool = True,
    ) -> dict[str, Measurement | Exception]:
        """The figures of each site, or what was wrong with it on this process or on another.

        Args:
            owned: this process's rows of each site.
            trouble: what is to end the run on all processes; see `Ranks.add_up`.
            eigenvalues: see `reduced`.
        """
        found, unsound = self._measured(owned, self._careful, eigenvalues, trouble)
        if unsound:
            self._careful |= unsound
            # In the order of all processes, which a set has not.
            rest = {site: rows for site, rows in owned.items() if site in unsound}
            found |= self._measured(rest, unsound, eigenvalues, None)[0]
        return found

    def _measured(
        self,
        owned: Mapping[str, OwnedRows | Exception],
        careful: Set[str],
        eigenvalues: bool,
        trouble: Exception | None,
    ) -> tuple[dict[str, Measurement | Exception], set[str]]:
        """The figures, and the sites, the same on all processes, that want the careful way."""
        means = self._added_up(
            {site: attempted(self._mean, site, rows, careful) for site, rows in owned.items()},
            {site: MeanSums.packed_size(self._widths[site]) for site in owned},
            lambda site, packed: MeanSums.unpacked(packed),
            trouble,
        )
        sizes = {
            site: RowSums.packed_size(self._plans[site].codes, self._widths[site])
            for site, mean in means.items()
            if not isinstance(mean, Exception)
        }
        sums = self._added_up(
            {s: attempted(self._sums, s, owned[s], means[s], careful) for s in sizes},
            sizes,
            lambda s, packed: RowSums.unpacked(packed, self._plans[s].codes, self._widths[s]),
        )
        whole = {
            site: mean if isinstance(mean, Exception) else sums[site]
            for site, mean in means.items()
        }
        figures = {
            site: attempted(self._figures, site, means[site], one, eigenvalues)
            for site, one in whole.items()
        }
        found = measurements(figures, self._plans)
        unsound = {site for site, one in found.items() if not _is_sound(one, whole[site])}
        return found, unsound

    def _added_up(
        self,
        parts: Mapping[str, Sums | Exception],
        sizes: Mapping[str, int],
        unpacked: Callable[[str, Tensor], Sums],
        trouble: Exception | None = None,
    ) -> dict[str, Sums | Exception]:
        """The sums of all processes; what one alone has is neither packed nor copied."""
        if self._ranks.size == 1:
            return dict(parts)
        packed = {site: attempted(_packed, part) for site, part in parts.items()}
        whole = self._ranks.add_up(packed, sizes, trouble)
        return {site: attempted(unpacked, site, one) for site, one in whole.items()}

    def _mean(self, site: str, owned: OwnedRows, careful: Set[str]) -> MeanSums:
        if site not in self._plans:
            # As a head and an embedding are, most are alike.
            key = owned.total, owned.slice.start, owned.slice.stop, owned.rows.device
            if key not in self._made:
                plan = plan_site(self._table, torch.arange(owned.total), self._gram_size)
                plan.codes.part(owned.slice)  # and kept: on a device it would be asked
                self._made[key] = plan.to(owned.rows.device)
            self._plans[site] = self._made[key]
        return site_mean(owned.rows, site in careful)

    def _sums(self, site: str, owned: OwnedRows, mean: MeanSums, careful: Set[str]) -> RowSums:
        return site_sums(owned.rows, self._plans[site], mean.mean, site in careful, owned.slice)

    def _figures(self, site: str, mean: MeanSums, sums: RowSums, eigenvalues: bool) -> Tensor:
        return reduced(sums, self._plans[site], mean.not_finite, eigenvalues)


def _packed(sums: MeanSums | RowSums) -> Tensor:
    return sums.packed()


def _is_sound(found: Measurement | Exception, whole: RowSums | Exception) -> bool:
    """Whether the quick way was right, as all processes see it: figures may fail on one alone."""
    if isinstance(whole, Exception):
        return True
    return found.is_sound if isinstance(found, Measurement) else not whole.unsound
