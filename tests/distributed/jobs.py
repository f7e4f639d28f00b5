"""What the processes of a job do: train in some way, and answer with what was recorded."""

import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from lightning_semgeom import SemanticGeometry, snapshot
from tests.distributed import flat, models, shards
from tests.distributed.traffic import recorded
from tests.models import Resumable


class WatchTraffic(Callback):
    """Counts what the records of a callback send."""

    def __init__(self, geometry):
        self.geometry = geometry

    def on_train_start(self, trainer, pl_module):
        self._recorded = recorded(self.geometry._run)
        self.found = self._recorded.__enter__()

    def on_train_end(self, trainer, pl_module):
        self._recorded.__exit__(None, None, None)


def geometry(tokens=13, **options):
    settings = {"every_n_steps": 2, "growth": None, "embedding": True, "hidden": ["body", "body.0"]}
    return SemanticGeometry(models.table(tokens), **(settings | options))


def world_size():
    return dist.get_world_size() if dist.is_initialized() else 1


def fit(folder, strategy, model=None, data=None, training=None, ckpt_path=None, **options):
    """Train, and answer with the records and their traffic."""
    model = models.PathModel() if model is None else model
    callback = geometry(model.tokens, **options)
    watch = WatchTraffic(callback)
    training = {"strategy": strategy, "devices": world_size()} | (training or {})
    trainer = models.trainer(folder, watch, callback, **training)
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return {
        "records": [[record.step, dict(record.values)] for record in callback.history],
        "grams": {
            f"{site} {record.step}": callback.history.picture(site, record.step).gram.tolist()
            for record in callback.history
            for site in record.pictures
            if callback.history.folder is not None
        },
        "traffic": {str(step): sent for step, sent in watch.found.items()},
    }


def strategy_of(size):
    return DDPStrategy(process_group_backend="gloo") if size > 1 else "auto"


def ddp(folder, rank, size, **options):
    data = models.batches(rank, size)
    return fit(folder, strategy_of(size), data=data, **options)


def ddp_double(folder, rank, size):
    return ddp(folder, rank, size, model=models.PathModel().double())


def ddp_probe(folder, rank, size):
    return ddp(folder, rank, size, probe=models.batches(seed=5))


def ddp_raise(folder, rank, size):
    return ddp(folder, rank, size, on_error="raise")


def ddp_hidden_alone(folder, rank, size):
    return ddp(folder, rank, size, unembedding=False, embedding=False)


def ddp_accumulated(folder, rank, size):
    return ddp(folder, rank, size, training={"accumulate_grad_batches": 3, "max_epochs": 3})


def ddp_bf16(folder, rank, size):
    return ddp(folder, rank, size, training={"precision": "bf16-mixed"})


def ddp_two_optimizers(folder, rank, size):
    return ddp(folder, rank, size, model=models.TwoOptimizers(), training={"max_steps": 14})


def ddp_checkpointed(folder, rank, size):
    return ddp(folder, rank, size, model=models.Checkpointed())


def ddp_compiled(folder, rank, size):
    torch.compiler.reset()
    return ddp(folder, rank, size, model=torch.compile(models.PathModel(), backend="eager"))


def ddp_resumed(folder, rank, size):
    """Stop in the middle of the epoch, and go on from the checkpoint before."""
    if size == 1:
        return ddp(folder, rank, size)
    kept = ModelCheckpoint(folder, filename="kept", every_n_train_steps=3, save_top_k=-1)
    trainer = models.trainer(
        folder,
        geometry(),
        kept,
        strategy=strategy_of(size),
        devices=size,
        max_steps=5,
        enable_checkpointing=True,
    )
    trainer.fit(models.PathModel(), Resumable(models.batches(rank, size)))
    data = Resumable(models.batches(rank, size))
    path = folder / "kept.ckpt"
    return fit(folder, strategy_of(size), data=data, ckpt_path=path)


def model_parallel(
    folder, rank, size, shard, data_parallel, tokens=13, tied=False, dtype=torch.float32, **options
):
    """Train a model that `shard` splits; `data_parallel` x tensor parallel processes."""
    if size == 1:
        model, strategy = models.PathModel(tokens, tied), "auto"
    else:
        strategy = ModelParallelStrategy(data_parallel, size // data_parallel)
        model = models.ShardedModel(tokens, tied, getattr(shards, shard))
    parts = data_parallel if size > 1 else 1
    data = models.batches(rank // (size // parts), parts, tokens)
    return fit(folder, strategy, model.to(dtype), data, **options)


def fsdp2(folder, rank, size, **options):
    return model_parallel(folder, rank, size, "fully_sharded", size, **options)


def fsdp2_compiled(folder, rank, size):
    torch.compiler.reset()
    return model_parallel(folder, rank, size, "fully_sharded_and_compiled", size)


def fsdp2_saved(folder, rank, size):
    """Save sharded checkpoints; answers with what was recorded of the same weights."""
    callback = geometry(hidden=())
    saving = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    strategy = ModelParallelStrategy(size, 1)
    options = {"strategy": strategy, "devices": size, "enable_checkpointing": True}
    trainer = models.trainer(folder, callback, saving, **options)
    trainer.fit(models.ShardedModel(shard=shards.fully_sharded), models.batches(rank, size))
    records = [record for record in callback.history if record.step in (2, 4, 6)]
    return [[record.step, dict(record.values)] for record in records]


def fsdp2_double(folder, rank, size):
    return fsdp2(folder, rank, size, dtype=torch.float64)


def fsdp2_probe(folder, rank, size):
    return fsdp2(folder, rank, size, probe=models.batches(seed=5))


def fsdp2_tied(folder, rank, size):
    return fsdp2(folder, rank, size, tied=True)


def fsdp2_empty_shard(folder, rank, size):
    return fsdp2(folder, rank, size, tokens=4)


def tensor_rows(folder, rank, size):
    return model_parallel(folder, rank, size, "head_by_rows", 1)


def tensor_columns(folder, rank, size):
    return model_parallel(folder, rank, size, "head_by_columns", 1)


def two_dimensions(folder, rank, size):
    return model_parallel(folder, rank, size, "head_by_rows_and_fully_sharded", 2)


def fsdp1(folder, rank, size, model=models.PathModel, **options):
    strategy = flat.CpuFSDPStrategy(process_group_backend="gloo") if size > 1 else "auto"
    model = model() if size > 1 else models.PathModel()
    return fit(folder, strategy, model, models.batches(rank, size), **options)


def fsdp1_probe(folder, rank, size):
    return fsdp1(folder, rank, size, probe=models.batches(seed=5))


def fsdp1_wrapped_by_the_user(folder, rank, size):
    return fsdp1(folder, rank, size, model=flat.WrappedModel)


def look(folder, rank, size, model=None):
    """What one look without a Trainer finds."""
    model = models.PathModel() if model is None else model
    sites = {"embedding": True, "hidden": ["body", "body.0"], "data": models.batches(seed=5)}
    found = snapshot(model, models.table(13), **sites)
    rows = {site: [part.tolist() for part in found.rows(site)] for site in found.sites}
    return {"figures": dict(found.figures), "rows": rows}


def look_ddp(folder, rank, size):
    model = models.PathModel()
    model.register_buffer("running", torch.zeros(1))  # its forward would wait for the others
    wrapped = DistributedDataParallel(model)
    answer = look(folder, rank, size, wrapped) if rank == 0 else None
    dist.barrier()
    return answer


def look_fsdp2(folder, rank, size):
    model = models.PathModel()
    fully_shard(model.body)
    fully_shard(model)
    return look(folder, rank, size, model)


def look_fsdp1(folder, rank, size):
    return look(folder, rank, size, flat.wrapped(models.PathModel()))
