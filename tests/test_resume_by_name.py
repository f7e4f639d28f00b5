"""A run goes on with other attributes or sites than its checkpoint: state goes by names."""

import math
import re
import warnings

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_semgeom import AttributeTable, History, SemanticGeometry
from lightning_semgeom.record.record import Record
from lightning_semgeom.record.recorder import Recorder
from lightning_semgeom.settings.factored import FactoredData, FactoredModel, factored_attributes
from tests import models

EACH_STEP = {"every_n_steps": 1, "growth": None}  # without the pictures of early steps
EACH_FIFTH = {"every_n_steps": 5, "growth": None}


def run(folder, callback, steps, ckpt_path=None, model=None, data=None):
    keep = ModelCheckpoint(folder, "{step}", save_last=True, enable_version_counter=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        models.trainer(folder, callback, keep, max_steps=steps, enable_checkpointing=True).fit(
            model or models.TinyModel(), data or models.batches(), ckpt_path=ckpt_path
        )
    return [str(w.message) for w in told if "SemanticGeometry" in str(w.message)]


@pytest.fixture(scope="module")
def peaked(tmp_path_factory):
    """A checkpoint of step 100 of the factored setting, after all its peaks, and its callback."""
    folder = tmp_path_factory.mktemp("peaked")
    callback = SemanticGeometry(factored_attributes(), embedding=False, **EACH_FIFTH)
    run(folder, callback, 100, model=FactoredModel(), data=FactoredData())
    return folder / "last.ckpt", callback


@pytest.mark.parametrize("order", [("c", "a", "b"), ("b", "c", "a")])
def test_attributes_in_another_order_keep_their_own_phases(tmp_path, peaked, order):
    ckpt, before = peaked
    after = SemanticGeometry(factored_attributes().select(order), **EACH_FIFTH)
    told = run(tmp_path, after, 102, ckpt, FactoredModel(), FactoredData())
    assert told == []
    for attribute in "abc":
        key = ("unembedding", attribute)
        assert before.phases[key].peak_step is not None
        assert after.phases[key].peak_step == before.phases[key].peak_step
        assert after.history.milestones(*key) == before.history.milestones(*key)
    mean = after.mean_phases["unembedding"]
    assert mean.peak_step == before.mean_phases["unembedding"].peak_step


def test_a_state_of_version_0_1_goes_by_the_names_of_its_records(peaked):
    _, callback = peaked
    recorder = callback._recorder
    state = recorder.state_dict()
    old = {
        "history": state["history"],
        "phases": [
            *(detector.state_dict() for detector in recorder.mean_phases.values()),
            *(detector.state_dict() for detector in recorder.phases.values()),
        ],
    }
    fresh = Recorder("semgeom", ("hidden.x", "unembedding"), ("c", "a", "b", "new"))
    told = fresh.load_state_dict(old)
    for key, detector in recorder.phases.items():
        assert fresh.phases[key].state_dict() == detector.state_dict()
    assert fresh.phases["unembedding", "new"].peak_step is None
    assert "'new' of unembedding is new, and its curve begins" in told
    assert fresh.phases["hidden.x", "a"].last_step is None


def test_an_empty_state_of_version_0_1_is_taken():
    recorder = Recorder("semgeom", ("unembedding",), ("a",))
    empty = {"history": History().state_dict(), "phases": [{}, {}]}
    assert recorder.load_state_dict(empty) == []


SHAPE = {"shape": list("xyz") * 4}


def gaps(callback, key):
    steps, values = callback.history.curve(key)
    return {step for step, value in zip(steps.tolist(), values, strict=True) if value == value}


def test_a_new_site_and_a_new_attribute_begin_where_the_run_goes_on(tmp_path):
    first = SemanticGeometry(models.table(), **EACH_STEP)
    run(tmp_path, first, 6)
    more = models.table().joined(AttributeTable.from_dict(SHAPE))
    second = SemanticGeometry(more, hidden="body", **EACH_STEP)
    (told,) = run(tmp_path, second, 12, tmp_path / "last.ckpt")
    assert "the checkpoint has step 6. From here on " in told
    assert "'shape' of unembedding is new, and its curve begins" in told
    assert "'colour' of hidden.body is new, and its curve begins" in told
    assert "means over the attributes of unembedding are over others, and peak anew" in told
    assert gaps(second, "semgeom_unembedding/gap/colour") == set(range(13))
    assert gaps(second, "semgeom_unembedding/gap/shape") == set(range(7, 13))
    assert gaps(second, "semgeom_hidden.body/gap/size") == set(range(6, 12)) - {6}
    assert len(History.load(second.history.folder)) == 13


def test_what_is_gone_stays_in_the_history_and_is_told_once(tmp_path):
    first = SemanticGeometry(models.table(), hidden="body", **EACH_STEP)
    run(tmp_path, first, 6)
    second = SemanticGeometry(models.table().select(("colour",)), **EACH_STEP)
    (told,) = run(tmp_path, second, 9, tmp_path / "last.ckpt")
    assert "'size' of unembedding is not followed any more, and its curve ends" in told
    assert "'colour' of hidden.body is not followed any more" in told
    loaded = History.load(second.history.folder)
    for history in (second.history, loaded):
        # The record of step 6 waited for a forward when the checkpoint was saved.
        _, values = history.curve("semgeom_unembedding/gap/size")
        assert [math.isnan(value) for value in values] == [False] * 6 + [True] * 4
    # A third part of the run tells nothing new.
    third = SemanticGeometry(models.table().select(("colour",)), **EACH_STEP)
    assert run(tmp_path, third, 11, tmp_path / "last.ckpt") == []
    assert len(third.history) == 12


def test_milestones_of_what_is_gone_are_those_last_known(tmp_path, peaked):
    ckpt, before = peaked
    after = SemanticGeometry(factored_attributes().select(("a", "b")), **EACH_FIFTH)
    run(tmp_path, after, 102, ckpt, FactoredModel(), FactoredData())
    assert before.history.milestones("unembedding", "c").peak_step is not None
    for history in (after.history, History.load(after.history.folder)):
        found = history.milestones("unembedding", "c")
        assert found == before.history.milestones("unembedding", "c")


def test_headlines_that_come_from_another_site_are_told(tmp_path):
    run(tmp_path, SemanticGeometry(models.table(), embedding=True), 4)
    second = SemanticGeometry(models.table(), unembedding=False, embedding=True)
    (told,) = run(tmp_path, second, 6, tmp_path / "last.ckpt")
    assert "semgeom/gap and other headlines are of embedding, and not of unembedding" in told


@pytest.mark.parametrize(
    "colours", ["rrbbggrrbbgr", "ggrrbbggrrbb", "xxyyzzxxyyzz"], ids=["row", "order", "names"]
)
def test_an_attribute_of_the_same_name_that_is_another_one_is_told(tmp_path, colours):
    run(tmp_path, SemanticGeometry(models.table()), 4)
    other = {"colour": list(colours), "size": [None, "s", "l"] * 4}
    second = SemanticGeometry(AttributeTable.from_dict(other))
    (told,) = run(tmp_path, second, 6, tmp_path / "last.ckpt")
    assert re.search(r"rows or values of 'colour' are others: curves mix both", told)


def test_the_state_is_loaded_by_torch_without_trust(tmp_path, peaked):
    ckpt, callback = peaked
    loaded = torch.load(ckpt, weights_only=True)
    (state,) = [s for key, s in loaded["callbacks"].items() if "SemanticGeometry" in key]
    assert state["updates"] == 100
    assert state["phases"]["unembedding"]["a"] == callback.phases["unembedding", "a"].state_dict()


def test_a_recorder_s_state_leaves_out_the_record_at_work():
    recorder = Recorder("semgeom", ("unembedding",), ("a",))
    recorder.history.append(Record(0, {"semgeom/gap": 0.0, "semgeom/asymmetry": 0.1}))
    before = recorder.state_dict()["phases"]
    recorder.begin(1)
    recorder.phases["unembedding", "a"].update(1, 0.5, 9.0)
    assert recorder.state_dict()["phases"] == before
