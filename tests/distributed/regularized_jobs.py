"""Jobs that train with a loss on the geometry, added by the callback or by hand."""

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from lightning_semgeom import (
    AttributeAlignment,
    GeometryRegularizer,
    GramAnchor,
    GramDispersion,
    SemanticGeometry,
    StopAfterPeak,
)
from tests.distributed import models, shards
from tests.distributed.jobs import strategy_of
from tests.models import StagedModel, batches

WEIGHT = 2.0


def make_loss(name):
    if name == "anchor":
        return GramAnchor(warm_up=0, min_drop=1e-6)
    return AttributeAlignment(models.table()) if name == "alignment" else GramDispersion(max_rows=6)


class Learning(models.PathModel):
    """Plain gradient descent, in which the size of a gradient shows; `share` of its own loss."""

    share = 1.0

    def __init__(self, shard=None, loss=None):
        super().__init__(13, shard=shard)
        self.loss = loss

    def configure_model(self):
        if self.shard is not None and not self.is_sharded:
            self.is_sharded = True
            self.shard(self, self.device_mesh)

    def forward(self, batch):
        self.features = self.body(self.embed(batch["x"]))
        return self.lm_head(self.features)

    def training_step(self, batch, batch_idx):
        labels = batch["labels"]
        loss = self.share * nn.functional.cross_entropy(
            self(batch).flatten(0, 1), labels.flatten(), ignore_index=-100
        )
        if self.loss is None:
            return loss
        chosen = labels >= 0
        rows = {"hidden": self.features[chosen], "labels": labels[chosen]}
        return loss + WEIGHT * self.loss(unembedding=self.lm_head.weight, **rows)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.2)


class Silent(Learning):
    """The geometry alone is trained for."""

    share = 0.0


def whole(parameter):
    parameter = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
    return parameter.tolist()


def train(folder, rank, size, way, model, *callbacks, precision="32-true"):
    if size == 1 or way == "ddp":
        strategy = strategy_of(size)
    else:
        data_parallel = size if way == "fully_sharded" else 1
        strategy = ModelParallelStrategy(data_parallel, size // data_parallel)
    parts = 1 if way == "head_by_rows" else size
    trainer = models.trainer(
        folder, *callbacks, strategy=strategy, devices=size, precision=precision, max_epochs=1
    )
    trainer.fit(model, models.batches(rank % parts, parts))
    return [whole(parameter) for parameter in model.parameters()]


def by_hand_and_by_callback(folder, rank, size, way, name, **options):
    """The weights after each of the two."""
    shard = None if way == "ddp" else getattr(shards, way)
    by_hand = Learning(shard, make_loss(name))
    callback = GeometryRegularizer(make_loss(name), WEIGHT, hidden="body")
    return {
        "by hand": train(folder, rank, size, way, by_hand, **options),
        "by callback": train(folder, rank, size, way, Learning(shard), callback, **options),
        "without": train(folder, rank, size, way, Learning(shard), **options),
    }


def ddp_anchor(folder, rank, size):
    return by_hand_and_by_callback(folder, rank, size, "ddp", "anchor")


def ddp_alignment_bf16(folder, rank, size):
    return by_hand_and_by_callback(folder, rank, size, "ddp", "alignment", precision="bf16-mixed")


def fsdp2_anchor(folder, rank, size):
    return by_hand_and_by_callback(folder, rank, size, "fully_sharded", "anchor")


def fsdp2_dispersion_bf16(folder, rank, size):
    how = {"precision": "bf16-mixed"}
    return by_hand_and_by_callback(folder, rank, size, "fully_sharded", "dispersion", **how)


def tensor_alignment(folder, rank, size):
    return by_hand_and_by_callback(folder, rank, size, "head_by_rows", "alignment")


def geometry_alone(folder, rank, size, way):
    shard = None if way == "ddp" or size == 1 else getattr(shards, way)
    callback = GeometryRegularizer(make_loss("dispersion"), WEIGHT)
    return {"weights": train(folder, rank, size, way, Silent(shard), callback)}


def ddp_alone(folder, rank, size):
    return geometry_alone(folder, rank, size, "ddp")


def fsdp2_alone(folder, rank, size):
    return geometry_alone(folder, rank, size, "fully_sharded")


def fsdp2_head_alone(folder, rank, size):
    return geometry_alone(folder, rank, size, "head_fully_sharded")


def tensor_alone(folder, rank, size):
    return geometry_alone(folder, rank, size, "head_by_rows")


class ShardedStaged(StagedModel):
    """The same in pieces."""

    def configure_model(self):
        if not isinstance(self.lm_head.weight, DTensor):
            fully_shard(self.lm_head, mesh=self.device_mesh["data_parallel"])
            fully_shard(self, mesh=self.device_mesh["data_parallel"])

    def set_head(self, updates):
        weight, rows = self.lm_head.weight, self.head_at(updates)
        if isinstance(weight, DTensor):
            rows = distribute_tensor(rows, weight.device_mesh, weight.placements)
        with torch.no_grad():
            weight.copy_(rows)

    def forward(self, rows):
        return self.lm_head(rows)

    def training_step(self, batch, batch_idx):
        return self(torch.ones(1, 16)).sum() * 0


def stop(folder, strategy, size, model, min_drop=0.1):
    """Where a run ends, and whether it has the weights of its peak then."""
    semgeom = SemanticGeometry(model.table(), every_n_steps=5)
    keep = ModelCheckpoint(folder, monitor="semgeom/gap", mode="max", every_n_train_steps=1)
    trainer = models.trainer(
        folder, semgeom, StopAfterPeak(min_drop=min_drop), keep, strategy=strategy, devices=size,
        max_steps=150, enable_checkpointing=True,
    )  # fmt: skip
    trainer.fit(model, batches(200))
    peak = semgeom.mean_phases["unembedding"].peak_step
    head = torch.tensor(whole(model.lm_head.weight))
    return {
        "end": trainer.global_step,
        "peak": peak,
        "restored": torch.equal(head, model.head_at(peak)),
    }


def ddp_stop(folder, rank, size):
    return stop(folder, strategy_of(size), size, StagedModel())


def fsdp2_stop(folder, rank, size):
    return stop(folder, ModelParallelStrategy(size, 1), size, ShardedStaged())


def one_sees_the_peak(folder, rank, size):
    """The first process would go on for ever."""
    drop = 0.99 if rank == 0 else 0.1
    return stop(folder, strategy_of(size), size, StagedModel(), drop)
