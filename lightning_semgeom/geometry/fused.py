"""The sums of sound rows on CUDA: each pass over them is one kernel, of `kernels` or `fixed_point`.

Legend: as in `sums`.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.patterns import Patterns
from lightning_semgeom.geometry.plan import CodePlan

_OLDEST = (8, 0)  # compute capability of the cards that were thought of: Ampere
_FEWEST = 1 << 10  # rows: of fewer, fixed point would move the norm of C by more than 1e-6
_BLOCKS = 32  # so that a block in fixed point, two bytes an entry, is small beside the rows
_SMALLEST = 1 << 12  # rows of a block


def can_fuse(rows: Tensor) -> bool:
    """Whether the kernels are here, and can read `rows` `[n, d]` as they lie."""
    narrow = rows.dtype in (torch.float32, torch.bfloat16, torch.float16)
    fits = narrow and rows.stride(1) == 1 and len(rows) >= _FEWEST
    return fits and has_kernels(rows.device)


def has_kernels(device: torch.device) -> bool:
    """Whether `device` is a card that the kernels run on."""
    return device.type == "cuda" and _kernels_run(device)


@cache
def _kernels_run(device: torch.device) -> bool:
    """Whether torch has brought Triton along, as for CUDA on Linux, and it compiles there."""
    has_triton = torch.version.cuda is not None and find_spec("triton") is not None
    if not has_triton or torch.cuda.get_device_capability(device) < _OLDEST:
        return False
    try:
        from lightning_semgeom.geometry.kernels import lengths_of

        rows = torch.ones(1, 16, device=device)
        with working_on(device):
            lengths_of(rows, rows[0])
    except torch.OutOfMemoryError:
        raise  # it says nothing of Triton, and is not remembered
    except Exception as fault:  # as without a C compiler, which Triton calls
        warnings.warn(
            f"Triton cannot compile for {device}: {fault!r}. Figures are taken with torch's own "
            "operators, which are several times slower on a GPU.",
            stacklevel=2,
        )
        return False
    return True


def working_on(device: torch.device) -> AbstractContextManager[None]:
    """Kernels go to `device`, where it is a CUDA device, and not to the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def fused_total(rows: Tensor) -> Tensor:
    """The sum of `rows` `[n, d]`, which `can_fuse`, fp64 `[d]`."""
    from lightning_semgeom.geometry.kernels import total_of

    with working_on(rows.device):
        return total_of(rows)


def fused_offsets(rows: Tensor, members: Bags) -> Tensor:
    """As `class_offsets`, of `rows` `[n, d]`, which `can_fuse`."""
    from lightning_semgeom.geometry.class_kernels import offsets_of

    with working_on(rows.device):
        return offsets_of(rows, members)


def fused_norms_and_forms(
    second: Tensor, vectors: Tensor, index: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """As `norms_and_forms`, where there are kernels."""
    from lightning_semgeom.geometry.moment_kernels import norms_and_forms_of

    with working_on(second.device):
        return norms_and_forms_of(second, vectors, index)


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

        self._kernels, self._fixed_point = kernels, fixed_point.FixedPoint
        self._rows, self._plan, self._patterns = rows, plan, patterns
        width = rows.shape[1]
        zero = torch.zeros(width, dtype=torch.float32, device=rows.device)
        self._centre = zero if mean is None else mean.float()
        self.lengths = kernels.lengths_of(rows, self._centre)

    def value_sums(self) -> Tensor:
        """S_g of all attributes, fp64 `[V, d]`."""
        width, device = self._rows.shape[1], self._rows.device
        found = torch.empty(self._plan.offsets[-1], width, dtype=torch.float64, device=device)
        for pieces in self._plan.pieces:
            sums = self._kernels.unit_sums(self._rows, pieces.rows, self._centre, self.lengths)
            self._kernels.write_sums(found, sums, pieces.of_values, pieces.index)
        return found

    def second(self) -> Tensor | None:
        """C of all rows and of each set of rows that some attributes label, fp64 `[., d, d]`."""
        if self._patterns is None:
            return None
        chunks, of_set = self._patterns.chunks, self._patterns.of_set
        block = min(max(len(self._rows) // _BLOCKS, _SMALLEST), len(chunks.order))
        moments = self._fixed_point(self._rows, self._centre, self.lengths, block)
        found = moments.sums(chunks, len(of_set))
        for entry, patterns in enumerate(of_set):
            if not patterns:
                found[entry].zero_()
        return found
