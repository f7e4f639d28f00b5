"""Models of transformers in a Trainer, from small random configurations."""

import copy
import math
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch

from lightning_semgeom import SemanticGeometry
from lightning_semgeom.capture.names import find_hidden
from lightning_semgeom.capture.sites import find_embedding, find_unembedding
from lightning_semgeom.measure.plan import plan_site
from lightning_semgeom.measure.site import measure
from lightning_semgeom.record.keys import metric_keys
from tests import models, oracles
from tests.families.models import FAMILIES, PADDED, TOKENS, Tuned, loader, mean_rows, table

pytest.importorskip("transformers")

CASES = [
    (name, tied, rows)
    for name in FAMILIES
    for tied, rows in ((True, PADDED), (False, PADDED), (False, TOKENS))
]


class Watching(pl.Callback):
    """Weights and hidden states at each number of updates, by means of its own."""

    def __init__(self, layers):
        self.layers, self.updates = layers, 0
        self.heads, self.tables, self.hidden, self.labels = {}, {}, {}, {}

    def on_train_start(self, trainer, pl_module):
        for name in self.layers:
            layer = pl_module.get_submodule(name)
            layer.register_forward_hook(lambda _m, _i, out, name=name: self.keep(name, out))

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.copy_weights(pl_module.model, batch_idx)
        self.labels[batch_idx] = batch["labels"].tolist()

    def on_train_end(self, trainer, pl_module):
        self.copy_weights(pl_module.model, self.updates + 1)

    def copy_weights(self, model, updates):
        self.updates = updates
        self.heads[updates] = model.get_output_embeddings().weight.detach().clone()
        self.tables[updates] = model.get_input_embeddings().weight.detach().clone()

    def keep(self, name, output):
        output = output if torch.is_tensor(output) else output[0]
        self.hidden[name, self.updates] = output.detach().clone()


def layer_names(family):
    return [family.layers.replace("*", str(index)) for index in range(2)]


def fit(folder, module, family, *callbacks):
    torch.manual_seed(1)  # of the dropout
    models.trainer(folder, *callbacks, max_steps=3).fit(module, loader(family.rows(12)))
    return module


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def run(request, tmp_path_factory):
    name, tied, rows = request.param
    family = FAMILIES[name]
    module = Tuned(family.make(tied, rows))
    plain = fit(tmp_path_factory.mktemp("without"), copy.deepcopy(module), family)
    watching = Watching(layer_names(family))
    semgeom = SemanticGeometry(
        table(),
        embedding=True,
        hidden=family.layers,
        shift_labels=family.shift,
        every_n_steps=2,
        growth=None,
        on_error="raise",
    )
    fit(tmp_path_factory.mktemp("with"), module, family, watching, semgeom)
    return SimpleNamespace(
        case=request.param,
        family=family,
        module=module,
        plain=plain,
        records={record.step: record.values for record in semgeom.history},
        seen=watching,
    )


def test_the_unembedding_and_the_embedding_are_those_that_the_model_answers_with(run):
    model, (_, tied, rows) = run.module.model, run.case
    unembedding = find_unembedding(run.module, True, TOKENS)[1]
    embedding = find_embedding(run.module, True, TOKENS)[1]
    assert unembedding is model.get_output_embeddings()
    assert embedding is model.get_input_embeddings()
    assert (unembedding.weight is embedding.weight) == tied
    assert unembedding.weight.shape == (rows, 16)


def test_figures_of_weights_are_those_of_the_rows_that_are_tokens(run):
    assert list(run.records) == [0, 2, 3]
    tokens, keys = table(), metric_keys(table().names)
    plan, codes = plan_site(tokens, torch.arange(TOKENS), 96), tokens.codes[:, 0].tolist()
    for step, values in run.records.items():
        rows = None
        for site, seen in (("unembedding", run.seen.heads), ("embedding", run.seen.tables)):
            if rows is None or not torch.equal(rows, seen[step][:TOKENS]):  # tied ones are
                rows = seen[step][:TOKENS]
                expected = measure(rows, plan).values
                slow = oracles.within_between(rows.double().numpy(), codes)
            for key in keys:
                found = values[f"semgeom_{site}/{key}"]
                assert found == pytest.approx(expected[key], rel=1e-5, abs=5e-7, nan_ok=True)
            assert values[f"semgeom_{site}/within/colour"] == pytest.approx(slow[0], abs=1e-6)


def test_the_glob_of_the_layers_finds_each_layer_once_and_nothing_within_it(run):
    assert list(find_hidden(run.module, [run.family.layers])) == layer_names(run.family)
    sites = {key.split("/")[0] for key in run.records[0] if "hidden" in key}
    assert sites == {f"semgeom_hidden.{name}" for name in layer_names(run.family)}


def test_hidden_figures_are_those_of_the_rows_that_predict_each_token(run):
    attributes = table()
    for (name, step), hidden in run.seen.hidden.items():
        if step not in run.records:
            continue
        rows, tokens = mean_rows(hidden.double(), run.seen.labels[step], run.family.shift)
        for a, attribute in enumerate(attributes.names):
            codes = attributes.codes[tokens, a].tolist()
            within, between = oracles.within_between(rows.numpy(), codes)
            for key, expected in (("within", within), ("between", between)):
                found = run.records[step][f"semgeom_hidden.{name}/{key}/{attribute}"]
                assert found == pytest.approx(expected, abs=1e-5)
        assert run.records[step][f"semgeom_hidden.{name}/rows"] == len(tokens)


def test_weights_are_bit_equal_to_those_of_a_run_without_the_callback(run):
    expected = run.plain.state_dict()
    assert all(torch.equal(expected[key], value) for key, value in run.module.state_dict().items())
    assert not any(math.isnan(run.records[step]["semgeom/gap"]) for step in run.records)


def test_states_of_an_encoder_do_not_fit_the_decoder_s_labels(tmp_path):
    semgeom = SemanticGeometry(table(), hidden="model.encoder.block.*")
    with pytest.raises(ValueError, match=r"block.0': labels \[4, 6\] do not fit .* \[4, 9, 16\]"):
        fit(tmp_path, Tuned(FAMILIES["t5"].make()), FAMILIES["t5"], semgeom)
