"""Callbacks of Lightning that put other weights into the model or the checkpoint, beside ours."""

import math
import warnings
from functools import cache
from tempfile import TemporaryDirectory

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    ModelCheckpoint,
    ModelPruning,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from torch import nn

from lightning_semgeom import (
    GeometryRegularizer,
    GramDispersion,
    SemanticGeometry,
    StopAfterPeak,
    attribute_similarity,
)
from tests import models
from tests.models import StagedModel


class Backbone(models.TinyModel):
    """With a backbone that finetuning freezes first, and batch norm that averaging has to redo."""

    def __init__(self, norm=False):
        super().__init__(dropout=0.0)
        self.backbone = self.embed
        self.norm = nn.BatchNorm1d(models.WIDTH) if norm else nn.Identity()

    def forward(self, batch):
        hidden = self.body(self.backbone(batch["x"]))
        return self.lm_head(self.norm(hidden.flatten(0, 1)).view_as(hidden))

    def configure_optimizers(self):
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.SGD(trained, lr=0.1)


def swa():
    return StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=1)


def pruning(model):
    return ModelPruning("l1_unstructured", parameters_to_prune=[(model.lm_head, "weight")])


OTHERS = {
    "WeightAveraging": lambda model, folder: WeightAveraging(),
    "EMAWeightAveraging": lambda model, folder: EMAWeightAveraging(decay=0.9),
    "StochasticWeightAveraging": lambda model, folder: swa(),
    "BackboneFinetuning": lambda model, folder: BackboneFinetuning(1, verbose=False),
    "ModelPruning": lambda model, folder: pruning(model),
    "OnExceptionCheckpoint": lambda model, folder: OnExceptionCheckpoint(folder),
    "GradientAccumulationScheduler": lambda model, folder: GradientAccumulationScheduler({1: 2}),
}


class AfterUpdates(pl.Callback):
    """The head right after each update, by the optimizer's own count."""

    def __init__(self):
        self.heads = {}

    def on_train_start(self, trainer, pl_module):
        self.keep(pl_module)
        trainer.optimizers[0].register_step_post_hook(lambda *_: self.keep(pl_module))

    def keep(self, model):
        head = model.lm_head
        mask = getattr(head, "weight_mask", None)
        weight = head.weight if mask is None else head.weight_orig * mask
        self.heads[len(self.heads)] = weight.detach().clone()


def gap(weight, table):
    found = attribute_similarity(weight.detach(), table.codes, table.num_values)
    return found["gap"].mean().item()


def end_of(folder, make, norm, first, *ours):
    """The weights after a run with another callback, which is before or after ours."""
    torch.manual_seed(0)
    model = Backbone(norm)
    other = make(model, folder)
    order = [other, *ours] if first else [*ours, other]
    trainer = models.trainer(folder, *order, max_steps=-1, max_epochs=3, enable_checkpointing=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.pytorch")
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*before")
        trainer.fit(model, models.batches(2))
    return model.state_dict()


AVERAGING = ("WeightAveraging", "EMAWeightAveraging", "StochasticWeightAveraging")
CASES = [
    *(pytest.param(make, False, id=name) for name, make in OTHERS.items()),
    # No other one has to do with it.
    *(pytest.param(OTHERS[name], True, id=f"{name}, batch norm") for name in AVERAGING),
]


@cache
def end_without_us(make, norm):
    with TemporaryDirectory() as folder:
        return end_of(folder, make, norm, True)


@pytest.mark.filterwarnings("ignore:.*fit.ckpt_path=")
@pytest.mark.parametrize("first", [True, False], ids=["other first", "other last"])
@pytest.mark.parametrize(("make", "norm"), CASES)
def test_records_are_of_the_trained_weights_and_training_is_as_without_us(
    tmp_path, make, norm, first
):
    callback = SemanticGeometry(models.table(), every_n_steps=1, growth=None)
    seen = AfterUpdates()
    with_ours = end_of(tmp_path, make, norm, first, callback, seen)
    without = end_without_us(make, norm)
    assert all(torch.equal(with_ours[key], value) for key, value in without.items())
    history = callback.history
    assert [record.step for record in history] == list(range(len(seen.heads)))
    for record in history:
        found = record.values["semgeom_unembedding/gap"]
        assert found == pytest.approx(gap(seen.heads[record.step], models.table()), abs=1e-5)


@pytest.mark.parametrize(
    ("other", "told"),
    [(EMAWeightAveraging(decay=0.9), True), (swa(), True), (EMAWeightAveraging(decay=0.9), False)],
)
def test_averaged_weights_at_the_end_of_a_run_are_not_taken_for_the_last_ones(
    tmp_path, other, told
):
    callback = SemanticGeometry(models.table(), every_n_steps=100, growth=None)

    class Stop(pl.Callback):  # unforeseen, so that the last step is not captured as such
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step >= 8

    order = [other, callback] if told else [callback, other]
    trainer = models.trainer(
        tmp_path, *order, Stop(), max_steps=-1, max_epochs=9, enable_checkpointing=True
    )
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        trainer.fit(models.TinyModel(), models.batches(4))
    messages = [str(w.message) for w in seen if "are not measured" in str(w.message)]
    assert len(messages) == told
    steps = [record.step for record in callback.history]
    assert steps == ([0] if told else [0, 8])
    if told:
        assert f"of step 8, are not measured: {type(other).__name__} has put" in messages[0]


def keeper(folder):
    return ModelCheckpoint(folder, monitor="semgeom/gap", mode="max", every_n_train_steps=1)


class Swapping(pl.Callback):
    """An average of a user's own, which nothing in the checkpoint tells of."""

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        checkpoint["state_dict"] = {k: v * 0 + 1 for k, v in checkpoint["state_dict"].items()}
        shape = checkpoint["state_dict"]["lm_head.weight"].shape
        checkpoint["state_dict"]["lm_head.weight"] = torch.randn(shape)


@pytest.mark.parametrize(
    ("make", "is_back", "first"),
    [
        (lambda: WeightAveraging(), True, False),
        (lambda: EMAWeightAveraging(decay=0.99), True, True),
        (swa, True, False),
        (lambda: OnExceptionCheckpoint("nowhere"), True, True),
        (Swapping, False, False),
    ],
)
@pytest.mark.filterwarnings("ignore:.*fit.ckpt_path=")
def test_what_stop_after_peak_puts_back_is_measured(tmp_path, told, make, is_back, first):
    semgeom = SemanticGeometry(StagedModel.table(), every_n_steps=5, growth=None)
    ours, other = [semgeom, StopAfterPeak()], make()
    order = [other, *ours] if first else [*ours, other]
    trainer = models.trainer(
        tmp_path, *order, keeper(tmp_path), max_steps=150, enable_checkpointing=True
    )
    model = StagedModel()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        trainer.fit(model, models.batches(200))
    peak = semgeom.mean_phases["unembedding"]
    warned = [str(w.message) for w in seen if "StopAfterPeak" in str(w.message)]
    if is_back:
        assert warned == []
        assert torch.equal(model.lm_head.weight, model.head_at(peak.peak_step))
        begins = f"weights are those of step {peak.peak_step} again: measured anew they have"
        whole = f"{begins} a gap of {peak.peak_gap:.4f} in unembedding"
        assert any(whole in line for line in told)
    else:
        (message,) = warned
        found = gap(model.lm_head.weight, StagedModel.table())
        assert f"a gap of {found:.4f} in unembedding and not {peak.peak_gap:.4f}" in message
        assert not any("again" in line for line in told)


def test_averages_in_a_validation_do_not_reach_the_records(tmp_path):
    class Validated(models.TinyModel):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", super().training_step(batch, batch_idx))

    seen, callback = models.WeightsByStep(), SemanticGeometry(models.table(), every_n_steps=1)
    trainer = models.trainer(
        tmp_path, EMAWeightAveraging(decay=0.5), seen, callback, max_steps=9, val_check_interval=2
    )
    trainer.fit(Validated(), models.batches(6), models.batches(2))
    for record in list(callback.history)[:-1]:
        found = record.values["semgeom_unembedding/gap"]
        assert found == pytest.approx(gap(seen.heads[record.step], models.table()), abs=1e-5)


@pytest.mark.parametrize("other", ["WeightAveraging", "EMAWeightAveraging", "BackboneFinetuning"])
def test_a_regularizer_trains_beside_them(tmp_path, other):
    model = Backbone()
    strong = GeometryRegularizer(GramDispersion(), weight=1.0)
    trainer = models.trainer(
        tmp_path, strong, OTHERS[other](model, tmp_path), max_steps=12, enable_checkpointing=True
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.pytorch")
        trainer.fit(model, models.batches(6))
    assert math.isfinite(trainer.callback_metrics["semgeom_loss/GramDispersion"].item())
    assert "training_step" not in vars(model)
