"""One process of a job: `python -m tests.distributed.worker FOLDER JOB...`, started by `launch`."""

import json
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

from lightning_semgeom import SemanticGeometry
from lightning_semgeom.measure import site_sums
from tests.distributed import models, shards
from tests.distributed.traffic import recorded


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


def fit(folder, strategy, model=None, data=None, **options):
    """Train, and answer with the records and their traffic."""
    model = model or models.PathModel()
    callback = geometry(model.tokens, **options)
    watch = WatchTraffic(callback)
    devices = dist.get_world_size() if dist.is_initialized() else 1
    trainer = models.trainer(folder, watch, callback, strategy=strategy, devices=devices)
    trainer.fit(model, data)
    return {
        "records": [[record.step, dict(record.values)] for record in callback.history],
        "grams": {
            f"{site} {record.step}": callback.history.gram(site, record.step)[0].tolist()
            for record in callback.history
            for site in record.grams
        },
        "traffic": {str(step): sent for step, sent in watch.found.items()},
    }


def ddp(folder, rank, size, **options):
    strategy = DDPStrategy(process_group_backend="gloo") if size > 1 else "auto"
    return fit(folder, strategy, data=models.batches(rank, size), **options)


def ddp_double(folder, rank, size):
    return ddp(folder, rank, size, model=models.PathModel().double())


def ddp_probe(folder, rank, size):
    return ddp(folder, rank, size, probe=models.batches(seed=5))


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


class Failing:
    """Labels that cannot be read at some calls, on the second process alone."""

    def __init__(self, rank, calls):
        self.fails = calls if rank == 1 else ()
        self.calls = 0

    def __call__(self, batch):
        self.calls += 1
        if self.calls - 1 in self.fails:
            raise RuntimeError("the labels are gone")
        return batch["labels"]


class FailingSums:
    """Sums that cannot be taken at some calls, on the second process alone."""

    def __init__(self, rank, calls):
        self.fails = calls if rank == 1 else ()
        self.calls = 0

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls - 1 in self.fails:
            raise MemoryError("no memory is left")
        return site_sums(*arguments)


def one_process_fails(folder, rank, size, labels=(2,), sums=(2,), **options):
    """Train while the second process fails; answer with the end of it as well."""
    with warnings.catch_warnings(record=True) as caught, pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("always")
        patch.setattr("lightning_semgeom.weights.site_sums", FailingSums(rank, sums))
        model = models.PathModel()
        callback = geometry(labels=Failing(rank, labels), **options)
        strategy = DDPStrategy(process_group_backend="gloo")
        trainer = models.trainer(folder, callback, strategy=strategy, devices=size)
        raised = None
        try:
            trainer.fit(model, models.batches(rank, size))
        except Exception as fault:
            raised = f"{type(fault).__name__}: {fault}"
    return {
        "records": [[record.step, dict(record.values)] for record in callback.history],
        "warnings": [str(w.message) for w in caught if "SemanticGeometry" in str(w.message)],
        "raised": raised,
        "steps": trainer.global_step,
        "hooks": sum(len(module._forward_hooks) for module in model.modules()),
        "weights": [float(p.double().sum()) for p in model.parameters()],
    }


def one_fails_warn(folder, rank, size):
    return one_process_fails(folder, rank, size)


def one_fails_raise(folder, rank, size):
    return one_process_fails(folder, rank, size, labels=(), on_error="raise")


def one_fails_at_first(folder, rank, size):
    return one_process_fails(folder, rank, size, labels=(0,), sums=())


def nobody_fails(folder, rank, size):
    return one_process_fails(folder, rank, size, labels=(), sums=())


def folder_fails_raise(folder, rank, size):
    (folder / "semgeom").touch()  # a file where the folder should be
    return one_process_fails(folder, rank, size, labels=(), sums=(), on_error="raise")


JOBS = {
    function.__name__: function
    for function in (
        ddp,
        one_fails_warn,
        one_fails_raise,
        one_fails_at_first,
        nobody_fails,
        folder_fails_raise,
        ddp_double,
        ddp_probe,
        fsdp2,
        fsdp2_double,
        fsdp2_probe,
        fsdp2_tied,
        fsdp2_empty_shard,
        tensor_rows,
        tensor_columns,
        two_dimensions,
    )
}


def run(folder, names, rank, size):
    for name in names:
        own = folder / name
        own.mkdir(exist_ok=True)
        found = JOBS[name](own, rank, size)
        (folder / f"{name}.{rank}.json").write_text(json.dumps(found))


def read(folder, name, rank):
    return json.loads((folder / f"{name}.{rank}.json").read_text())


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=20))
    try:
        run(Path(sys.argv[1]), sys.argv[2:], dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
