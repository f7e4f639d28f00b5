"""Jobs in which one process alone fails."""

import warnings

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from lightning_semgeom.capture.activations import HiddenCapture
from lightning_semgeom.capture.labels import LabelReader, Share
from lightning_semgeom.capture.ranks import Ranks
from lightning_semgeom.capture.shards import owned_rows
from lightning_semgeom.measure.site import site_sums
from tests.distributed import models
from tests.distributed.jobs import geometry
from tests.models import Returning


class Failing:
    """A function that raises at some of its calls, on the second process alone."""

    def __init__(self, function, fault, rank, calls):
        self.function = function
        self.fault = fault
        self.fails = calls if rank == 1 else ()
        self.calls = 0

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls - 1 in self.fails:
            raise self.fault
        return self.function(*arguments)


def failing_labels(rank, calls):
    return Failing(lambda batch: batch["labels"], RuntimeError("the labels are gone"), rank, calls)


def failing_sums(rank, calls):
    return Failing(site_sums, MemoryError("no memory is left"), rank, calls)


def trainer_of(folder, size, *callbacks):
    strategy = DDPStrategy(process_group_backend="gloo")
    return models.trainer(folder, *callbacks, strategy=strategy, devices=size)


def without_callback(folder, rank, size):
    model = models.LearningModel()
    trainer_of(folder, size).fit(model, models.batches(rank, size))
    return {"weights": [p.tolist() for p in model.parameters()]}


def one_process_fails(folder, rank, size, labels=(2,), sums=(2,), model=None, **options):
    """Train while the second process fails; answer with the end of it as well."""
    with warnings.catch_warnings(record=True) as caught, pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("always")
        patch.setattr("lightning_semgeom.measure.weights.site_sums", failing_sums(rank, sums))
        model = model or models.LearningModel()
        callback = geometry(labels=failing_labels(rank, labels), **options)
        trainer = trainer_of(folder, size, callback)
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
        "weights": [p.tolist() for p in model.parameters()],
    }


def one_fails_warn(folder, rank, size):
    return one_process_fails(folder, rank, size)


def one_fails_raise(folder, rank, size):
    return one_process_fails(folder, rank, size, labels=(), on_error="raise")


def one_fails_at_first(folder, rank, size):
    return one_process_fails(folder, rank, size, labels=(0,), sums=())


def nobody_fails(folder, rank, size):
    return one_process_fails(folder, rank, size, labels=(), sums=())


def pieces(folder, rank, size):
    """What is said of tensors that lie in pieces on a mesh."""
    mesh = init_device_mesh("cpu", (size, 1), mesh_dim_names=("across", "alone"))
    found = {}
    for name, placement in (("cut", Shard(0)), ("whole", Replicate())):
        module = Returning(distribute_tensor(torch.eye(2), mesh["across"], [placement]))
        capture = HiddenCapture({"hidden.site": module}, LabelReader("labels", "all", False))
        capture.arm({"labels": torch.arange(2)}, Share(10))
        module()
        (answer,) = capture.collect().values()
        found[name] = str(answer) if isinstance(answer, Exception) else answer.rows.tolist()
    weight = distribute_tensor(torch.eye(2), mesh["alone"], [Replicate()])
    with pytest.raises(ValueError, match="mesh") as refused:
        owned_rows(weight, Ranks(rank, size))
    return found | {"unknown": str(refused.value)}


class NanFromThird(models.LearningModel):
    def on_train_batch_start(self, batch, batch_idx):
        if batch_idx == 3:
            self.lm_head.weight.data.fill_(float("nan"))


def nan_raise(folder, rank, size):
    model = NanFromThird()
    return one_process_fails(folder, rank, size, (), (), model, on_error="raise")


def folder_fails_raise(folder, rank, size):
    (folder / "semgeom").touch()  # a file where the folder should be
    return one_process_fails(folder, rank, size, labels=(), sums=(), on_error="raise")
