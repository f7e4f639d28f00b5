"""What a run does not know, and the callbacks that watch it: nothing of ours ends or spoils it."""

import copy
import math
import pickle
import warnings
from pathlib import Path

import lightning.pytorch as pl
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightning_semgeom import (
    AttributeAlignment,
    AttributeTable,
    GeometryRegularizer,
    GramDispersion,
    SemanticGeometry,
    StopAfterPeak,
)
from lightning_semgeom.settings.factored import FactoredData, FactoredModel, factored_attributes
from tests import models

HIDDEN_GAP = "semgeom_hidden.body/gap"
EACH_STEP = {"every_n_steps": 1, "growth": None}  # without the pictures of early steps


def labels_of(model):
    """A reader of labels that finds none in the batches 3 to 8."""

    def labels(batch):
        hidden = model.trainer.fit_loop.batch_idx in range(3, 9)
        return torch.full_like(batch["labels"], -100) if hidden else batch["labels"]

    return labels


def quietly(trainer, model, data=None, **options):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.fit(model, models.batches() if data is None else data, **options)
    return [str(w.message) for w in told if "SemanticGeometry" in str(w.message)]


def test_a_batch_without_labels_leaves_the_last_known_value_to_those_who_watch_it(tmp_path):
    seen = {}

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            seen[trainer.global_step] = float(trainer.callback_metrics[HIDDEN_GAP])

    model = models.TinyModel()
    callback = SemanticGeometry(models.table(), hidden="body", labels=labels_of(model), **EACH_STEP)
    stop = EarlyStopping(HIDDEN_GAP, mode="max", patience=100, check_on_train_epoch_end=False)
    stop.on_train_batch_end = lambda trainer, *_: stop._run_early_stopping_check(trainer)
    keep = ModelCheckpoint(tmp_path, monitor=HIDDEN_GAP, mode="max", every_n_train_steps=1)
    options = {"max_steps": 11, "enable_checkpointing": True}
    trainer = models.trainer(tmp_path, callback, Watch(), stop, keep, **options)
    told = quietly(trainer, model)
    assert "no two" in told[0] or "labelled rows were found" in told[0]
    assert trainer.global_step == 11
    records = {r.step: r.values[HIDDEN_GAP] for r in callback.history}
    assert [step for step, gap in records.items() if math.isnan(gap)] == [3, 4, 5, 6, 7, 8, 11]
    for updates in range(1, 12):
        known = max(s for s in records if s < updates and not math.isnan(records[s]))
        assert seen[updates] == pytest.approx(records[known], abs=1e-6)
    finite = [gap for gap in records.values() if not math.isnan(gap)]
    assert float(keep.best_model_score) == pytest.approx(max(finite), abs=1e-6)


def test_a_scheduler_that_watches_a_gap_goes_on_through_unknown_ones(tmp_path):
    class Plateau(models.TinyModel):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=100)
            plan = {"scheduler": scheduler, "monitor": HIDDEN_GAP, "interval": "step"}
            return {"optimizer": optimizer, "lr_scheduler": plan}

    model = Plateau()
    callback = SemanticGeometry(models.table(), hidden="body", labels=labels_of(model), **EACH_STEP)
    trainer = models.trainer(tmp_path, callback, max_steps=11)
    quietly(trainer, model)
    assert math.isfinite(trainer.lr_scheduler_configs[0].scheduler.best)


class Iterating(models.TinyModel):
    """Takes the iterator instead of a batch."""

    def training_step(self, dataloader_iter):
        batch, _, _ = next(dataloader_iter)
        return nn_loss(self, batch)


def nn_loss(model, batch):
    return torch.nn.functional.cross_entropy(
        model(batch).flatten(0, -2), batch["labels"].flatten(), ignore_index=-100
    )


@pytest.mark.filterwarnings("ignore:.*`dataloader_iter`")
def test_a_training_step_that_takes_the_iterator_is_measured_and_regularized(tmp_path):
    callback = SemanticGeometry(
        models.table(), hidden="body", probe=models.batches(2), every_n_steps=1
    )
    loss = GeometryRegularizer(GramDispersion())
    trainer = models.trainer(tmp_path, callback, loss, max_steps=5)
    trainer.fit(Iterating(), models.batches())
    assert [record.step for record in callback.history] == list(range(6))
    assert all(math.isfinite(r.values[HIDDEN_GAP]) for r in callback.history)
    assert math.isfinite(trainer.callback_metrics["semgeom_loss/GramDispersion"])


@pytest.mark.filterwarnings("ignore:.*`dataloader_iter`")
@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (lambda: SemanticGeometry(models.table(), hidden="body"), r"Give probe=\[...\]"),
        (
            lambda: GeometryRegularizer(AttributeAlignment(models.table()), hidden="body"),
            "Leave hidden out",
        ),
    ],
)
def test_labels_cannot_be_read_from_an_iterator_and_this_is_told_before_training(
    tmp_path, callback, message
):
    with pytest.raises(
        ValueError, match=rf"Iterating.training_step takes dataloader_iter.*{message}"
    ):
        models.trainer(tmp_path, callback()).fit(Iterating(), models.batches())


@pytest.mark.parametrize(
    "given",
    [
        "tokens.csv",
        pytest.param(Path("tokens.csv"), id="Path"),
        [1, 2],
    ],
)
def test_attributes_that_are_no_table_are_told_what_to_do(given):
    wanted = r"from_dict\(\{" if isinstance(given, list) else "attributes_file"
    told = f"is an AttributeTable, or a dict .*; got a {type(given).__name__}.*{wanted}"
    with pytest.raises(ValueError, match=told):
        SemanticGeometry(given)


@pytest.mark.parametrize("kind", [dict, pd.DataFrame])
def test_of_a_dict_of_lists_and_of_a_frame_a_table_is_made(kind):
    columns = {"colour": list("rrbbggrrbbgg"), "size": [None, "s", "l"] * 4}
    assert SemanticGeometry(kind(columns)).attributes == models.table()


@pytest.mark.parametrize(
    "options",
    [
        {"max_steps": 5, "ckpt_path": "last.ckpt"},
        {"limit_train_batches": 0, "max_epochs": 1},
        {"max_epochs": 0},
        {"max_steps": 0},
    ],
)
def test_a_fit_that_trains_nothing_ends_as_it_would_without_us(tmp_path, options):
    def callbacks():
        keep = ModelCheckpoint(
            tmp_path,
            monitor="semgeom/gap",
            mode="max",
            every_n_train_steps=1,
            save_last=True,
            enable_version_counter=False,
        )
        return SemanticGeometry(factored_attributes()), StopAfterPeak(), keep

    def fit(ckpt_path=None, **options):
        ours = callbacks()
        settings = {"enable_checkpointing": True, "max_steps": -1, **options}
        trainer = models.trainer(tmp_path, *ours, **settings)
        model = FactoredModel()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*max_steps|.*limit_train_batches|.*epochs")
            trainer.fit(model, FactoredData(), ckpt_path=ckpt_path)
        return ours[0], trainer, model

    fit(max_steps=5)
    ckpt = options.pop("ckpt_path", None)
    semgeom, trainer, model = fit(ckpt and tmp_path / ckpt, **options)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    if ckpt:
        assert len(semgeom.history) == 6
        assert all(torch.equal(saved[key], value) for key, value in model.state_dict().items())
    else:
        assert len(semgeom.history) == 0
        assert trainer.global_step == 0


class CopyInStep(models.TinyModel):
    """Copies itself and its trainer's callbacks in each training step, where hooks are armed."""

    def __init__(self, way):
        super().__init__(dropout=0.0)
        self.way, self.copies = way, []

    def training_step(self, batch, batch_idx):
        ours = [c for c in self.trainer.callbacks if hasattr(c, "name")]
        self.copies = [self.way(callback) for callback in ours]
        twin = self.way(self)
        assert "training_step" not in vars(twin) or twin.training_step.__self__ is twin
        twin(batch)
        return super().training_step(batch, batch_idx)

    def __getstate__(self):
        return {**super().__getstate__(), "way": None, "copies": []}


@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
def test_callbacks_and_models_can_be_copied_while_hooks_are_armed(tmp_path, way):
    def run(model, name):
        callback = SemanticGeometry(models.table(), hidden="body", **EACH_STEP)
        losses = GeometryRegularizer(AttributeAlignment(models.table()), hidden="body")
        trainer = models.trainer(tmp_path / name, callback, losses, max_steps=6)
        trainer.fit(model, models.batches())
        return callback

    copying = CopyInStep(way)
    callback, plain = run(copying, "copied"), run(models.TinyModel(dropout=0.0), "plain")
    twin = copying.copies[0]
    assert [r.step for r in twin.history] == [0, 1, 2, 3, 4]
    assert twin.phases["unembedding", "colour"].last_step == 5
    for ours, other in zip(callback.history, plain.history, strict=True):
        assert ours.values == pytest.approx(other.values, abs=0, nan_ok=True)
    # What was copied goes on where the original was.
    assert pickle.loads(pickle.dumps(callback)).history.curve(HIDDEN_GAP)[
        1
    ].tolist() == pytest.approx(callback.history.curve(HIDDEN_GAP)[1].tolist(), abs=0, nan_ok=True)


def test_a_copy_of_a_callback_can_be_used_in_another_fit(tmp_path):
    callback = SemanticGeometry(models.table(), every_n_steps=1)
    models.trainer(tmp_path / "one", callback, max_steps=3).fit(
        models.TinyModel(), models.batches()
    )
    twin = copy.deepcopy(callback)
    assert len(twin.history) == 4
    models.trainer(tmp_path / "two", twin, max_steps=2).fit(models.TinyModel(), models.batches())
    assert [r.step for r in twin.history] == [0, 1, 2]
    assert len(callback.history) == 4


def test_the_table_s_own_advice_can_be_followed(tmp_path):
    long = AttributeTable.from_dict({"colour": list("rb") * 8})
    with pytest.raises(ValueError, match=r"table.first\(12\)"):
        models.trainer(tmp_path, SemanticGeometry(long)).fit(models.TinyModel(), models.batches())
    callback = SemanticGeometry(long.first(12))
    models.trainer(tmp_path, callback, max_steps=2).fit(models.TinyModel(), models.batches())
    assert callback.history.records[0].values["semgeom_unembedding/rows"] == 12
