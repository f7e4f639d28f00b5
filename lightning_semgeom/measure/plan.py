"""What can be prepared for the rows of a site, from the table alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.gram import picture_cells
from lightning_semgeom.geometry.moved import moved
from lightning_semgeom.geometry.partial import joint_values
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.sums import second_index
from lightning_semgeom.record.picture import labels_of


@dataclass(frozen=True)
class SitePlan:
    """What can be prepared for the rows of a site: once where they are always the same ones."""

    table: AttributeTable
    """The attributes."""
    codes: CodePlan
    """How rows add up to attribute values and, as two attributes more, to picture cells and joint
    values."""
    cells: Tensor
    """int64 `[m, A]`: the codes of the picture's cells."""
    strata: tuple[Bags, ...] | None
    """What the partial gap compares; None: there are too many joint values."""
    groups: Bags
    """Which of the sums of values add up to those of each attribute, then of each stratum."""

    def to(self, device: torch.device) -> SitePlan:
        """The same plan for rows on `device`; what the host reads stays there."""
        return replace(self, codes=self.codes.to(device), groups=moved(self.groups, device))

    @cached_property
    def second_index(self) -> tuple[int, ...]:
        """For each attribute the entry of `RowSums.second` that is of its labelled rows."""
        return second_index(self.codes)

    @cached_property
    def cell_labels(self) -> np.ndarray:
        """What the rows of each cell are, in words, `[m, A]`."""
        return labels_of(self.cells.tolist(), self.table.values)

    def split(self, values: Tensor) -> list[Tensor]:
        """Tell apart what sums have of attribute values, of picture cells and of joint values."""
        sizes = [sum(self.table.num_values), len(self.cells)]
        return list(torch.split(values, [*sizes, len(values) - sum(sizes)]))


def plan_site(table: AttributeTable, row_ids: Tensor, gram_size: int) -> SitePlan:
    """Prepare for the table's rows `row_ids`, int64 `[n]`, on the host."""
    codes = table.codes.cpu()[row_ids]
    cells = picture_cells(codes, gram_size)
    columns, num_values = [codes, cells.of_row[:, None]], [*table.num_values, len(cells.codes)]
    every, ends = torch.arange(sum(table.num_values)), [*accumulate(table.num_values, initial=0)]
    groups = [Bags(every, torch.tensor(ends))]
    joint, strata = joint_values(codes), None
    if joint is not None:
        before = sum(num_values)
        columns.append(joint.of_row[:, None])
        num_values.append(len(joint.codes))
        strata = joint.strata
        groups += [Bags(bags.order + before, bags.starts) for bags in strata]
    code_plan = CodePlan(torch.cat(columns, dim=1), num_values)
    return SitePlan(table, code_plan, cells.codes, strata, Bags.joined(groups))
