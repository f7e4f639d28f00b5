"""One look at a model: a record's figures, and the model as if nobody had looked."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from lightning_semgeom import (
    History,
    SemanticGeometry,
    analyze,
    attribute_similarity,
    snapshot,
)
from lightning_semgeom.show.report.page import write_report
from lightning_semgeom.show.report.runs import find_runs
from tests import models

BATCHES = [*models.batches(2)]
ALL = {"embedding": True, "hidden": ["body", "body.0"], "data": BATCHES}


def record_of_a_run(tmp_path, model):
    callback = SemanticGeometry(
        models.table(), embedding=True, hidden=["body", "body.0"], probe=BATCHES
    )
    models.trainer(tmp_path, callback, max_steps=1).fit(model, models.batches())
    return callback.history


def equal(found, expected):
    return found == expected or (math.isnan(found) and math.isnan(expected))


def test_it_is_the_record_of_a_run_before_its_first_step_to_the_bit(tmp_path):
    found = snapshot(models.TinyModel(), models.table(), **ALL)
    history = record_of_a_run(tmp_path, models.TinyModel())
    expected = history.records[0].values
    assert found.sites == history.sites
    assert found.figures.keys() == expected.keys()
    assert all(equal(found.figures[key], expected[key]) for key in expected)
    for site in found.sites:
        assert (found.picture(site).gram == history.picture(site, 0).gram).all()


def test_the_model_and_the_generators_are_as_if_nobody_had_looked():
    model = models.TinyModel()
    model.body[2].eval()
    model.embed.weight.requires_grad_(False)
    parameters = [p.detach().clone() for p in model.parameters()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    snapshot(model, models.table(), **ALL)
    assert torch.equal(torch.get_rng_state(), state)
    modes = [module.training for module in (model, model.body[1], model.body[2])]
    assert modes == [True, True, False]
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert all(map(torch.equal, model.parameters(), parameters))
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_batches_are_as_they_were_and_may_be_endless():
    def endless():
        while True:
            yield BATCHES[0]

    before = {key: entry.clone() for key, entry in BATCHES[0].items()}
    options = {"unembedding": False, "hidden": "body", "max_positions": 50}
    found = snapshot(models.TinyModel(), models.table(), data=endless(), **options)
    assert len(found.rows("hidden.body")[1]) == 50
    assert all(torch.equal(BATCHES[0][key], entry) for key, entry in before.items())


class Named(nn.Module):
    """Takes tokens by name."""

    def __init__(self):
        super().__init__()
        self.inner = models.TinyModel()

    def forward(self, x, scale=1.0):
        return self.inner({"x": x}) * scale


class Whole(Named):
    def forward(self, batch):
        return self.inner(batch)


class Either(Named):
    """As models of Hugging Face: each name has a default."""

    def forward(self, x=None, labels=None, **others):
        assert (x is None, others) == (False, {})
        return self.inner({"x": x})


X, LABELS = BATCHES[0]["x"], BATCHES[0]["labels"]


@pytest.mark.parametrize(
    ("kind", "batch", "options"),
    [
        (Named, {"x": X, "labels": LABELS}, {}),
        (Named, {"x": X, "labels": LABELS, "scale": 2.0}, {}),
        (Named, (X, LABELS), {"labels": 1}),
        (Named, [X, LABELS], {"labels": 1}),
        (Named, X, {"labels": lambda batch: LABELS}),
        (Named, {"tokens": X, "labels": LABELS}, {"forward": lambda m, b: m(b["tokens"])}),
        (Whole, {"x": X, "labels": LABELS}, {}),
        (Either, {"x": X, "labels": LABELS, "other": 3}, {}),
    ],
    ids=["names", "names with defaults", "tuple", "list", "tensor", "function", "whole", "either"],
)
def test_the_model_is_called_as_its_forward_takes_a_batch(kind, batch, options):
    model = kind()
    found = snapshot(model, models.table(), hidden="inner.body", data=[batch], **options)
    model.eval()
    with torch.no_grad():
        hidden = model.inner.body(model.inner.embed(X))
    expected, codes = models.means_by_label([(hidden, LABELS)])
    gap = attribute_similarity(expected, codes, models.table().num_values)["gap"]
    for name, value in zip(models.table().names, gap.tolist(), strict=True):
        assert found.figures[f"semgeom_hidden.inner.body/gap/{name}"] == pytest.approx(value, 1e-5)


def test_rows_are_what_was_measured_for_whoever_goes_on():
    model = models.TinyModel()
    found = snapshot(model, models.table(), **ALL)
    rows, labels = found.rows("unembedding")
    assert rows.data_ptr() == model.lm_head.weight.data_ptr()
    assert labels.tolist() == list(range(models.TOKENS))
    rows, labels = found.rows("hidden.body")
    model.eval()
    with torch.no_grad():
        expected = torch.cat([model.body(model.embed(b["x"])) for b in BATCHES]).flatten(0, 1)
    known = torch.cat([b["labels"] for b in BATCHES]).flatten()
    assert torch.equal(labels, known[known >= 0])
    assert torch.allclose(rows, expected[known >= 0])


def test_rows_of_a_weight_that_has_trained_meanwhile_are_refused():
    model = models.TinyModel()
    found = snapshot(model, models.table(), embedding=True)
    kept = found.rows("embedding")[0].clone()
    loss = nn.functional.cross_entropy(model(BATCHES[0]).flatten(0, 1), LABELS.flatten())
    loss.backward()
    torch.optim.AdamW(model.lm_head.parameters(), lr=0.1).step()
    with pytest.raises(RuntimeError, match="'unembedding' has changed since it was looked at"):
        found.rows("unembedding")
    assert torch.equal(found.rows("embedding")[0], kept)
    assert found.picture("unembedding").gram.shape == (12, 12)


def test_a_weight_that_is_computed_is_computed_anew():
    model = models.TinyModel()
    orthogonal(model.lm_head)
    rows, _ = snapshot(model, models.table()).rows("unembedding")
    assert torch.equal(rows, model.lm_head.weight)


def test_a_compiled_model_is_measured_as_it_is_and_stays_compiled():
    torch.compiler.reset()
    model = models.TinyModel()
    expected = snapshot(model, models.table(), **ALL)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=backend)
    found = snapshot(compiled, models.table(), **ALL)
    assert not graphs
    assert all(equal(found.figures[key], value) for key, value in expected.figures.items())
    compiled.eval()(BATCHES[0])
    assert graphs
    torch.compiler.reset()


def test_a_dict_of_lists_is_a_table():
    columns = {"colour": list("rrbbggrrbbgg"), "size": [None, "s", "l"] * 4}
    found = snapshot(models.TinyModel(), columns)
    expected = snapshot(models.TinyModel(), models.table())
    assert all(equal(found.figures[key], value) for key, value in expected.figures.items())
    assert found.attributes == ("colour", "size")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"unembedding": False}, "nothing to capture"),
        ({"hidden": "body"}, r"hidden=\['body'\] and no data"),
        ({"data": BATCHES}, r"hidden=\[\] and data"),
        ({"hidden": "body", "data": BATCHES[0]}, r"data must be batches.*data=\[batch\]"),
        ({"hidden": "bdy", "data": BATCHES}, "matches no module"),
        ({"hidden": "body", "data": BATCHES, "labels": "label"}, "is not a key of the batch"),
        ({"hidden": "body", "data": []}, "no batch was given"),
        ({"unembedding": "head"}, "is no module"),
        ({"attributes": {"colour": list("rb") * 20}}, "has 40 rows, but unembedding"),
        ({"attributes": "colours.csv"}, "snapshot: attributes is an AttributeTable, or a dict"),
        ({"hidden": "body", "data": [{"labels": LABELS}]}, "x"),  # the model's own KeyError
    ],
)
def test_what_does_not_fit_is_told(options, text):
    with pytest.raises((ValueError, KeyError), match=text):
        snapshot(models.TinyModel(), **{"attributes": models.table(), **options})


def test_a_batch_that_fails_and_figures_that_are_missing_are_told():
    options = {"unembedding": False, "hidden": "body"}
    with pytest.warns(UserWarning, match="rows of hidden.body are missing. 1 of 2 batches"):
        snapshot(
            models.TinyModel(), models.table(), data=[BATCHES[0], {"labels": LABELS}], **options
        )
    model = models.TinyModel()
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    with pytest.warns(UserWarning, match="unembedding are missing. 1 of 12 rows are NaN"):
        found = snapshot(model, models.table())
    assert math.isnan(found.figures["semgeom_unembedding/gap"]) is False
    assert found.figures["semgeom_unembedding/skipped"] == 1


def test_it_is_shown_as_text_as_a_frame_and_as_grams():
    found = snapshot(models.TinyModel(), models.table(), embedding=True)
    lines = repr(found).splitlines()
    assert lines[0] == "Snapshot of 2 sites"
    assert lines[1].startswith("  unembedding: 12 rows, asymmetry ")
    frame = found.to_pandas()
    assert [*frame.index] == [(s, a) for s in found.sites for a in ("colour", "size")]
    assert frame.loc[("embedding", "size"), "z"] == found.figures["semgeom_embedding/z/size"]
    assert frame.loc["embedding", "asymmetry"].nunique() == 1
    _, axes = found.plot()
    assert [axis.get_title() for axis in axes] == ["unembedding", "embedding"]
    _, axes = found.plot("embedding")
    assert [axis.get_title() for axis in axes] == ["embedding"]
    for look in (found.plot, found.picture, found.rows):
        with pytest.raises(KeyError, match=r"no site 'head'.*there are unembedding, embedding"):
            look("head")


def test_a_saved_one_is_a_history_of_one_record_with_its_page(tmp_path):
    found = snapshot(models.TinyModel(), models.table())
    found.save(tmp_path / "semgeom", step=7)
    history = History.load(tmp_path / "semgeom")
    assert [record.step for record in history] == [7]
    saved = history.records[0].values
    assert saved["semgeom/asymmetry_peak_step"] == 7
    expected = {**found.figures, "semgeom/asymmetry_peak_step": 7}
    assert all(equal(saved[key], value) for key, value in expected.items())
    assert (history.picture("unembedding", 7).gram == found.picture("unembedding").gram).all()
    write_report(find_runs([tmp_path]), tmp_path / "report.html")
    assert "unembedding" in (tmp_path / "report.html").read_text()


STEPS = range(0, 81, 2)


def staged(steps=STEPS):
    """The head of `StagedModel` after so many updates, each looked at."""
    model = models.StagedModel()
    for step in steps:
        model.set_head(step)
        yield step, snapshot(model, model.table())


def test_a_loop_of_looks_has_the_curves_and_phases_of_a_run(tmp_path):
    callback = SemanticGeometry(models.StagedModel.table(), every_n_steps=2, growth=None)
    trainer = models.trainer(tmp_path, callback, max_steps=80)
    trainer.fit(models.StagedModel(), models.batches(80, 1))
    history = History()
    for step, found in staged():
        history.append(found, step)
    assert history.keys == callback.history.keys
    for key in history.keys:
        steps, values = history.curve(key)
        expected_steps, expected = callback.history.curve(key)
        assert (steps == expected_steps).all()
        assert values == pytest.approx(expected, abs=1e-12, nan_ok=True)
    milestones = history.milestones("unembedding", "colour")
    assert milestones == callback.history.milestones("unembedding", "colour")
    assert milestones.peak_step == models.StagedModel.PEAK
    assert milestones.collapse_step is not None


def test_a_loop_that_is_interrupted_goes_on_with_its_phases(tmp_path):
    whole, first = History(), History()
    first.open(tmp_path)
    for step, found in staged():
        whole.append(found, step)
        if step < 30:
            first.append(found, step)
        elif step == 30:
            second = History.load(tmp_path)
            second.open(tmp_path)
        if step >= 30:
            second.append(found, step)
    again = History.load(tmp_path)
    assert [record.step for record in again] == [*STEPS]
    for key in whole.keys:
        assert again.curve(key)[1] == pytest.approx(whole.curve(key)[1], nan_ok=True)
    assert again.milestones("unembedding", "colour").collapse_step is not None
    assert again.picture_steps("unembedding") == [*STEPS]


def test_what_a_history_cannot_take_is_told():
    table = models.table()
    found = snapshot(models.TinyModel(), table)
    history = History()
    with pytest.raises(ValueError, match=r"does not know the step.*history.append\(snapshot"):
        history.append(found)
    history.append(found, 5)
    with pytest.raises(ValueError, match="steps must increase: 5 came after 5"):
        history.append(found, 5)
    for other in (
        snapshot(models.TinyModel(), table, embedding=True),
        snapshot(models.TinyModel(), table.select("size")),
        snapshot(models.TinyModel(), table, name="other"),
    ):
        with pytest.raises(ValueError, match="the history is of other figures"):
            history.append(other, 6)
    reloaded = History()
    reloaded.load_state_dict(history.state_dict())
    with pytest.raises(ValueError, match="the history is of other figures"):
        reloaded.append(other, 6)
    assert len(history) == 1


def test_warnings_point_to_the_line_that_calls(tmp_path):
    model = models.TinyModel()
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    with pytest.warns(UserWarning, match="are missing") as told:
        snapshot(model, models.table())
    torch.save({"lm_head.weight": model.lm_head.weight.detach()}, tmp_path / "step-1.pt")
    with pytest.warns(UserWarning, match="are missing") as also:
        analyze(tmp_path, models.table())
    assert {warning.filename for warning in (*told, *also)} == {__file__}
