"""The processes of one job: what each of them has is added up or brought together, faults included.

Every process runs the same collectives in the same order. What failed on one takes part as zeros
and a flag, so that all of them learn of it and go on alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor

from lightning_semgeom.faults import PeerError

# torch 2.13 warns of the old name.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


@dataclass(frozen=True)
class Ranks:
    """This process among the others; alone where there are none."""

    rank: int = 0
    """Its number."""
    size: int = 1
    """How many processes there are."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where tensors lie that the processes exchange."""
    copy: int = 0
    """Its number among the processes that see the same batch, as tensor parallel ones do."""
    copies: int = 1
    """How many processes see the same batch."""
    mesh: Any = None
    """The strategy's DeviceMesh, where it has one."""

    @classmethod
    def of(cls, trainer: pl.Trainer, model: pl.LightningModule) -> Ranks:
        """The processes of `trainer`."""
        mesh, copy, copies = getattr(model, "device_mesh", None), 0, 1
        if mesh is not None and "tensor_parallel" in (mesh.mesh_dim_names or ()):
            copy, copies = mesh["tensor_parallel"].get_local_rank(), mesh["tensor_parallel"].size()
        device = trainer.strategy.root_device
        return cls(trainer.global_rank, trainer.world_size, device, copy, copies, mesh)

    def add_up(
        self,
        parts: Mapping[str, Tensor | Exception],
        sizes: Mapping[str, int],
        trouble: Exception | None = None,
    ) -> dict[str, Tensor | Exception]:
        """Add up what the processes have, in one all-reduce for all `parts`.

        Args:
            parts: the same names on all processes, each with fp64 `[m]` or what went wrong.
            sizes: m of each name.
            trouble: what is to end the run on all processes.

        Returns:
            For each name the sum over the processes; where one of them failed, an exception on all.

        Raises:
            Exception: `trouble`, or PeerError where it is that of another process.
        """
        if self.size == 1:
            return dict(parts)
        packed = torch.zeros(
            1 + len(sizes) + sum(sizes.values()), dtype=torch.float64, device=self.device
        )
        flags, *rooms = packed.split(  # type: ignore[no-untyped-call]
            [1 + len(sizes), *sizes.values()]
        )
        flags[0] = float(trouble is not None)
        for index, (name, room) in enumerate(zip(sizes, rooms, strict=True), start=1):
            part = parts[name]
            if isinstance(part, Exception):
                flags[index] = 1
            else:
                room.copy_(part)
        dist.all_reduce(packed)
        troubled, *failed = flags.tolist()
        end = self.agreed(trouble, troubled)
        if end is not None:
            raise end
        return {
            name: self.agreed(parts[name], failures) or room
            for name, room, failures in zip(sizes, rooms, failed, strict=True)
        }

    def agreed(self, part: object, failures: float) -> Exception | None:
        """What a process knows of a fault that `failures` processes had; None: nobody had one."""
        if isinstance(part, Exception):
            return part
        if failures:
            return PeerError(
                f"{failures:.0f} of {self.size} processes failed here, not this one (rank "
                f"{self.rank}); what went wrong is in their own output."
            )
        return None

    def largest(self, values: list[int]) -> list[int]:
        """The largest of each of the values over the processes."""
        if self.size == 1:
            return values
        found = torch.tensor(values, dtype=torch.int64, device=self.device)
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        answer: list[int] = found.tolist()
        return answer

    def gathered(self, packed: Tensor) -> Tensor:
        """`packed`, uint8 `[m]`, of all processes: `[size, m]`."""
        found = packed.new_empty(self.size * packed.numel())
        _all_gather(found, packed)
        return found.view(self.size, -1)
