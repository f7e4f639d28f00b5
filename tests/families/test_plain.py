"""Plain modules with the names of litgpt, batches that are one tensor, and adapters on them."""

import pytest
import torch
from torch import nn

from lightning_semgeom import SemanticGeometry
from lightning_semgeom.capture.sites import find_embedding, find_unembedding, site_weight
from lightning_semgeom.measure.plan import plan_site
from lightning_semgeom.measure.site import measure
from tests import models, oracles
from tests.families.models import PADDED, TOKENS, WIDTH, Tuned, loader, mean_rows, table

LAYERS = [f"model.transformer.h.{index}" for index in range(2)]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm_1 = nn.LayerNorm(WIDTH)
        self.attn = nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 24), nn.GELU(), nn.Linear(24, WIDTH))

    def forward(self, x):
        x = x + self.attn(self.norm_1(x)).cumsum(1)
        return x + self.mlp(x)


class GPT(nn.Module):
    """The names of litgpt; `forward` gives logits for the padded vocabulary."""

    def __init__(self, tied=False, rows=PADDED):
        super().__init__()
        torch.manual_seed(0)
        self.lm_head = nn.Linear(WIDTH, rows, bias=False)
        parts = {
            "wte": nn.Embedding(rows, WIDTH),
            "h": nn.ModuleList([Block(), Block()]),
            "ln_f": nn.LayerNorm(WIDTH),
        }
        self.transformer = nn.ModuleDict(parts)
        if tied:
            self.transformer.wte.weight = self.lm_head.weight

    def forward(self, idx):
        x = self.transformer.wte(idx)
        for block in self.transformer.h:
            x = block(x)
        return self.lm_head(self.transformer.ln_f(x))


class OtherNames(nn.Module):
    """A head that only its size gives away."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(TOKENS, WIDTH)
        self.places = nn.Embedding(12, WIDTH)
        self.body = nn.Linear(WIDTH, WIDTH)
        self.to_words = nn.Linear(WIDTH, TOKENS)

    def forward(self, idx):
        x = self.tokens(idx) + self.places(torch.arange(idx.shape[1]))
        return self.to_words(self.body(x))


class NextToken(Tuned):
    """Batches [B, T + 1]: inputs are all tokens but the last, labels all but the first."""

    def training_step(self, batch, batch_idx):
        logits = self.model(batch[:, :-1])
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def next_tokens(batch):
    return batch[:, 1:]


def sequences():
    return torch.randint(0, TOKENS, (12, 9), generator=torch.Generator().manual_seed(0))


def fit(folder, module, **options):
    semgeom = SemanticGeometry(
        table(), embedding=True, labels=next_tokens, on_error="raise", **options
    )
    models.trainer(folder, semgeom, max_steps=3).fit(module, loader(sequences()))
    return semgeom.history.records


def assert_figures(values, site, weight):
    expected = measure(weight.detach()[:TOKENS], plan_site(table(), torch.arange(TOKENS), 96))
    for key in ("gap/colour", "gap/size", "z", "asymmetry", "rows"):
        assert values[f"semgeom_{site}/{key}"] == pytest.approx(expected.values[key], rel=1e-6)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rows", [PADDED, TOKENS])
def test_litgpt_s_names_are_found_and_measured(tmp_path, tied, rows):
    module = NextToken(GPT(tied, rows))
    records = fit(tmp_path, module, hidden="model.transformer.h.*")
    assert find_unembedding(module, True, TOKENS) == ("model.lm_head", module.model.lm_head)
    wte = module.model.transformer.wte
    assert find_embedding(module, True, TOKENS) == ("model.transformer.wte", wte)
    assert_figures(records[-1].values, "unembedding", module.model.lm_head.weight)
    assert_figures(records[-1].values, "embedding", wte.weight)
    sites = {key.split("/")[0] for key in records[0].values if "hidden" in key}
    assert sites == {f"semgeom_hidden.{name}" for name in LAYERS}


def test_hidden_states_of_inputs_belong_to_the_tokens_that_a_function_of_the_batch_gives(tmp_path):
    module, seen = NextToken(GPT()), []
    layer = module.model.transformer.h[1]
    layer.register_forward_hook(lambda _m, _i, out: seen.append(out.detach().double()))
    values = fit(tmp_path, module, hidden="model.transformer.h.*")[0].values
    # By hand: in [5, 9, 2, 7] the inputs are 5, 9, 2 and the states there predict 9, 2, 7.
    assert next_tokens(torch.tensor([[5, 9, 2, 7]])).tolist() == [[9, 2, 7]]
    rows, tokens = mean_rows(seen[0], sequences()[:4, 1:].tolist(), shift=False)
    codes = table().codes[tokens, 0].tolist()
    within, between = oracles.within_between(rows.numpy(), codes)
    assert values[f"semgeom_hidden.{LAYERS[1]}/within/colour"] == pytest.approx(within, abs=1e-5)
    assert values[f"semgeom_hidden.{LAYERS[1]}/between/colour"] == pytest.approx(between, abs=1e-5)


def test_a_head_of_any_name_is_found_by_its_size(tmp_path):
    module = NextToken(OtherNames())
    records = fit(tmp_path, module, hidden="model.body")
    assert find_unembedding(module, True, TOKENS)[0] == "model.to_words"
    assert find_embedding(module, True, TOKENS)[0] == "model.tokens"
    assert_figures(records[-1].values, "unembedding", module.model.to_words.weight)


@pytest.mark.parametrize(
    ("make", "head", "tokens", "layers"),
    [
        (GPT, "lm_head", "transformer.wte", "transformer.h.*"),
        (OtherNames, "to_words", "tokens", "body"),
    ],
)
@pytest.mark.parametrize("saved", [False, True])
def test_adapters_on_a_plain_module_are_found_around_their_layers(
    tmp_path, make, head, tokens, layers, saved
):
    peft = pytest.importorskip("peft")
    options = {"modules_to_save": [head, tokens], "target_modules": ["body", "attn"]}
    if not saved:
        options = {"target_modules": [head, tokens]}
    config = peft.LoraConfig(r=3, init_lora_weights=False, **options)
    module = NextToken(peft.get_peft_model(make(), config))
    inside = "model.base_model.model."
    records = fit(tmp_path, module, hidden=f"{inside}{layers}")
    for site, find, name in (
        ("unembedding", find_unembedding, head),
        ("embedding", find_embedding, tokens),
    ):
        found, layer = find(module, True, TOKENS)
        assert found == f"{inside}{name}"
        assert_figures(records[-1].values, site, site_weight(layer))
    merged = module.model.merge_and_unload()
    assert_figures(records[-1].values, "unembedding", merged.get_submodule(head).weight)
    assert_figures(records[-1].values, "embedding", merged.get_submodule(tokens).weight)
