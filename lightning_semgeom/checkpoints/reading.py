"""The rows of one checkpoint, their figures, and what was wrong with it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.names import find_tensor
from lightning_semgeom.checkpoints.tensors import CheckpointError
from lightning_semgeom.measure.figures import Measurement
from lightning_semgeom.measure.plan import SitePlan, plan_site
from lightning_semgeom.measure.site import measure

_GRAM_SIZE = 96  # as a live run's


def site_plans(tables: Mapping[str, AttributeTable]) -> dict[str, SitePlan]:
    """What can be prepared for tables of one length, by name."""
    row_ids = torch.arange(len(next(iter(tables.values()))))
    return {name: plan_site(table, row_ids, _GRAM_SIZE) for name, table in tables.items()}


def measured(
    checkpoint: Checkpoint, tensor: str | None, plans: Mapping[str, SitePlan]
) -> tuple[Tensor, dict[str, Measurement]]:
    """The rows of the tensor that the plans have, and their figures with each plan."""
    rows = rows_of(checkpoint, tensor, len(next(iter(plans.values())).table))
    return rows, {name: measure(rows, plan) for name, plan in plans.items()}


def rows_of(checkpoint: Checkpoint, tensor: str | None, num_rows: int) -> Tensor:
    """The first `num_rows` rows of the tensor."""
    opened = checkpoint.open()
    name = find_tensor(opened.shapes, tensor, num_rows, opened.untied, opened.elsewhere)
    rows = opened.read(name, num_rows)
    if not rows.is_floating_point() or rows.element_size() < 2:
        raise CheckpointError(f"'{name}' is {rows.dtype}; expected floats of 16 bits or more.")
    return rows


class Faults:
    """What was wrong with which checkpoint, in words."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        """One a checkpoint, and one for each kind of figure that is missing."""
        self._flaws: set[str] = set()

    def add(self, checkpoint: Checkpoint, fault: Exception) -> None:
        """Tell what was wrong with a checkpoint, which is left out."""
        if isinstance(fault, ModuleNotFoundError):  # of no checkpoint: all of its kind need it
            raise fault
        named = "" if isinstance(fault, CheckpointError) else f"{type(fault).__name__}: "
        self.lines.append(f"{checkpoint}: {named}{' '.join(str(fault).split())}")

    def add_flaw(self, checkpoint: Checkpoint, found: Measurement) -> None:
        """Tell why figures are NaN; as in a live run, once."""
        if found.flaw is not None and found.flaw.kind not in self._flaws:
            self._flaws.add(found.flaw.kind)
            self.lines.append(f"{checkpoint}: figures are missing. {found.flaw}")

    def short(self, limit: int = 3) -> str:
        """The first lines, and how many more there are."""
        rest = f" And {len(self.lines) - limit} more." if len(self.lines) > limit else ""
        return " ".join(self.lines[:limit]) + rest
