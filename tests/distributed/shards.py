"""Ways to split `PathModel` over the processes of a mesh."""

from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)


def fully_sharded(model, mesh):
    fully_shard(model.body, mesh=mesh["data_parallel"])
    fully_shard(model, mesh=mesh["data_parallel"])


def fully_sharded_and_compiled(model, mesh):
    model.compile(backend="eager")
    fully_sharded(model, mesh)


def head_fully_sharded(model, mesh):
    fully_shard(model.lm_head, mesh=mesh["data_parallel"], reshard_after_forward=True)
    fully_sharded(model, mesh)


def head_by_rows(model, mesh):
    plan = ColwiseParallel(output_layouts=Replicate())  # its weight is [out, in]: Shard(0)
    parallelize_module(model.lm_head, mesh["tensor_parallel"], plan)


def head_by_columns(model, mesh):
    plan = RowwiseParallel(input_layouts=Replicate())
    parallelize_module(model.lm_head, mesh["tensor_parallel"], plan)


def head_by_rows_and_fully_sharded(model, mesh):
    head_by_rows(model, mesh)
    fully_sharded(model, mesh)
