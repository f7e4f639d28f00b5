"""Ways to train and to call the Trainer: each record is of its own step, in all of them."""

import math
import warnings
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.checkpoint import checkpoint

from lightning_semgeom import History, SemanticGeometry, attribute_similarity, snapshot
from tests import models


class TwoOptimizers(models.TinyModel):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self):
        rest = [*self.body.parameters(), *self.lm_head.parameters()]
        return torch.optim.SGD(self.embed.parameters(), 0.5), torch.optim.AdamW(rest, 0.02)


class Checkpointed(models.TinyModel):
    """Runs its body once more in the backward, other dropout and all if it were not prevented."""

    def forward(self, batch):
        hidden = checkpoint(self.body, self.embed(batch["x"]), use_reentrant=False)
        return self.lm_head(hidden)


class Validated(models.TinyModel):
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self(batch).square().mean())

    test_step = validation_step


WAYS = {
    "accumulated": (models.TinyModel, {"accumulate_grad_batches": 2, "max_epochs": 3}),
    "two optimizers": (TwoOptimizers, {"max_steps": 20}),
    "bf16": (models.TinyModel, {"precision": "bf16-mixed"}),
    "checkpointed": (Checkpointed, {}),
    "validated": (Validated, {"val_check_interval": 3, "num_sanity_val_steps": 2}),
}


def counting(reads):
    def labels(batch):
        reads.append(1)
        return batch["labels"]

    return labels


@pytest.mark.parametrize("way", WAYS)
def test_each_record_is_of_the_weights_and_the_forward_of_its_step(tmp_path, way):
    model, options = WAYS[way]
    kept, reads = models.HiddenByStep(), []
    callback = geometry(labels=counting(reads))
    trainer = models.trainer(tmp_path, kept, callback, **({"max_steps": 10} | options))
    validated = [models.batches(2)] if model is Validated else []
    trainer.fit(model(), models.batches(8), *validated)
    codes, steps = models.table().codes, [record.step for record in callback.history]
    # With two optimizers, max_steps counts each: the last batch is not known to be the last.
    assert steps == [0, 4, 8, *([] if way == "two optimizers" else [9]), 10]
    assert len(reads) == len(steps) - 1  # once a due forward; none follows the last update
    for record in callback.history.records[:-1]:
        rows, of_rows = models.means_by_label([kept.hidden[record.step]])
        for site, expected in (
            ("hidden.body", attribute_similarity(rows, of_rows, [3, 2])),
            ("unembedding", attribute_similarity(kept.heads[record.step], codes, [3, 2])),
        ):
            for a, name in enumerate(("colour", "size")):
                found = record.values[f"semgeom_{site}/gap/{name}"]
                assert found == pytest.approx(float(expected["gap"][a]), abs=1e-6)


def geometry(**options):
    return SemanticGeometry(
        models.table(), **({"hidden": "body", "every_n_steps": 4, "growth": None} | options)
    )


def test_a_second_fit_of_a_trainer_goes_on(tmp_path):
    callback = geometry()
    trainer, model = models.trainer(tmp_path, callback, max_steps=8), models.TinyModel()
    trainer.fit(model, models.batches(8))
    trainer.fit_loop.epoch_loop.max_steps = 14
    trainer.fit(model, models.batches(8))
    assert [record.step for record in callback.history] == [0, 4, 7, 8, 12, 13, 14]
    assert len(History.load(tmp_path / "semgeom")) == 7


def test_a_callback_in_a_new_trainer_starts_afresh_and_says_where_the_old_history_is(
    tmp_path, told
):
    callback = geometry()
    for _ in range(2):
        assert [line for line in told if "earlier" in line] == []
        models.trainer(tmp_path, callback, max_steps=8).fit(models.TinyModel(), models.batches())
        assert [record.step for record in callback.history] == [0, 4, 7, 8]
    assert len(History.load(tmp_path / "semgeom")) == 4
    folder = tmp_path / "semgeom"
    assert len(History.load(folder / "earlier.1")) == 4
    (line,) = [line for line in told if "earlier" in line]
    moved = f"'{folder}' had the history of an earlier run, which is now in '{folder}/earlier.1'."
    assert moved in line


@pytest.mark.parametrize("way", ["validate", "test", "predict"])
def test_an_evaluation_alone_records_once_and_writes_no_file(tmp_path, way):
    probe = [*models.batches(2)]
    callback = SemanticGeometry(models.table(), hidden="body", probe=probe)
    trainer, model = models.trainer(tmp_path, callback, max_steps=5), Validated()
    torch.manual_seed(1)
    getattr(models.trainer(tmp_path), way)(model, models.batches(2))
    state = torch.get_rng_state()
    torch.manual_seed(1)
    getattr(trainer, way)(model, models.batches(2))
    assert torch.equal(torch.get_rng_state(), state)
    (record,) = callback.history
    expected = snapshot(model, models.table(), hidden="body", data=probe).figures
    assert record.step == 0
    assert dict(record.values) == pytest.approx(dict(expected), nan_ok=True)
    getattr(trainer, way)(model, models.batches(2))
    assert len(callback.history) == 1
    assert not list(tmp_path.iterdir())


def test_an_evaluation_without_a_probe_says_what_it_cannot_record(tmp_path):
    callback = SemanticGeometry(models.table(), hidden="body")
    trainer = models.trainer(tmp_path, callback)
    with pytest.warns(UserWarning, match=r"an evaluation has none.*Give probe"):
        trainer.validate(Validated(), models.batches(2), verbose=False)
    (record,) = callback.history
    assert record.values["semgeom_unembedding/rows"] == 12
    assert math.isnan(record.values["semgeom_hidden.body/rows"])


def test_an_evaluated_checkpoint_has_the_step_of_its_weights_and_loggers_get_it(tmp_path):
    callback = SemanticGeometry(models.table())
    kept = ModelCheckpoint(tmp_path, filename="kept")
    options = {"max_steps": 5, "enable_checkpointing": True}
    models.trainer(tmp_path, callback, kept, **options).fit(models.TinyModel(), models.batches())
    again, logger = SemanticGeometry(models.table()), CSVLogger(tmp_path / "logs")
    evaluated = {"logger": logger, "enable_checkpointing": True}
    trainer = models.trainer(tmp_path, again, ModelCheckpoint(tmp_path), **evaluated)
    trainer.test(Validated(), models.batches(2), ckpt_path=tmp_path / "kept.ckpt", verbose=False)
    (record,) = again.history
    assert record.step == 5
    assert dict(record.values)["semgeom/gap"] == callback.history.records[-1].values["semgeom/gap"]
    rows = (Path(logger.log_dir) / "metrics.csv").read_text()
    assert "semgeom_unembedding/gap/colour" in rows


def test_evaluations_around_a_fit_leave_its_records_alone(tmp_path):
    callback = SemanticGeometry(models.table())
    trainer, model = models.trainer(tmp_path, callback, max_steps=5), Validated()
    trainer.validate(model, models.batches(2), verbose=False)
    assert len(callback.history) == 1
    trainer.fit(model, models.batches(), models.batches(2))
    records = callback.history.records
    assert [records[0].step, records[-1].step] == [0, 5]
    trainer.validate(model, models.batches(2), verbose=False)
    trainer.test(model, models.batches(2), verbose=False)
    assert callback.history.records == records


class WithoutForward(pl.LightningModule):
    """Runs its layers in its training step."""

    def __init__(self):
        super().__init__()
        self.model = models.TinyModel()

    def training_step(self, batch, batch_idx):
        return self.model(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_probe_of_a_model_without_forward_is_told_what_to_write(tmp_path):
    callback = SemanticGeometry(models.table(), hidden="model.body", probe=models.batches(2))
    told = r"probe calls WithoutForward.predict_step\(batch, batch_idx\).*def predict_step"
    with pytest.raises(ValueError, match=told):
        models.trainer(tmp_path, callback).fit(WithoutForward(), models.batches())
    with pytest.raises(ValueError, match=r"WithoutForward has no forward.*forward=lambda"):
        snapshot(WithoutForward(), models.table(), hidden="model.body", data=models.batches(2))


def test_fast_dev_run_captures_and_writes_nothing(tmp_path):
    callback = geometry()
    models.trainer(tmp_path, callback, fast_dev_run=2, max_steps=-1).fit(
        models.TinyModel(), models.batches()
    )
    assert [record.step for record in callback.history] == [0, 1, 2]
    assert not list(tmp_path.rglob("history.jsonl"))


def test_barebones_captures_without_a_warning_of_ours(tmp_path):
    callback = geometry()
    options = {
        "max_steps": 8,
        "barebones": True,
        "enable_checkpointing": None,
        "logger": None,
        "enable_progress_bar": None,
        "enable_model_summary": None,
        "log_every_n_steps": None,
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        models.trainer(tmp_path, callback, **options).fit(models.TinyModel(), models.batches())
    assert [record.step for record in callback.history] == [0, 4, 7, 8]
    told = {str(warning.message) for warning in caught}
    plain = models.TinyModel()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        models.trainer(tmp_path, **options).fit(plain, models.batches())
    assert told == {str(warning.message) for warning in caught}


def test_no_step_at_all_gives_no_record(tmp_path):
    callback = geometry()
    models.trainer(tmp_path, callback, max_steps=0).fit(models.TinyModel(), models.batches())
    assert len(callback.history) == 0


class Ended(models.TinyModel):
    """Wants to stop in the third batch."""

    def on_train_batch_start(self, batch, batch_idx):
        return -1 if batch_idx == 3 else None


def test_a_batch_that_the_model_skips_ends_the_epoch_without_harm(tmp_path):
    callback, model = geometry(every_n_steps=1), Ended()
    models.trainer(tmp_path, callback, max_steps=6).fit(model, models.batches())
    assert not any(module._forward_hooks for module in model.modules())
    assert [record.step for record in callback.history] == list(range(7))


def test_three_callbacks_share_a_trainer(tmp_path):
    callbacks = [
        geometry(),
        geometry(name="control", every_n_steps=3),
        geometry(name="probed", probe=models.batches(2), every_n_steps=2),
    ]
    alone = geometry()
    for folder, chosen in (("together", callbacks), ("alone", [alone])):
        pl.seed_everything(1, verbose=False)
        trainer = models.trainer(tmp_path / folder, *chosen, max_steps=9)
        trainer.fit(models.TinyModel(), models.batches())
    for ours, expected in zip(callbacks[0].history, alone.history, strict=True):
        assert ours.values == pytest.approx(dict(expected.values), nan_ok=True, abs=0)
    for callback, every in zip(callbacks, (4, 3, 2), strict=True):
        steps = [record.step for record in callback.history]
        assert steps == sorted({*range(0, 10, every), 9} | ({8} if every != 2 else set()))
        assert not math.isnan(callback.history.records[0].values[f"{callback.name}/gap"])


class Sampling(pl.Callback):
    """Calls the model between our hooks and the training step."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        pl_module({"x": torch.zeros(4, 5, dtype=torch.int64)})


def test_a_forward_that_is_not_the_training_step_is_not_taken(tmp_path):
    found = []
    for folder, others in (("with", [Sampling()]), ("without", [])):
        callback = geometry()
        models.trainer(tmp_path / folder, callback, *others, max_steps=8).fit(
            models.TinyModel(dropout=0.0), models.batches()
        )
        found.append(callback.history)
    for ours, expected in zip(*found, strict=True):
        assert ours.values == pytest.approx(dict(expected.values), nan_ok=True, abs=0)


class OfFloats(models.TinyModel):
    """Takes vectors instead of tokens."""

    def forward(self, batch):
        return self.lm_head(self.body(batch["x"]))


@pytest.mark.parametrize("probed", [False, True])
def test_batches_of_floats_are_converted_as_the_precision_asks(tmp_path, probed):
    data = [
        {"x": vectors, "labels": torch.arange(20).view(4, 5) % models.TOKENS}
        for vectors in torch.randn(20, 4, 5, models.WIDTH)
    ]
    callback = geometry(probe=data[:2] if probed else None)
    trainer = models.trainer(tmp_path, callback, max_steps=5, precision="bf16-true")
    trainer.fit(OfFloats(), torch.utils.data.DataLoader(data, batch_size=None))
    assert not math.isnan(callback.history.records[0].values["semgeom_hidden.body/gap"])
