"""The rows of a weight that this process answers for: each row belongs to exactly one of them.

A weight that all processes hold is divided among them; of a sharded one each process takes the rows
it has, and where several hold the same shard, they divide it. Only a weight that is cut by columns
has to move, since a row's length is needed whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from torch import Tensor, nn
from torch.distributed import is_initialized
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from lightning_semgeom.capture.ranks import Ranks


@dataclass(frozen=True)
class OwnedRows:
    """A part of a weight."""

    rows: Tensor
    """`[m, d]`: a view wherever the weight did not have to move."""
    first: int
    """Where its first row stands in the weight."""
    total: int
    """How many rows the weight has."""

    @property
    def slice(self) -> slice:
        """Where its rows stand in the weight."""
        return slice(self.first, self.first + self.rows.shape[0])

    def before(self, end: int) -> OwnedRows:
        """Those of its rows that stand before row `end` of the weight, as a part of these alone."""
        rows = self.rows[: max(end - self.first, 0)]
        return OwnedRows(rows, min(self.first, end), min(self.total, end))


def owned_rows(weight: Tensor, ranks: Ranks) -> OwnedRows:
    """The rows of `weight` `[n, d]`, a tensor or a DTensor, that this process answers for.

    Raises:
        ValueError: if the weight is in pieces that cannot be told apart.
    """
    if weight.ndim != 2:
        raise ValueError(
            f"the weight is {list(weight.shape)} on this process and not [rows, d]: a "
            "strategy keeps it in pieces that are not known here, as DeepSpeed ZeRO-3 does. Leave "
            "the site out."
        )
    rows, first, holder, holders = weight.detach(), 0, ranks.rank, ranks.size
    if isinstance(rows, DTensor):
        rows, first, holder, holders = _local_rows(rows, ranks)
    start, end = (rows.shape[0] * part // holders for part in (holder, holder + 1))
    return OwnedRows(rows[start:end], first + start, weight.shape[0])


def _local_rows(weight: DTensor, ranks: Ranks) -> tuple[Tensor, int, int, int]:
    """Local rows of a DTensor, the first one's place; which of how many holders of them this is."""
    mesh = weight.device_mesh
    if any(placement.is_shard(1) for placement in weight.placements):
        weight = weight.redistribute(
            placements=[Shard(0) if p.is_shard(1) else p for p in weight.placements]
        )
    shape, offset = compute_local_shape_and_global_offset(weight.shape, mesh, weight.placements)
    replicas = [
        (mesh.get_local_rank(dim), mesh.size(dim))
        for dim, placement in enumerate(weight.placements)
        if placement.is_replicate()
    ]
    if mesh.size() < ranks.size:
        replicas += _outside(mesh.mesh_dim_names or (), ranks)
    holder, holders = 0, 1
    for index, count in replicas:
        holder, holders = holder * count + index, holders * count
    return weight.to_local().view(shape), offset[0], holder, holders


def _outside(names: Sequence[str], ranks: Ranks) -> list[tuple[int, int]]:
    """Place and size in the dimensions of the strategy's mesh that a weight's mesh lacks."""
    known: tuple[str, ...] = () if ranks.mesh is None else ranks.mesh.mesh_dim_names
    if not names or not set(names) < set(known):
        raise ValueError(
            f"a weight lies on a mesh {tuple(names)} that does not span all {ranks.size} processes "
            f"and is no part of the strategy's mesh {known}: which of them hold copies is not "
            "known. Take the submesh from LightningModule.device_mesh."
        )
    rest = [ranks.mesh[name] for name in known if name not in names]
    return [(mesh.get_local_rank(), mesh.size()) for mesh in rest]


def flat_units(model: nn.Module) -> list[nn.Module]:
    """The parts of `model` whose weights FullyShardedDataParallel keeps flat and cut."""
    # Alone there are none, and to look for them takes a millisecond.
    return list(FullyShardedDataParallel.fsdp_modules(model)) if is_initialized() else []


@contextmanager
def gathered_flat_parameters(model: nn.Module, modules: Sequence[nn.Module]) -> Iterator[None]:
    """Have the weights of `modules` whole where FullyShardedDataParallel keeps them flat and cut.

    Args:
        model: what the strategy trains.
        modules: those whose weights are looked at. Only the units around them are gathered.
    """
    units = flat_units(model)
    around = {
        id(unit): unit
        for module in modules
        for unit in [u for u in units if any(m is module for m in u.modules())][-1:]
    }
    with ExitStack() as stack:
        for unit in around.values():
            stack.enter_context(
                FullyShardedDataParallel.summon_full_params(unit, recurse=False, writeback=False)
            )
        yield
