"""The sums of sound rows on CUDA: each pass over them is one kernel of `kernels`.

Legend: as in `sums`.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from lightning_semgeom.geometry.plan import CodePlan, Patterns

_FEWEST = 1 << 10  # rows: of fewer, fixed point would move the norm of C by more than 1e-6
_BLOCKS = 32  # so that a block in fixed point, two bytes an entry, is small beside the rows
_SMALLEST, _LARGEST = 1 << 12, 1 << 16  # rows of a block; of more, sums would not fit 32 bits


def can_fuse(rows: Tensor) -> bool:
    """Whether the kernels are here, and can read `rows` `[n, d]` as they lie."""
    narrow = rows.dtype in (torch.float32, torch.bfloat16, torch.float16)
    fits = narrow and rows.stride(1) == 1 and len(rows) >= _FEWEST
    return rows.is_cuda and fits and _has_triton()


@cache
def _has_triton() -> bool:
    """Whether torch has brought Triton along, as it does for CUDA on Linux."""
    return find_spec("triton") is not None


class FusedSums:
    """Adds up unit vectors by attribute value.

    Args:
        rows: `[n, d]`, which `can_fuse`.
        plan: made from the codes of these rows.
        mean: fp64 `[d]` to centre with; None: not to.
        patterns: of the plan, to sum u u^T as well; None: not to.
    """

    def __init__(
        self, rows: Tensor, plan: CodePlan, mean: Tensor | None, patterns: Patterns | None
    ) -> None:
        from lightning_semgeom.geometry import fixed_point, kernels

        self._bag_sums, self._fixed_point = kernels.bag_sums, fixed_point.FixedPoint
        self._rows, self._plan, self._patterns = rows, plan, patterns
        width = rows.shape[1]
        zero = torch.zeros(width, dtype=torch.float32, device=rows.device)
        self._centre = zero if mean is None else mean.float()
        self.lengths = kernels.lengths_of(rows, self._centre)

    def value_sums(self) -> Tensor:
        """S_g of all attributes, fp64 `[V, d]`."""
        unit = self._centre, self.lengths
        found = self._zeros(self._plan.offsets[-1])
        for pieces in self._plan.pieces:
            sums = self._bag_sums(self._rows, pieces.rows, unit)
            found[pieces.index] = self._bag_sums(sums, pieces.of_values)
        return found

    def second(self) -> Tensor | None:
        """C of all rows and of each set of rows that some attributes label, fp64 `[., d, d]`."""
        if self._patterns is None:
            return None
        (n, d), of_set = self._rows.shape, self._patterns.of_set
        block = min(max(n // _BLOCKS, _SMALLEST), _LARGEST)
        moments = self._fixed_point(self._rows, self._centre, self.lengths, block)
        found = self._zeros(len(of_set), d)
        rest = self._patterns.order
        for pattern, size in enumerate(self._patterns.sizes):
            chosen, rest = rest[:size], rest[size:]
            entries = [entry for entry, patterns in enumerate(of_set) if pattern in patterns]
            moments.add(found, entries, chosen)
        for target in found:
            moments.finish(target)
        return found

    def _zeros(self, *size: int) -> Tensor:
        """fp64 `[*size, d]`."""
        width = self._rows.shape[1]
        return torch.zeros(*size, width, dtype=torch.float64, device=self._rows.device)
