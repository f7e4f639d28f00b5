"""Faults during training: one clear warning and NaN, or an exception; training is as without us."""

import math
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers.logger import Logger

from lightning_semgeom import AttributeTable, History, SemanticGeometry
from tests import models

STEPS, FROM = 8, 4  # how many there are, and the update or batch from which on something is wrong


class NanWeights(models.TinyModel):
    def on_train_batch_start(self, batch, batch_idx):
        if batch_idx == FROM:
            with torch.no_grad():
                self.lm_head.weight.fill_(math.nan)


class InfiniteHidden(models.TinyModel):
    def forward(self, batch):
        batch_idx = self.trainer.fit_loop.epoch_loop.batch_idx
        scale = math.inf if batch_idx >= FROM else 1.0
        return self.lm_head(self.body(self.embed(batch["x"]) * scale))


class EqualRows(models.TinyModel):
    def optimizer_step(self, epoch, batch_idx, *arguments):
        super().optimizer_step(epoch, batch_idx, *arguments)
        if batch_idx >= FROM:
            with torch.no_grad():
                self.lm_head.weight.copy_(self.lm_head.weight[:1].expand_as(self.lm_head.weight))


class NotCalled(models.TinyModel):
    def forward(self, batch):
        if self.trainer.fit_loop.epoch_loop.batch_idx < FROM:
            return super().forward(batch)
        return self.lm_head(self.embed(batch["x"]))


class BrokenLogger(Logger):
    """Takes no pictures, which nobody would look at."""

    name = version = "broken"

    def log_hyperparams(self, *_):
        pass

    def log_metrics(self, metrics, step=None):
        if "semgeom/gap" in metrics and step >= FROM:
            raise ConnectionError("the backend is gone")


class FullDisk(pl.Callback):
    """The disk has no room from one batch on, and room again later."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        folder = Path(trainer.default_root_dir) / "semgeom"
        for name in ("history.jsonl", "history.tmp") if folder.exists() else ():
            if batch_idx == FROM:
                (folder / name).unlink(missing_ok=True)
                (folder / name).symlink_to("/dev/full")
            elif batch_idx == FROM + 3:
                (folder / name).unlink()


class LessContext(models.TinyModel):
    """Takes sequences of 6 tokens at most."""

    def predict_step(self, batch, batch_idx):
        if batch["x"].shape[1] > 6:
            raise IndexError("position 6 is past the last one, 5")
        return self(batch)


def probe():
    """Batches of several shapes, of which the model cannot take one."""
    shapes = [(4, 5), (2, 3), (3, 9), (1, 6)]
    generator = torch.Generator().manual_seed(5)
    return [
        {key: torch.randint(models.TOKENS, shape, generator=generator) for key in ("x", "labels")}
        for shape in shapes
    ]


def lonely_table():
    """`name` is a value of its own for each token."""
    tokens = torch.arange(models.TOKENS)
    names = tuple(f"token {token}" for token in tokens.tolist())
    # Not from_dict, which would tell it now.
    codes = torch.stack([tokens, tokens % 2], dim=1)
    return AttributeTable(codes, ("name", "half"), (names, ("a", "b")))


@dataclass
class Fault:
    """What goes wrong, and what is said of it."""

    message: str
    model: type = models.TinyModel
    geometry: dict = field(default_factory=dict)
    trainer: dict = field(default_factory=dict)
    callbacks: tuple = ()
    logger: type | None = None
    table: object = field(default_factory=models.table)

    def fit(self, folder, *callbacks):
        pl.seed_everything(1, verbose=False)
        logger = False if self.logger is None else self.logger()
        settings = {"logger": logger, "max_steps": STEPS} | self.trainer
        trainer = models.trainer(folder, *callbacks, *self.callbacks, **settings)
        model = self.model()
        trainer.fit(model, models.batches())
        return model

    def callback(self, **options):
        settings = {"every_n_steps": 2, "growth": None, "hidden": "body"}
        return SemanticGeometry(self.table, **(settings | self.geometry | options))


FAULTS = {
    "nan weights": Fault(
        "at step 5.\n  unembedding: UndefinedError: 12 of 12 rows are NaN or infinite.",
        NanWeights,
        {"hidden": (), "every_n_steps": 5},
    ),
    "nan weights and hidden states": Fault(
        "unembedding: UndefinedError: 12 of 12 rows are NaN or infinite.\n"
        "  hidden.body: UndefinedError: 10 of 10 rows are NaN or infinite.",
        NanWeights,
        {"every_n_steps": 5},
    ),
    "infinite hidden states": Fault(
        "hidden.body: UndefinedError: 10 of 10 rows are NaN or infinite.",
        InfiniteHidden,
        {"unembedding": False},
    ),
    "equal rows": Fault(
        "unembedding: UndefinedError: all 12 rows are zero or equal to each other.", EqualRows
    ),
    "attributes without a pair": Fault(
        "unembedding: UndefinedError: no two of 12 rows have the same value of attribute 'name'.",
        geometry={"hidden": ()},
        table=lonely_table(),
    ),
    "a logger": Fault(
        "a record is not written at step 4.\n  BrokenLogger: ConnectionError: the backend is gone",
        logger=BrokenLogger,
    ),
    "a full disk": Fault(
        "a record is not written at step 4.\n  history: OSError: [Errno 28] No space left",
        callbacks=(FullDisk(),),
    ),
    "a folder that nobody may write": Fault(
        "a record is not written.\n  history: ", trainer={"default_root_dir": "/proc/semgeom"}
    ),
    "a file in place of the folder": Fault(
        "a record is not written.\n  history: ", trainer={"default_root_dir": "/dev/null"}
    ),
    "a probe batch of another shape": Fault(
        "hidden.body: ValueError: 1 of 4 batches are left out; the first of them because of "
        "IndexError: position 6 is past the last one, 5",
        LessContext,
        {"probe": probe()},
    ),
    "a module that is not called": Fault(
        "at step 4.\n  hidden.body: ValueError: no forward of this batch called hidden.body.",
        NotCalled,
    ),
}
each_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


def fit_and_listen(folder, fault, *callbacks):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fault.fit(folder, *callbacks)
    return model, [str(w.message) for w in caught if "SemanticGeometry" in str(w.message)]


@each_fault
def test_it_is_one_warning_and_training_is_bit_equal_to_a_run_without_us(tmp_path, fault):
    callback = fault.callback()
    model, told = fit_and_listen(tmp_path / "with", fault, callback)
    plain, none = fit_and_listen(tmp_path / "without", fault)
    assert len(told) == 1
    assert fault.message in told[0]
    assert "Training goes on" in told[0]
    assert not none
    assert callback.history.records[-1].step == STEPS
    for ours, expected in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0, equal_nan=True)
    assert not any(module._forward_hooks for module in model.modules())


@each_fault
def test_with_raise_it_ends_the_run(tmp_path, fault):
    callback = fault.callback(on_error="raise")
    with pytest.raises((ValueError, OSError)) as raised:
        fault.fit(tmp_path, callback)
    first = re.search(r"[a-z.]+: \w+: (.*)|$", fault.message)[1] or ""
    told = str(raised.value)
    assert first in told or first.endswith(told), told


def test_what_is_sound_is_measured_beside_what_is_not(tmp_path):
    fault = FAULTS["a module that is not called"]
    callback = fault.callback()
    fit_and_listen(tmp_path, fault, callback)
    found = {
        site: [math.isnan(r.values[f"semgeom_{site}/gap"]) for r in callback.history]
        for site in ("unembedding", "hidden.body")
    }
    assert [record.step for record in callback.history] == [0, 2, 4, 6, 7, 8]
    assert found["unembedding"] == [False] * 6
    assert found["hidden.body"] == [False, False, True, True, True, True]


def test_a_pair_of_other_attributes_is_measured_beside_those_without(tmp_path):
    fault = FAULTS["attributes without a pair"]
    callback = fault.callback()
    fit_and_listen(tmp_path, fault, callback)
    values = callback.history.records[-1].values
    assert math.isnan(values["semgeom_unembedding/gap/name"])
    assert values["semgeom_unembedding/gap"] == values["semgeom_unembedding/gap/half"]


def test_the_other_batches_of_a_probe_are_measured(tmp_path):
    fault = FAULTS["a probe batch of another shape"]
    callback = fault.callback()
    fit_and_listen(tmp_path / "some", fault, callback)
    only = fault.callback(probe=[batch for batch in probe() if batch["x"].shape[1] <= 6])
    fit_and_listen(tmp_path / "only", fault, only)
    for ours, expected in zip(callback.history, only.history, strict=True):
        assert ours.values == pytest.approx(dict(expected.values), nan_ok=True, abs=0)


def test_a_record_that_found_no_room_is_written_with_the_next_one(tmp_path):
    callback = FAULTS["a full disk"].callback()
    fit_and_listen(tmp_path, FAULTS["a full disk"], callback)
    read = History.load(tmp_path / "semgeom")
    assert [record.step for record in read] == [record.step for record in callback.history]


def test_a_batch_without_labels_is_told_as_such(tmp_path):
    callback = SemanticGeometry(
        models.table(), hidden="body", labels=lambda batch: torch.full_like(batch["x"], -100)
    )
    with pytest.warns(UserWarning, match="0 labelled rows were found, and a pair needs two"):
        models.trainer(tmp_path, callback, max_steps=2).fit(models.TinyModel(), models.batches())


def test_a_probe_without_a_batch_is_an_error_before_training(tmp_path):
    callback = SemanticGeometry(models.table(), hidden="body", probe=[])
    with pytest.raises(ValueError, match="no batch was given"):
        models.trainer(tmp_path, callback).fit(models.TinyModel(), models.batches())
