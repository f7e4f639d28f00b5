"""GeometryRegularizer against the same loss written into the training step."""

import copy
import warnings
from functools import cache
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_semgeom import (
    AttributeAlignment,
    GeometryRegularizer,
    GramAnchor,
    GramDispersion,
    SemanticGeometry,
)
from tests import models

WEIGHT = 3.0


def make_loss(name):
    if name == "anchor":
        return GramAnchor(warm_up=2, min_drop=1e-6, max_rows=7)
    return AttributeAlignment(models.table()) if name == "alignment" else GramDispersion()


class ByHand(models.TinyModel):
    """Adds the loss itself."""

    def __init__(self, loss, sites, shift=False):
        super().__init__()
        self.loss, self.sites, self.shift = loss, sites, shift

    def training_step(self, batch, batch_idx):
        features, labels = self.body(self.embed(batch["x"])), batch["labels"]
        logits = self.lm_head(features)
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=-100
        )
        if self.shift:
            features, labels = features[:, :-1], labels[:, 1:]
        features, labels = features.flatten(0, 1), labels.flatten()
        found = {}
        if "unembedding" in self.sites:
            found["unembedding"] = self.lm_head.weight
        if "hidden" in self.sites:
            found |= {"hidden": features[labels >= 0], "labels": labels[labels >= 0]}
        return loss + WEIGHT * self.loss(**found)


def regularizer(loss, sites=("unembedding", "hidden"), **options):
    where = {"unembedding": "unembedding" in sites, "hidden": "body" if "hidden" in sites else None}
    return GeometryRegularizer(loss, WEIGHT, **(where | options))


def fit(folder, model, *callbacks, data=None, seed=1, ckpt_path=None, **options):
    torch.manual_seed(seed)
    trainer = models.trainer(folder, *callbacks, **options)
    trainer.fit(model, models.batches(20) if data is None else data, ckpt_path=ckpt_path)
    return trainer


def weights(model):
    """Those of the model itself."""
    return {n: p for n, p in model.state_dict().items() if not n.startswith("loss.")}


def assert_same(model, other):
    ours, theirs = weights(model), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


WAYS = {
    "plain": {},
    "accumulated": {"accumulate_grad_batches": 3, "max_steps": 3},
    "mixed": {"precision": "bf16-mixed"},
    "bf16": {"precision": "bf16-true"},
    "clipped": {"gradient_clip_val": 0.1},
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A function of the way: the model that is trained so without another loss."""

    @cache
    def trained(way):
        model = models.TinyModel()
        fit(tmp_path_factory.mktemp("alone"), model, **({"max_steps": 6} | WAYS[way]))
        return model

    return trained


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "sites"),
    [
        ("anchor", ("unembedding",)),
        ("anchor", ("unembedding", "hidden")),
        ("alignment", ("hidden",)),
        ("alignment", ("unembedding", "hidden")),
        ("dispersion", ("unembedding", "hidden")),
    ],
)
def test_weights_are_those_of_the_loss_added_by_hand(tmp_path, alone, name, sites, way):
    by_hand, plain, loss = ByHand(make_loss(name), sites), models.TinyModel(), make_loss(name)
    options = {"max_steps": 6} | WAYS[way]
    fit(tmp_path, by_hand, **options)
    trainer = fit(tmp_path, plain, regularizer(loss, sites), **options)
    assert_same(plain, by_hand)
    assert not torch.equal(alone(way).lm_head.weight, plain.lm_head.weight)
    assert float(trainer.callback_metrics[f"semgeom_loss/{type(loss).__name__}"]) > 0
    if name == "anchor":
        assert loss.holds


def test_labels_that_are_shifted_are_those_of_the_next_position(tmp_path):
    by_hand = ByHand(make_loss("alignment"), ("hidden",), shift=True)
    plain = models.TinyModel()
    callback = regularizer(make_loss("alignment"), ("hidden",), shift_labels=True)
    fit(tmp_path, by_hand, max_steps=5)
    fit(tmp_path, plain, callback, max_steps=5)
    assert_same(plain, by_hand)


class Telling(models.TinyModel):
    """Answers with a mapping, and sometimes with nothing."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx == 3 else {"loss": loss, "more": batch_idx}


def test_a_step_may_answer_with_a_mapping_or_with_nothing(tmp_path):
    class Watch(pl.Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.seen.append(None if outputs is None else outputs.get("more"))

    watch = Watch()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*returned `None`")
        fit(tmp_path, Telling(), regularizer(make_loss("dispersion")), watch, max_steps=6)
    assert watch.seen[:6] == [0, 1, 2, None, 4, 5]


class Wrong(models.TinyModel):
    def training_step(self, batch, batch_idx):
        return {"losses": super().training_step(batch, batch_idx)}


def test_a_step_without_a_loss_is_explained_by_lightning(tmp_path):
    with pytest.raises(MisconfigurationException, match="the 'loss' key"):
        fit(tmp_path, Wrong(), regularizer(make_loss("dispersion")))


class Checkpointed(models.TinyModel):
    def forward(self, batch):
        hidden = checkpoint(self.body, self.embed(batch["x"]), use_reentrant=False)
        return self.lm_head(hidden)


def test_activation_checkpointing_changes_nothing(tmp_path):
    expected, found = models.TinyModel(dropout=0.0), Checkpointed(dropout=0.0)
    for model in (expected, found):
        fit(tmp_path, model, regularizer(make_loss("dispersion")), max_steps=5)
    assert_same(found, expected)


class Silent(models.TinyModel):
    """Its training step has no log, which torch.compile cannot trace."""

    def training_step(self, batch, batch_idx):
        logits = self(batch).flatten(0, 1)
        return nn.functional.cross_entropy(logits, batch["labels"].flatten(), ignore_index=-100)


def test_in_a_compiled_model_weights_are_regularized(tmp_path):
    torch.compiler.reset()
    by_hand, plain = ByHand(make_loss("dispersion"), ("unembedding",)), Silent()
    fit(tmp_path, by_hand, max_steps=5)
    compiled = torch.compile(plain, backend="eager")
    fit(tmp_path, compiled, regularizer(make_loss("dispersion"), ("unembedding",)), max_steps=5)
    assert_same(plain, by_hand)


@pytest.mark.parametrize("way", ["whole", "inner", "in place"])
def test_hidden_states_inside_compiled_code_are_refused(tmp_path, way):
    model = models.TinyModel()
    if way == "inner":
        model.body = torch.compile(model.body, backend="eager")
    elif way == "in place":
        model.body.compile(backend="eager")
    given = torch.compile(model, backend="eager") if way == "whole" else model
    callback = regularizer(make_loss("dispersion"), hidden="body.0")
    with pytest.raises(ValueError, match="is compiled: no hook is called there"):
        fit(tmp_path, given, callback)


def test_beside_a_compiled_module_hidden_states_are_regularized(tmp_path):
    torch.compiler.reset()
    expected, found = models.TinyModel(), models.TinyModel()
    found.lm_head = torch.compile(found.lm_head, backend="eager")
    for model in (expected, found):
        fit(tmp_path, model, regularizer(make_loss("dispersion"), ("hidden",)), max_steps=5)
    assert torch.equal(found.lm_head.weight, expected.lm_head.weight)


def test_a_resumed_run_has_the_weights_of_one_that_never_stopped(tmp_path):
    def run(folder, steps, ckpt_path=None):
        model = models.TinyModel(dropout=0.0)
        kept = ModelCheckpoint(tmp_path / folder, filename="half", every_n_train_steps=8)
        callbacks = regularizer(make_loss("anchor")), kept
        options = {"max_steps": steps, "enable_checkpointing": True, "data": models.batches(8)}
        fit(tmp_path / folder, model, *callbacks, ckpt_path=ckpt_path, **options)
        return model

    whole = run("whole", 16)
    run("parts", 8)
    assert_same(run("parts", 16, tmp_path / "parts" / "half.ckpt"), whole)


def test_the_model_is_left_as_it_was(tmp_path):
    model = models.TinyModel()
    fit(tmp_path, model, regularizer(make_loss("dispersion")), max_steps=2)
    assert "training_step" not in vars(model)
    assert not any(module._forward_hooks for module in model.modules())

    class Stopping(models.TinyModel):
        def training_step(self, batch, batch_idx):
            raise KeyboardInterrupt if batch_idx == 2 else RuntimeError("it broke")

    model = Stopping()
    with pytest.raises(RuntimeError, match="it broke"):
        fit(tmp_path, model, regularizer(make_loss("dispersion")))
    assert "training_step" not in vars(model)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_training_step_of_the_instances_own_is_put_back(tmp_path):
    model = models.TinyModel()
    own = model.training_step = copy.copy(model.training_step)
    fit(tmp_path, model, regularizer(make_loss("dispersion")), max_steps=2)
    assert vars(model)["training_step"] is own


def test_two_of_them_and_the_callback_work_side_by_side(tmp_path):
    semgeom = SemanticGeometry(models.table(), hidden="body", every_n_steps=4, growth=None)
    first = regularizer(make_loss("alignment"), ("hidden",))
    second = regularizer(make_loss("alignment"), ("unembedding",), name="on_weights")
    model = models.TinyModel()
    trainer = fit(tmp_path, model, semgeom, first, second, max_steps=8)
    assert {"semgeom_loss/AttributeAlignment", "semgeom_loss/on_weights"} <= set(
        trainer.callback_metrics
    )
    assert "training_step" not in vars(model)
    both = models.TinyModel()
    sites = ("unembedding", "hidden")
    fit(tmp_path, both, regularizer(make_loss("alignment"), sites), max_steps=8)
    assert all(torch.allclose(weights(both)[n], p, atol=1e-5) for n, p in weights(model).items())


def test_an_alignment_raises_the_gap_that_it_is_trained_for(tmp_path):
    gaps = []
    for callbacks in ([], [regularizer(make_loss("alignment"), ("unembedding",))]):
        semgeom = SemanticGeometry(models.table(), every_n_steps=20, growth=None)
        fit(tmp_path, models.TinyModel(), semgeom, *callbacks)
        gaps.append(semgeom.history.records[-1].values["semgeom/gap"])
    assert gaps[1] > gaps[0] + 0.1


class Manual(models.TinyModel):
    automatic_optimization = False


class Frozen(models.TinyModel):
    def forward(self, batch):
        return self.lm_head(self.body(self.embed(batch["x"])).detach())


class Reentrant(models.TinyModel):
    def forward(self, batch):
        hidden = checkpoint(self.body, self.embed(batch["x"]), use_reentrant=True)
        return self.lm_head(hidden)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (Manual(), [regularizer(GramDispersion())]), "steps its optimizers by hand"),
        (
            lambda: (models.TinyModel(), [regularizer(GramDispersion(), hidden="bodi")]),
            "Close names: 'body'",
        ),
        (
            lambda: (models.TinyModel(), [regularizer(GramDispersion(), hidden="body.*")]),
            "matches 3 modules: body.0, body.1, body.2",
        ),
        (
            lambda: (models.TinyModel(), [regularizer(GramDispersion(), labels="targets")]),
            "labels='targets' is not a key of the batch",
        ),
        (lambda: (Frozen(), [regularizer(GramDispersion(), hidden="lm_head")]), None),
        (
            lambda: (Reentrant(), [regularizer(GramDispersion(), hidden="body.0")]),
            "use_reentrant=False",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_can(tmp_path, make, message):
    model, callbacks = make()
    if message is None:
        fit(tmp_path, model, *callbacks, max_steps=2)
        return
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, model, *callbacks)


def test_a_module_that_the_step_does_not_call_is_told(tmp_path):
    model = models.TinyModel()
    model.unused = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="did not call hidden='unused'"):
        fit(tmp_path, model, regularizer(GramDispersion(), hidden="unused"))


def test_flat_shards_are_refused():
    trainer = SimpleNamespace(strategy=FSDPStrategy.__new__(FSDPStrategy))
    with pytest.raises(ValueError, match="FSDPStrategy keeps weights flat"):
        regularizer(GramDispersion()).setup(trainer, models.TinyModel(), "fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unembedding": False}, "nothing to act on"),
        ({"weight": float("nan")}, "weight must be a finite number"),
        ({"positions": "first"}, "positions must be 'all' or 'last'"),
        ({"loss": nn.Linear(2, 2)}, "Linear has parameters"),
    ],
)
def test_arguments_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GeometryRegularizer(**({"loss": GramDispersion()} | options))
