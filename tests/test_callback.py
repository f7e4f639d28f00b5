"""SemanticGeometry in real Trainer runs."""

import copy
import math
import random
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from lightning_semgeom import AttributeTable, History, SemanticGeometry, attribute_similarity
from tests import models, oracles


def fit(tmp_path, *callbacks, model=None, data=None, **options):
    model = model or models.TinyModel()
    trainer = models.trainer(tmp_path, *callbacks, **({"max_steps": 8} | options))
    trainer.fit(model, data or models.batches())
    return trainer, model


def geometry(**options):
    few = {"every_n_steps": 3, "growth": None, "hidden": "body"}
    return SemanticGeometry(models.table(), **(few | options))


def steps_of(history):
    return [record.step for record in history]


def test_records_hold_the_figures_of_the_weights_at_their_step(tmp_path):
    kept, callback = models.WeightsByStep(), geometry()
    fit(tmp_path, kept, callback)
    assert steps_of(callback.history) == [0, 3, 6, 7, 8]
    for record in callback.history:
        rows = kept.heads[record.step].double().numpy()
        for a, name in enumerate(("colour", "size")):
            codes = models.table().codes[:, a].tolist()
            within, between = oracles.within_between(rows, codes)
            found = record.values[f"semgeom_unembedding/gap/{name}"]
            assert found == pytest.approx(within - between, abs=1e-5)


def test_hidden_states_are_those_of_the_training_forward_at_the_same_weights(tmp_path):
    kept, callback = models.HiddenByStep(), geometry()
    fit(tmp_path, kept, callback)
    checked = 0
    for record in callback.history:
        if record.step == 8:  # no forward follows the last update
            assert math.isnan(record.values["semgeom_hidden.body/gap"])
            continue
        hidden, labels = kept.hidden[record.step]
        rows, codes = models.means_by_label([(hidden, labels)])
        expected = attribute_similarity(rows, codes, [3, 2])
        for a, name in enumerate(("colour", "size")):
            for metric in ("gap", "z"):
                found = record.values[f"semgeom_hidden.body/{metric}/{name}"]
                assert found == pytest.approx(float(expected[metric][a]), abs=1e-6)
        checked += 1
    assert checked == 4


def test_the_eigenspectrum_of_hidden_sites_is_recorded_where_it_is_asked_for(tmp_path):
    kept, callback = models.HiddenByStep(), geometry(metrics="eigenspectrum")
    logger = CSVLogger(tmp_path)
    fit(tmp_path, kept, callback, logger=logger)
    for record in callback.history:
        keys = [key for key in record.values if "rankme" in key or "alpha" in key]
        assert keys == [f"semgeom_hidden.body/{name}" for name in ("rankme", "alpha_req")]
        found = record.values["semgeom_hidden.body/rankme"]
        if record.step == 8:  # no forward follows the last update
            assert math.isnan(found)
            continue
        hidden, labels = kept.hidden[record.step]
        exact = oracles.eigenspectrum(hidden[labels >= 0].double().numpy())
        assert found == pytest.approx(exact["rankme"], rel=1e-5)
        assert math.isnan(record.values["semgeom_hidden.body/alpha_req"])  # of a width of 8
    table = (Path(logger.log_dir) / "metrics.csv").read_text()
    assert "semgeom_hidden.body/rankme" in table.splitlines()[0]


def test_the_probe_shows_hidden_states_in_eval_mode_up_to_the_end(tmp_path):
    probe = models.batches(count=3, seed=7)
    callback = geometry(probe=probe)
    _, model = fit(tmp_path, callback)
    assert model.training
    model.eval()
    with torch.no_grad():
        found = [(model.body(model.embed(batch["x"])), batch["labels"]) for batch in probe]
    rows, codes = models.means_by_label(found)
    expected = attribute_similarity(rows, codes, [3, 2])
    last = callback.history.records[-1]
    assert last.step == 8
    assert last.values["semgeom_hidden.body/gap/colour"] == pytest.approx(
        float(expected["gap"][0]), abs=1e-6
    )


class FrozenPart(models.TinyModel):
    """Keeps a part in eval mode, as fine-tuning does."""

    def on_train_start(self):
        self.body[1].eval()


def test_a_probe_leaves_each_module_s_own_mode_alone(tmp_path):
    _, model = fit(tmp_path, geometry(probe=models.batches(1)), model=FrozenPart())
    assert not model.body[1].training
    assert model.body[0].training


def everything_after_50_steps(tmp_path, *callbacks):
    pl.seed_everything(3, verbose=False)
    trainer, model = fit(tmp_path, *callbacks, model=models.TinyModel(seed=3), max_steps=50)
    optimizer = copy.deepcopy(trainer.optimizers[0].state_dict()["state"])
    states = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    return model.state_dict(), optimizer, states


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return everything_after_50_steps(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("probe", [None, models.batches(2)])
def test_50_steps_are_bit_equal_with_and_without_the_callback(tmp_path, plain, probe):
    callback = SemanticGeometry(
        models.table(),
        embedding=True,
        hidden=["body", "body.*"],
        probe=probe,
        every_n_steps=7,
        growth=1.5,  # one step after the other at first
    )
    weights, optimizer, states = everything_after_50_steps(tmp_path, callback)
    plain_weights, plain_optimizer, plain_states = plain
    assert len(callback.history) > 10
    assert all(torch.equal(weights[key], plain_weights[key]) for key in plain_weights)
    for key, state in plain_optimizer.items():
        assert all(torch.equal(state[name], optimizer[key][name]) for name in state)
    assert torch.equal(states[0], plain_states[0])
    assert np.array_equal(states[1], plain_states[1])
    assert states[2] == plain_states[2]


class HookCounter(pl.Callback):
    def __init__(self):
        self.hooked_steps = []

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        if any(module._forward_hooks for module in pl_module.modules()):
            self.hooked_steps.append(trainer.fit_loop.epoch_loop._batches_that_stepped)


def test_no_hook_is_registered_on_steps_that_are_not_due(tmp_path):
    counter = HookCounter()
    _, model = fit(tmp_path, geometry(), counter)
    assert counter.hooked_steps == [0, 3, 6, 7]
    assert not any(module._forward_hooks for module in model.modules())


def test_accumulated_batches_give_one_record_an_update(tmp_path):
    kept, callback = models.WeightsByStep(), geometry(every_n_steps=2)
    accumulated = {"accumulate_grad_batches": 3, "max_steps": -1, "max_epochs": 2}
    trainer, _ = fit(tmp_path, kept, callback, data=models.batches(8), **accumulated)
    assert trainer.global_step == 6
    assert steps_of(callback.history) == [0, 2, 4, 5, 6]
    for record in callback.history:
        expected = attribute_similarity(kept.heads[record.step], models.table().codes, [3, 2])
        found = record.values["semgeom_unembedding/gap/colour"]
        assert found == pytest.approx(float(expected["gap"][0]), abs=1e-6)


def test_epochs_are_a_distance_too(tmp_path):
    callback = geometry(every_n_epochs=2)
    fit(tmp_path, callback, data=models.batches(2), max_steps=-1, max_epochs=5)
    assert steps_of(callback.history) == [0, 4, 8, 9, 10]


def test_a_checkpoint_is_judged_by_the_gap_of_its_own_weights(tmp_path):
    callback = geometry(every_n_steps=2)
    checkpoint = ModelCheckpoint(
        tmp_path, monitor="semgeom/gap", mode="max", every_n_train_steps=2, save_top_k=-1
    )
    fit(tmp_path, callback, checkpoint, enable_checkpointing=True)
    assert len(checkpoint.best_k_models) == 4
    for path, score in checkpoint.best_k_models.items():
        head = torch.load(path, weights_only=True)["state_dict"]["lm_head.weight"]
        gap = attribute_similarity(head, models.table().codes, [3, 2])["gap"].mean()
        assert float(score) == pytest.approx(float(gap), abs=1e-6)
    best = max(checkpoint.best_k_models.values())
    assert checkpoint.best_model_score == best


def test_headline_values_are_in_callback_metrics(tmp_path):
    callback = geometry(unembedding=False)
    trainer, _ = fit(tmp_path, callback)
    for metric in ("gap", "z", "asymmetry", "phase"):
        assert f"semgeom/{metric}" in trainer.callback_metrics
    last = callback.history.records[-2].values["semgeom/gap"]
    assert float(trainer.callback_metrics["semgeom/gap"]) == pytest.approx(last, abs=1e-6)


@pytest.mark.parametrize("probe", [None, models.batches(2)])
def test_a_resumed_run_has_the_records_of_one_that_never_stopped(tmp_path, probe):
    def run(folder, seed, steps, ckpt_path=None):
        callback = geometry(every_n_steps=2, probe=probe)
        checkpoint = ModelCheckpoint(
            tmp_path / folder, filename="half-{step}", every_n_train_steps=8
        )
        trainer = models.trainer(
            tmp_path / folder, callback, checkpoint, max_steps=steps, enable_checkpointing=True
        )
        model = models.TinyModel(seed, dropout=0.0)
        trainer.fit(model, models.batches(8), ckpt_path=ckpt_path)
        return callback

    whole = run("whole", 0, 15)
    run("part", 0, 11)  # goes on past the checkpoint of step 8, and is lost from there
    resumed = run("part", 9, 15, tmp_path / "part/half-step=8.ckpt")
    assert steps_of(resumed.history) == steps_of(whole.history)
    written = History.load(tmp_path / "part" / "semgeom")
    for ours, read, other in zip(resumed.history, written, whole.history, strict=True):
        assert ours.step == read.step == other.step
        assert ours.values == pytest.approx(dict(other.values), nan_ok=True, abs=1e-9)
        assert read.values == pytest.approx(dict(ours.values), nan_ok=True, abs=0)
    for key, detector in whole.phases.items():
        ours, other = resumed.phases[key].state_dict(), detector.state_dict()
        assert ours.pop("recent") == pytest.approx(other.pop("recent"))
        assert ours == pytest.approx(other)


class LateModel(models.TinyModel):
    """Builds its layers in configure_model, as sharded models do."""

    def __init__(self):
        super().__init__()
        del self.lm_head

    def configure_model(self):
        if not hasattr(self, "lm_head"):
            self.lm_head = nn.Linear(models.WIDTH, models.TOKENS, bias=False)


def test_a_model_built_in_configure_model_is_found(tmp_path):
    callback = geometry()
    fit(tmp_path, callback, model=LateModel())
    assert steps_of(callback.history)[-1] == 8


def test_attributes_are_read_from_a_file(tmp_path):
    path = tmp_path / "attributes.csv"
    path.write_text("id,colour\n" + "".join(f"{i},{'rb'[i % 2]}\n" for i in range(12)))
    callback = SemanticGeometry(attributes_file=str(path), growth=None)
    fit(tmp_path, callback, max_steps=2)
    assert callback.history.attributes("unembedding") == ["colour"]


def test_several_callbacks_work_side_by_side_under_their_names(tmp_path):
    one, two = geometry(), geometry(name="semgeom_control", hidden=())
    fit(tmp_path, one, two)
    assert steps_of(History.load(tmp_path / "semgeom")) == steps_of(one.history)
    assert steps_of(History.load(tmp_path / "semgeom_control")) == steps_of(two.history)
    with pytest.raises(RuntimeError, match="state_key` must be unique"):
        fit(tmp_path, geometry(), geometry())


def test_pictures_are_kept_beside_the_history(tmp_path):
    callback, weights = geometry(), models.WeightsByStep()
    fit(tmp_path, callback, weights)
    history = History.load(tmp_path / "semgeom")
    steps = history.picture_steps("unembedding")
    assert steps[0] == 0
    assert steps[-1] == 8
    picture = history.picture("unembedding", 8)
    assert picture.bands() == [("r", 4), ("b", 4), ("g", 4)]
    labels = [models.label_of(row) for row in sorted(models.table().codes.tolist())]
    assert picture.labels.tolist() == labels
    rows = weights.heads[8].double()
    units = torch.nn.functional.normalize(rows - rows.mean(0))
    codes = models.table().codes
    order = sorted(range(12), key=lambda i: codes[i].tolist())
    assert np.allclose(picture.gram, units[order] @ units[order].T, atol=1e-5)
    values = dict(zip(map(tuple, picture.values.tolist()), picture.value_within, strict=True))
    red = units[codes[:, 0] == 0]
    expected = (red.sum(0).square().sum() - 4) / 12
    assert values["colour", "r"] == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": "bdy"}, "hidden='bdy' matches no module of TinyModel. Close names: 'body'"),
        ({"unembedding": "head"}, "unembedding='head' is no module. Close names: 'lm_head'"),
        (
            {"labels": "targets"},
            "labels='targets' is not a key of the batch. Its keys: 'x', 'labels'",
        ),
        ({"hidden": "lm_head.*"}, "matches no module"),
        ({"shift_labels": True, "labels": lambda b: b["x"][:, :2]}, "do not fit a hidden state"),
        ({"probe": [{"x": torch.zeros(1, 2).long()}]}, "labels='labels' is not a key"),
    ],
)
def test_a_wrong_configuration_is_an_error_before_training_goes_on(tmp_path, options, message):
    model = models.TinyModel()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, geometry(**options), model=model)
    if "shift_labels" not in options:
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_table_longer_than_the_unembedding_is_an_error_with_both_numbers(tmp_path):
    table = AttributeTable.from_dict({"a": list("xy" * 10)})
    with pytest.raises(
        ValueError, match=r"table has 20 rows, but unembedding 'lm_head' has only 12"
    ):
        fit(tmp_path, SemanticGeometry(table))


def test_what_a_shorter_table_has_no_row_for_is_left_out_of_the_mean_too(tmp_path):
    whole = models.table()
    table = AttributeTable(whole.codes[:9], whole.names, whole.values)
    callback = SemanticGeometry(table, hidden="body", every_n_steps=5, growth=None)
    states = models.HiddenByStep()
    _, model = fit(tmp_path, callback, states)
    expected = attribute_similarity(model.lm_head.weight[:9], table.codes, table.num_values)
    last = callback.history.records[-1].values
    assert last["semgeom_unembedding/rows"] == 9
    assert last["semgeom_unembedding/gap/colour"] == pytest.approx(
        float(expected["gap"][0]), abs=1e-6
    )
    hidden, labels = states.hidden[5]
    kept = (hidden, labels.masked_fill(labels >= 9, -100))
    rows, codes = models.means_by_label([kept])
    expected = attribute_similarity(rows, codes, table.num_values)
    found = callback.history.curve("semgeom_hidden.body/gap/colour")
    assert found[1][found[0] == 5] == pytest.approx(float(expected["gap"][0]), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attributes": None}, "either attributes or attributes_file"),
        ({"attributes_file": "a.csv"}, "either attributes or attributes_file"),
        ({"unembedding": False}, "nothing to capture"),
        ({"probe": []}, "probe was given, but hidden names no module"),
        ({"every_n_steps": 0}, "every_n_steps must be 1 or more: 0"),
        ({"every_n_epochs": 0}, "every_n_epochs must be 1 or more: 0"),
        ({"growth": 1.0}, "growth must be above 1 or None; got 1.0"),
        ({"max_positions": 1}, "max_positions must be 2 or more: 1"),
        ({"positions": "first"}, "positions must be 'all' or 'last'; got a str, 'first'"),
        ({"on_error": "ignore"}, "on_error must be 'warn' or 'raise'; got a str, 'ignore'"),
        ({"name": "a/b"}, "a word without a slash"),
        ({"metrics": ["rankme"]}, "knows 'eigenspectrum' alone; got 'rankme'"),
        ({"metrics": "eigenspectrum"}, "of hidden sites, and hidden names no module"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        SemanticGeometry(**({"attributes": models.table()} | options))


def test_it_is_printed_with_its_attributes_its_sites_and_its_history(tmp_path):
    callback = SemanticGeometry(models.table(), hidden="body", every_n_steps=4, name="mine")
    before = repr(callback).splitlines()
    assert before[0] == "SemanticGeometry 'mine'"
    assert "  colour: 3 values (r, b, g), 12 rows labelled (100 %)" in before
    assert "  size: 2 values (s, l), 8 rows labelled (67 %)" in before
    assert before[-2:] == ["sites: found when a fit begins", "History: no record yet"]
    models.trainer(tmp_path, callback, max_steps=5).fit(models.TinyModel(), models.batches())
    after = str(callback).splitlines()
    assert after[:4] == before[:4]
    assert after[4] == "sites: unembedding, hidden.body"
    assert "\n".join(after[5:]) == repr(callback.history)
    assert "unembedding  colour" in str(callback)
    assert repr(copy.deepcopy(callback)) == repr(callback)


def test_it_is_printed_as_html_with_names_as_text(tmp_path):
    callback = SemanticGeometry({"a<b>": [*"xxyy"]}, embedding=True)
    html = callback._repr_html_()
    assert "a&lt;b&gt;: 2 values" in html
    assert "a<b>" not in html
    assert html.endswith(callback.history._repr_html_())
    of_file = SemanticGeometry(attributes_file="colours.csv")
    assert "attributes of 'colours.csv', which a fit reads" in repr(of_file)


def test_after_an_exception_no_hook_is_left(tmp_path):
    class Failing(models.TinyModel):
        def training_step(self, batch, batch_idx):
            if batch_idx == 2:
                self(batch)
                raise RuntimeError("the user's own")
            return super().training_step(batch, batch_idx)

    model = Failing()
    with pytest.raises(RuntimeError, match="the user's own"):
        fit(tmp_path, geometry(every_n_steps=1), model=model)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_quiet_run_gives_no_warning_of_ours(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, geometry())
    assert not [w for w in caught if "SemanticGeometry" in str(w.message)]
