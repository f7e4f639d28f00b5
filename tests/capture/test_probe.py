"""A probe in real runs: the model sees what Trainer.predict would show it, each time anew."""

import copy
import itertools
import threading
from collections import UserDict, namedtuple
from dataclasses import dataclass

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from lightning_semgeom import SemanticGeometry, attribute_similarity
from tests import models


class Predicting(models.TinyModel):
    """Answers with its hidden states; nothing trains."""

    def __init__(self):
        super().__init__(dropout=0.0)

    def predict_step(self, batch, batch_idx):
        return self.body(self.embed(batch["x"]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def record(tmp_path, model, probe, steps=3, train=None, **options):
    options = {"hidden": "body", "unembedding": False, "every_n_steps": 1} | options
    callback = SemanticGeometry(models.table(), probe=probe, **options)
    trainer = models.trainer(tmp_path, callback, max_steps=steps)
    trainer.fit(model, models.batches() if train is None else train)
    gaps = [r.values["semgeom_hidden.body/gap/colour"] for r in callback.history]
    assert len(gaps) == steps + 1
    return gaps


def expected(found):
    """The gap of colour of (hidden, labels) pairs."""
    rows, codes = models.means_by_label(found)
    return float(attribute_similarity(rows, codes, [3, 2])["gap"][0])


def of_batches(model, batches):
    with torch.no_grad():
        return expected([(model.body(model.embed(b["x"])), b["labels"]) for b in batches])


PROBE = list(models.batches(3, seed=5))


class Hooked(Predicting):
    """Makes its batches ready in all hooks that Lightning has for that."""

    def on_before_batch_transfer(self, batch, dataloader_idx):
        return {**batch, "x": (batch["x"] + 1) % models.TOKENS}

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return {**batch, "x": (batch["x"] * 5) % models.TOKENS}

    def on_after_batch_transfer(self, batch, dataloader_idx):
        shifted = torch.where(
            batch["labels"] < 0, batch["labels"], (batch["labels"] + 3) % models.TOKENS
        )
        return {"x": (batch["x"] + 2) % models.TOKENS, "labels": shifted}


def test_the_batches_pass_through_the_hooks_that_predict_calls(tmp_path):
    model = Hooked()
    labels = [
        torch.where(b["labels"] < 0, b["labels"], (b["labels"] + 3) % models.TOKENS) for b in PROBE
    ]
    hidden = models.trainer(tmp_path).predict(model, DataLoader(PROBE, batch_size=None))
    wanted = expected(list(zip(hidden, labels, strict=True)))
    assert record(tmp_path, model, PROBE) == pytest.approx([wanted] * 4, abs=1e-6)


def test_the_hooks_of_a_data_module_are_called_too(tmp_path):
    class Module(pl.LightningDataModule):
        def train_dataloader(self):
            return models.batches()

        def on_before_batch_transfer(self, batch, dataloader_idx):
            return {**batch, "x": (batch["x"] + 1) % models.TOKENS}

    model = Predicting()
    ready = [{**b, "x": (b["x"] + 1) % models.TOKENS} for b in PROBE]
    wanted = of_batches(model, ready)
    assert record(tmp_path, model, PROBE, train=Module()) == pytest.approx([wanted] * 4, abs=1e-6)


def steps_of_any_signature():
    def batch_alone(self, batch):
        return self.body(self.embed(batch["x"]))

    def with_index(self, batch, batch_idx):
        assert batch_idx in (0, 1, 2)
        return self.body(self.embed(batch["x"]))

    def with_loader(self, batch, batch_idx, dataloader_idx=0):
        assert dataloader_idx == 0
        return self.body(self.embed(batch["x"]))

    def other_names(self, inputs, number):
        return self.body(self.embed(inputs["x"]))

    def anything(self, *arguments):
        return self.body(self.embed(arguments[0]["x"]))

    def iterator(self, dataloader_iter):
        batch, _, _ = next(dataloader_iter)
        return self.body(self.embed(batch["x"]))

    return [batch_alone, with_index, with_loader, other_names, anything, iterator]


@pytest.mark.filterwarnings("ignore:You are using the `dataloader_iter` step flavor")
@pytest.mark.parametrize("step", steps_of_any_signature(), ids=lambda step: step.__name__)
def test_a_predict_step_of_any_signature_is_called(tmp_path, step):
    model = type("Model", (Predicting,), {"predict_step": step})()
    wanted = of_batches(model, PROBE)
    assert record(tmp_path, model, PROBE) == pytest.approx([wanted] * 4, abs=1e-6)


class Endless(IterableDataset):
    def __iter__(self):
        for seed in itertools.count():
            yield from models.batches(1, seed=seed).dataset


def test_any_iterable_is_read_even_one_without_an_end(tmp_path):
    model = Predicting()
    wanted = of_batches(model, PROBE)
    for probe in (iter(PROBE), (b for b in PROBE), tuple(PROBE), DataLoader(PROBE, None)):
        assert record(tmp_path, model, probe) == pytest.approx([wanted] * 4, abs=1e-6)
    gaps = record(tmp_path, model, DataLoader(Endless(), batch_size=4), max_positions=40)
    assert len(set(gaps)) == 1


def change(batch):
    batch["x"][:, ::2] += 1
    batch["x"] %= models.TOKENS
    batch["labels"][:, 1] = -100


@pytest.mark.parametrize("wrap", [dict, UserDict])
@pytest.mark.parametrize(
    "spoil",
    [change, lambda batch: batch.pop("labels"), lambda batch: batch.update(x=batch["x"] * 0)],
)
def test_a_model_that_changes_its_batches_sees_the_same_ones_each_time(tmp_path, wrap, spoil):
    class Spoiling(Predicting):
        def predict_step(self, batch, batch_idx):
            hidden = self.body(self.embed(batch["x"].clone()))
            spoil(batch)
            return hidden

    model, probe = Spoiling(), [wrap(copy.deepcopy(batch)) for batch in PROBE]
    wanted = of_batches(model, PROBE)
    assert record(tmp_path, model, probe) == pytest.approx([wanted] * 4, abs=1e-6)
    for batch, before in zip(probe, PROBE, strict=True):
        assert set(batch) == set(before)
        assert all(torch.equal(batch[key], before[key]) for key in before)


def test_a_training_step_that_changes_the_probe_s_own_batches_does_not_reach_them(tmp_path):
    shared = copy.deepcopy(PROBE)

    class Changing(Predicting):
        def training_step(self, batch, batch_idx):
            change(shared[0])
            return super().training_step(batch, batch_idx)

    model = Changing()
    wanted = of_batches(model, PROBE)
    assert record(tmp_path, model, shared) == pytest.approx([wanted] * 4, abs=1e-6)


def test_a_batch_that_cannot_be_copied_whole_keeps_its_tensors(tmp_path):
    class Locked(Predicting):
        def predict_step(self, batch, batch_idx):
            change(batch)
            return self.body(self.embed(batch["x"]))

        def transfer_batch_to_device(self, batch, device, dataloader_idx):
            return batch

    probe = [{**copy.deepcopy(batch), "lock": threading.Lock()} for batch in PROBE]
    gaps = record(tmp_path, Locked(), probe)
    assert len(set(gaps)) == 1
    assert torch.equal(probe[0]["x"], PROBE[0]["x"])


def test_what_the_user_has_is_as_it_was(tmp_path):
    generator = torch.Generator().manual_seed(3)
    probe = DataLoader(models.batches(3).dataset, batch_size=4, shuffle=True, generator=generator)
    before = generator.get_state()
    record(tmp_path, Predicting(), probe)
    assert torch.equal(generator.get_state(), before)


def test_the_trainer_predicts_while_the_probe_runs_and_trains_after_it(tmp_path):
    seen = []

    class Watching(Predicting):
        def predict_step(self, batch, batch_idx):
            seen.append((self.trainer.predicting, self.training, torch.is_grad_enabled()))
            return super().predict_step(batch, batch_idx)

        def training_step(self, batch, batch_idx):
            seen.append((self.trainer.training, self.training, torch.is_grad_enabled()))
            return super().training_step(batch, batch_idx)

    record(tmp_path, Watching(), PROBE[:1], steps=1)
    assert seen == [(True, False, False), (True, True, True), (True, False, False)]


def test_logging_in_a_predict_step_is_told_and_does_not_reach_the_run(tmp_path):
    class Logging(Predicting):
        def predict_step(self, batch, batch_idx):
            self.log("probed", 1.0)
            return super().predict_step(batch, batch_idx)

    # As in Trainer.predict.
    with pytest.raises(Exception, match="log"):
        models.trainer(tmp_path).predict(Logging(), DataLoader(PROBE, batch_size=None))
    with pytest.raises(Exception, match="log"):
        record(tmp_path, Logging(), PROBE)


Pair = namedtuple("Pair", "x labels")


@dataclass
class Item:
    x: torch.Tensor
    labels: torch.Tensor


@pytest.mark.parametrize(
    ("probe", "labels"),
    [
        (PROBE[0], "labels"),
        (UserDict(PROBE[0]), "labels"),
        (PROBE[0]["x"], lambda batch: batch),
        ("probe.pt", "labels"),
        (Pair(**PROBE[0]), 1),
        ((PROBE[0]["x"], PROBE[0]["labels"]), 1),
        ([PROBE[0]["x"], PROBE[0]["labels"]], -1),
        (Item(**PROBE[0]), lambda batch: batch.labels),
        (3, "labels"),
    ],
)
def test_one_batch_in_the_place_of_several_is_refused(probe, labels):
    with pytest.raises(ValueError, match=r"probe must be batches.* is one batch: probe=\[batch\]"):
        SemanticGeometry(models.table(), hidden="body", probe=probe, labels=labels)


def test_batches_that_are_tensors_are_batches():
    SemanticGeometry(models.table(), hidden="body", probe=[PROBE[0]["x"]] * 2, labels=lambda b: b)
