"""Adapters of PEFT: what counts is the weight that the model works with."""

import copy

import pytest
import torch

from lightning_semgeom import GeometryRegularizer, GramDispersion, SemanticGeometry
from lightning_semgeom.capture.names import find_hidden
from lightning_semgeom.capture.sites import (
    find_embedding,
    find_unembedding,
    site_shape,
    site_weight,
)
from lightning_semgeom.measure.plan import plan_site
from lightning_semgeom.measure.site import measure
from lightning_semgeom.record.keys import metric_keys
from tests import models
from tests.families.models import FAMILIES, TOKENS, Tuned, loader, table

pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
# What PEFT itself asks of transformers, and says of GPT-2's layers.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing. is deprecated"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False"),
]

INSIDE = "model.base_model.model."


def tuned(targets, tied=False, family="gpt2", **options):
    """A model with an adapter that does something from the start."""
    model = FAMILIES[family].make(tied)
    # A copy: PEFT writes into the lists that it is given.
    chosen = {"r": 4, "init_lora_weights": False} | copy.deepcopy(options)
    torch.manual_seed(2)
    return Tuned(peft.get_peft_model(model, peft.LoraConfig(target_modules=targets, **chosen)))


def fit(folder, module, *callbacks, **options):
    torch.manual_seed(1)
    trainer = models.trainer(folder, *callbacks, **{"max_steps": 4} | options)
    trainer.fit(module, loader(FAMILIES["gpt2"].rows(16)))
    return module


def geometry(**options):
    chosen = {"embedding": True, "shift_labels": True, "on_error": "raise"}
    return SemanticGeometry(table(), **chosen | options)


def assert_figures(values, site, weight):
    expected = measure(weight.detach()[:TOKENS], plan_site(table(), torch.arange(TOKENS), 96))
    for key in metric_keys(table().names):
        found = values[f"semgeom_{site}/{key}"]
        assert found == pytest.approx(expected.values[key], rel=1e-6, abs=1e-6, nan_ok=True)


@torch.no_grad()
def works_with(layer):
    """The weight of a layer by what it answers: to unit vectors, or to every token."""
    layer.eval()
    rows, width = site_shape(layer)
    try:
        return layer(torch.eye(width)).T
    except RuntimeError:  # it is an embedding, which takes no vectors
        return layer(torch.arange(rows))


def test_a_base_model_s_layers_are_found_through_peft(tmp_path):
    module = tuned(["c_attn", "c_fc"], fan_in_fan_out=True)
    layers = f"{INSIDE}transformer.h.*"
    semgeom = geometry(hidden=layers)
    base = module.model.get_base_model()
    before = base.lm_head.weight.clone()
    fit(tmp_path, module, semgeom)
    assert find_unembedding(module, True, TOKENS) == (f"{INSIDE}lm_head", base.lm_head)
    assert find_embedding(module, True, TOKENS) == (
        f"{INSIDE}transformer.wte",
        base.transformer.wte,
    )
    assert list(find_hidden(module, [layers])) == [f"{INSIDE}transformer.h.{i}" for i in (0, 1)]
    first, last = semgeom.history.records[0].values, semgeom.history.records[-2].values
    assert_figures(last, "unembedding", before)
    key = f"semgeom_hidden.{INSIDE}transformer.h.1/gap"
    assert first[key] != last[key]


@pytest.mark.parametrize(
    ("targets", "tied", "options"),
    [
        (["lm_head"], False, {}),
        (["wte"], False, {}),
        (["lm_head", "wte"], False, {"use_rslora": True, "lora_dropout": 0.5}),
        (["lm_head", "wte"], True, {"ensure_weight_tying": True}),
        (["c_attn"], False, {"modules_to_save": ["lm_head"], "fan_in_fan_out": True}),
        (
            ["c_attn"],
            True,
            {
                "modules_to_save": ["lm_head"],
                "ensure_weight_tying": True,
                "fan_in_fan_out": True,
            },
        ),
        (["c_attn"], True, {"trainable_token_indices": {"wte": [3, 9]}, "fan_in_fan_out": True}),
    ],
)
def test_figures_are_those_of_the_merged_model(tmp_path, targets, tied, options):
    module, semgeom = tuned(targets, tied, **options), geometry()
    base = module.model.get_base_model()
    before = base.lm_head.weight.clone(), base.transformer.wte.weight.clone()
    fit(tmp_path, module, semgeom)
    values = semgeom.history.records[-1].values
    layers = {"unembedding": base.lm_head, "embedding": base.transformer.wte}
    answers = {site: works_with(layer) for site, layer in layers.items()}
    for site, layer in layers.items():
        assert torch.allclose(site_weight(layer), answers[site], atol=1e-6)
        assert_figures(values, site, answers[site])
    assert not all(map(torch.equal, before, answers.values()))
    if not tied:
        merged = module.model.merge_and_unload()
        assert_figures(values, "unembedding", merged.lm_head.weight)
        assert_figures(values, "embedding", merged.transformer.wte.weight)


@pytest.mark.parametrize("name", ["llama", "neox", "t5"])
def test_heads_and_embeddings_of_other_families_are_those_they_work_with(name):
    model = FAMILIES[name].make(tied=False)
    places = [
        next(n for n, m in model.named_modules() if m is layer)
        for layer in (model.get_output_embeddings(), model.get_input_embeddings())
    ]
    module = tuned(places, family=name)
    for find in (find_unembedding, find_embedding):
        found, layer = find(module, True, TOKENS)
        assert found.removeprefix(INSIDE) in places
        assert site_shape(layer) == (64, 16)
        assert torch.allclose(site_weight(layer), works_with(layer), atol=1e-6)
        assert not torch.allclose(site_weight(layer), layer.weight, atol=1e-3)


def test_adapters_that_are_merged_disabled_or_not_active_are_not_added():
    module = tuned(["lm_head"])
    more = peft.LoraConfig(target_modules=["lm_head"], r=2, init_lora_weights=False)
    module.model.add_adapter("more", more)
    elsewhere = peft.LoraConfig(target_modules=["c_attn"], r=2, fan_in_fan_out=True)
    module.model.add_adapter("elsewhere", elsewhere)
    head = module.model.get_base_model().lm_head
    plain = head.weight.clone()
    deltas = {name: head.get_delta_weight(name) for name in ("default", "more")}

    def is_plus(*names):
        expected = sum((deltas[name] for name in names), plain)
        assert torch.allclose(works_with(head), expected, atol=1e-6)
        return torch.allclose(site_weight(head), expected, atol=1e-6)

    assert is_plus("default")
    with module.model.disable_adapter():
        assert is_plus()
    module.model.base_model.set_adapter(["more", "default"])
    assert is_plus("more", "default")
    module.model.set_adapter("elsewhere")
    assert is_plus()
    module.model.set_adapter("more")
    module.model.merge_adapter(["more"])
    assert is_plus("more")
    assert site_weight(head) is head.weight


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (peft.LoraConfig(target_modules=["lm_head"], use_dora=True), "DoraLinearVariant"),
        (peft.LoraConfig(target_modules=["wte"], use_dora=True), "DoraEmbeddingVariant"),
        (peft.VeraConfig(target_modules=["lm_head"]), "Linear"),
        (peft.TrainableTokensConfig(target_modules=["wte"], token_indices=[3]), "TrainableTok"),
    ],
)
def test_adapters_that_do_more_than_to_add_are_refused_before_training(tmp_path, config, kind):
    module = Tuned(peft.get_peft_model(FAMILIES["gpt2"].make(tied=False), config))
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=f"adapter 'default' .* is a {kind}.*unembedding=False"):
        fit(tmp_path, module, geometry(on_error="warn"))
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


class ByHand(Tuned):
    """Adds the loss itself."""

    def training_step(self, batch, batch_idx):
        head = self.model.get_base_model().lm_head
        a, b = head.lora_A["default"].weight, head.lora_B["default"].weight
        weight = head.base_layer.weight + head.scaling["default"] * b @ a
        loss = GramDispersion()(unembedding=weight)
        return super().training_step(batch, batch_idx) + 3.0 * loss


def test_a_loss_on_the_head_trains_its_adapter(tmp_path):
    module, alone = tuned(["lm_head"]), tuned(["lm_head"])
    by_hand = ByHand(copy.deepcopy(module.model))
    fit(tmp_path, module, GeometryRegularizer(GramDispersion(), 3.0))
    fit(tmp_path, by_hand)
    fit(tmp_path, alone)
    expected, plain = by_hand.state_dict(), alone.state_dict()
    trained = [name for name in expected if "lora_" in name]
    assert len(trained) == 2
    for name, value in module.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6)
        assert torch.equal(value, plain[name]) == (name not in trained)
