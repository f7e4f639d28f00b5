"""Weights computed from other parameters: fresh figures, and a training that is not touched."""

import copy
import warnings

import pytest
import torch
from lightning.pytorch.callbacks import ModelPruning
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from lightning_semgeom import GeometryRegularizer, GramDispersion, SemanticGeometry
from lightning_semgeom.capture.computed import current_weight, stored_shape
from lightning_semgeom.capture.sites import find_embedding, find_unembedding, site_weight
from tests import models, oracles

EACH_STEP = {"every_n_steps": 1, "growth": None}  # without the pictures of early steps


def old(make):
    def quietly(layer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make(layer)

    return quietly


class Doubled(nn.Module):
    """A parametrization of a user's own, which counts its calls in training."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, weight):
        if self.training:
            self.calls += 1
        return weight * 2


def pruned_weight_norm(layer):
    layer = old(nn.utils.weight_norm)(layer)
    return prune.l1_unstructured(layer, "weight_v", 0.3)


MAKERS = {
    "orthogonal matrix_exp": lambda m: parametrizations.orthogonal(m, orthogonal_map="matrix_exp"),
    "orthogonal cayley": lambda m: parametrizations.orthogonal(m, orthogonal_map="cayley"),
    "orthogonal householder": lambda m: parametrizations.orthogonal(
        m, orthogonal_map="householder"
    ),
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "two parametrizations": lambda m: parametrizations.spectral_norm(
        parametrizations.weight_norm(m), n_power_iterations=2
    ),
    "own": lambda m: parametrize.register_parametrization(m, "weight", Doubled()),
    "old weight_norm": old(nn.utils.weight_norm),
    "old spectral_norm": old(nn.utils.spectral_norm),
    "prune l1": lambda m: prune.l1_unstructured(m, "weight", 0.4),
    "prune random": lambda m: prune.random_unstructured(m, "weight", 0.4),
    "prune structured": lambda m: prune.ln_structured(m, "weight", 0.2, n=2, dim=1),
    "prune identity": lambda m: prune.identity(m, "weight"),
    "prune custom": lambda m: prune.custom_from_mask(
        m, "weight", torch.arange(m.weight.numel()).view_as(m.weight) % 3 > 0
    ),
    "prune twice": lambda m: prune.l1_unstructured(
        prune.random_unstructured(m, "weight", 0.2), "weight", 0.2
    ),
    "old weight_norm, then pruned": pruned_weight_norm,
}


class Computed(models.TinyModel):
    """All its layers compute their weights."""

    def __init__(self, make, bodies=True):
        super().__init__(dropout=0.0)
        torch.manual_seed(4)
        self.lm_head = make(self.lm_head)
        if bodies:
            self.body[0] = make(self.body[0])
            self.embed = make(self.embed)


def weights_after(tmp_path, name, make, *callbacks):
    model = Computed(make)
    models.trainer(tmp_path / name, *callbacks, max_steps=3).fit(model, models.batches())
    return model.state_dict()


# After one update with AdamW the householder map gives zeros, and there is nothing to measure.
@pytest.mark.filterwarnings("ignore:SemanticGeometry. figures are missing")
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_training_is_bit_equal_with_and_without_a_look_at_its_weights(tmp_path, make):
    callback = SemanticGeometry(models.table(), embedding=True, hidden="body.0", **EACH_STEP)
    with_it = weights_after(tmp_path, "with", make, callback)
    without = weights_after(tmp_path, "without", make)
    assert len(callback.history) == 4
    assert all(torch.equal(with_it[key], without[key]) for key in without)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_search_changes_nothing(make):
    model = Computed(make)
    before = copy.deepcopy(model.state_dict())
    assert find_unembedding(model, True, models.TOKENS)[1] is model.lm_head
    assert find_embedding(model, True, models.TOKENS)[1] is model.embed
    assert stored_shape(model.lm_head) == (models.TOKENS, models.WIDTH)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_weight_is_the_one_that_a_forward_in_eval_mode_would_use(make):
    torch.manual_seed(0)
    layer = make(nn.Linear(models.WIDTH, models.TOKENS, bias=False))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # after the last forward
    before = copy.deepcopy(layer.state_dict())
    found = current_weight(layer)
    assert all(torch.equal(before[key], value) for key, value in layer.state_dict().items())
    assert layer.training
    expected = layer.eval()(torch.eye(models.WIDTH)).T
    assert torch.allclose(found, expected, atol=1e-6)
    found.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


@pytest.mark.parametrize("name", ["old weight_norm", "prune l1", "weight_norm", "own"])
def test_records_are_of_the_weights_after_the_update(tmp_path, name):
    class Seen(models.WeightsByStep):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            head = pl_module.lm_head.eval()
            self.heads[trainer.global_step] = head(torch.eye(models.WIDTH)).T.detach()
            head.train()

        def on_train_end(self, trainer, pl_module):
            self.on_train_batch_start(trainer, pl_module, None, None)

    seen = Seen()
    callback = SemanticGeometry(models.table(), **EACH_STEP)
    model = Computed(MAKERS[name], bodies=False)
    models.trainer(tmp_path, callback, seen, max_steps=3).fit(model, models.batches())
    assert [record.step for record in callback.history] == [0, 1, 2, 3]
    for record in callback.history:
        codes = models.table().codes[:, 0].tolist()
        within, between = oracles.within_between(seen.heads[record.step].double().numpy(), codes)
        found = record.values["semgeom_unembedding/gap/colour"]
        assert found == pytest.approx(within - between, abs=1e-5)


def test_pruning_that_begins_and_ends_in_mid_run_is_followed(tmp_path):
    class Masks(models.WeightsByStep):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            head = pl_module.lm_head
            stored = getattr(head, "weight_orig", None)
            weight = head.weight if stored is None else stored * head.weight_mask
            self.heads[trainer.global_step] = weight.detach().clone()

        def on_train_end(self, trainer, pl_module):
            self.on_train_batch_start(trainer, pl_module, None, None)

    model, seen = models.TinyModel(), Masks()
    callback = SemanticGeometry(models.table(), **EACH_STEP)
    pruning = ModelPruning("l1_unstructured", parameters_to_prune=[(model.lm_head, "weight")])
    trainer = models.trainer(tmp_path, callback, seen, pruning, max_steps=6)
    trainer.fit(model, models.batches(2))
    assert len(callback.history) == 7
    assert (seen.heads[1] != 0).all()
    assert (seen.heads[3] == 0).any()
    for record in callback.history:
        if record.step in (2, 4, 6):
            continue  # measured after the update; the masks came at the end of the epoch
        codes = models.table().codes[:, 0].tolist()
        within, between = oracles.within_between(seen.heads[record.step].double().numpy(), codes)
        found = record.values["semgeom_unembedding/gap/colour"]
        assert found == pytest.approx(within - between, abs=1e-5)


def test_a_weight_that_something_unknown_computes_is_told(tmp_path):
    class Hyper(models.TinyModel):
        def __init__(self):
            super().__init__()
            self.core = nn.Parameter(self.lm_head.weight.detach().clone())
            del self.lm_head.weight
            self.lm_head.weight = self.core * 2

        def forward(self, batch):
            self.lm_head.weight = self.core * 2
            return super().forward(batch)

    with pytest.warns(UserWarning, match=r"weight of unembedding 'lm_head' is a plain tensor"):
        models.trainer(tmp_path, SemanticGeometry(models.table()), max_steps=2).fit(
            Hyper(), models.batches()
        )


def test_a_property_of_a_layer_s_own_is_taken_as_it_is():
    class Low(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (
                nn.Parameter(torch.randn(12, 2)),
                nn.Parameter(torch.randn(2, 8)),
            )

        @property
        def weight(self):
            return self.a @ self.b

    model = nn.Module()
    model.lm_head = Low()
    assert find_unembedding(model, True, 12)[0] == "lm_head"
    assert torch.equal(site_weight(model.lm_head), model.lm_head.a @ model.lm_head.b)


@pytest.mark.parametrize("name", ["weight_norm", "old weight_norm", "prune l1", "spectral_norm"])
def test_a_regularizer_acts_on_the_parameters_that_a_weight_is_computed_from(tmp_path, name):
    plain, drawn = Computed(MAKERS[name]), Computed(MAKERS[name])
    models.trainer(tmp_path / "plain", max_steps=3).fit(plain, models.batches())
    nothing = GeometryRegularizer(GramDispersion(), weight=0.0)
    models.trainer(tmp_path / "nothing", nothing, max_steps=3).fit(drawn, models.batches())
    before, after = plain.state_dict(), drawn.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    drawn = Computed(MAKERS[name])
    strong = GeometryRegularizer(GramDispersion(), weight=10.0)
    models.trainer(tmp_path / "strong", strong, max_steps=3).fit(drawn, models.batches())
    assert any(not torch.equal(before[key], after) for key, after in drawn.state_dict().items())
