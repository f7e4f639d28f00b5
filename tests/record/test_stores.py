"""Histories and pictures of real runs in stores: in memory, and on a real S3 server."""

import json
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_semgeom import History, SemanticGeometry, snapshot
from lightning_semgeom.record import recorder
from lightning_semgeom.record.record import Record
from lightning_semgeom.stores import place
from tests import models

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")

STEPS = 6
STORES = {"memory": "memory://runs/a", "s3": "s3://bucket/runs/a"}


@pytest.fixture(params=STORES)
def store(request, tmp_path, monkeypatch):
    """The address of a folder in a store; nothing of its name may be on this machine."""
    request.getfixturevalue(request.param)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield STORES[request.param]
    assert not [*(tmp_path / "work").iterdir()]


def fit(root, *callbacks, steps=STEPS, checkpoint=None, **options):
    """History and final weights of a run with a record at each update."""
    pl.seed_everything(3, verbose=False)
    settings = {"hidden": "body", "every_n_steps": 1, "growth": None}
    callback = SemanticGeometry(models.table(), **settings, **options)
    saves = any(isinstance(other, ModelCheckpoint) for other in callbacks)
    trainer = models.trainer(
        root, callback, *callbacks, max_steps=steps, enable_checkpointing=saves
    )
    model = models.TinyModel()
    trainer.fit(model, models.Resumable(models.batches()), ckpt_path=checkpoint)
    return callback.history, weights_of(model)


def fit_alone(root):
    """The final weights of the same run without a callback of ours."""
    pl.seed_everything(3, verbose=False)
    model = models.TinyModel()
    trainer = models.trainer(root, max_steps=STEPS, enable_checkpointing=False)
    trainer.fit(model, models.Resumable(models.batches()))
    return weights_of(model)


def weights_of(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def assert_same(found, expected):
    """Two histories are equal to the bit, and so are their pictures."""
    assert [(r.step, r.pictures) for r in found] == [(r.step, r.pictures) for r in expected]
    assert found.keys == expected.keys
    for key in expected.keys:
        assert np.array_equal(found.curve(key)[1], expected.curve(key)[1], equal_nan=True)
    for site in expected.sites:
        assert expected.picture_steps(site)
        for step in expected.picture_steps(site):
            one, other = vars(found.picture(site, step)), vars(expected.picture(site, step))
            for name, known in other.items():
                np.testing.assert_array_equal(one[name], known)


def test_a_run_in_a_store_leaves_what_a_run_on_this_machine_leaves(store, tmp_path):
    fit(Path(store))  # which has lost a slash
    fit(tmp_path / "here")
    assert_same(History.load(f"{store}/semgeom"), History.load(tmp_path / "here/semgeom"))
    assert len(History.load(f"{store}/semgeom/history.jsonl")) == STEPS + 1


def test_a_run_in_a_store_is_resumed_there(store, tmp_path):
    for root, kept in ((store, tmp_path / "a"), (tmp_path / "here", tmp_path / "b")):
        saved = ModelCheckpoint(kept, every_n_train_steps=2, save_top_k=-1, filename="{step}")
        fit(root, saved)
        fit(root, checkpoint=kept / "step=2.ckpt", steps=5)
    read = History.load(f"{store}/semgeom")
    assert [record.step for record in read] == [*range(6)]
    assert_same(read, History.load(tmp_path / "here/semgeom"))
    assert not [*place(store).glob("semgeom/earlier.*")]


def test_a_checkpoint_in_the_store_is_resumed_too(s3, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = ModelCheckpoint(every_n_train_steps=2, save_top_k=-1, filename="{step}")
    fit("s3://bucket/b", saved)
    checkpoint = "s3://bucket/b/checkpoints/step=2.ckpt"
    fit("s3://bucket/b", checkpoint=checkpoint, steps=5)
    assert [record.step for record in History.load("s3://bucket/b/semgeom")] == [*range(6)]
    assert not [*tmp_path.iterdir()]


def record(step):
    return Record(step, {"semgeom/gap": step / 7, "semgeom_a/gap": 0.5})


def grown(folder, steps):
    history = History()
    history.open(place(folder))
    for step in steps:
        history.append(record(step))
    return history


def names(folder):
    return sorted(file.name for file in place(folder).iterdir())


def test_where_a_store_does_not_append_parts_are_written_whole(memory):
    memory.appends = False
    history = grown("memory://b", range(150))
    assert names("memory://b") == ["history.0001.jsonl", "history.0002.jsonl", "history.jsonl"]
    files = [place("memory://b") / name for name in sorted(names("memory://b"), key=len)]
    assert [len(file.read_text().splitlines()) for file in files] == [64, 64, 22]
    assert all("keys" in json.loads(file.read_text().splitlines()[0]) for file in files)
    read = History.load("memory://b")
    assert [(r.step, dict(r.values)) for r in read] == [(r.step, dict(r.values)) for r in history]
    for appends in (False, True):  # one that was loaded goes on
        memory.appends = appends
        History.load("memory://b").append(record(150 + appends))
    assert [r.step for r in History.load("memory://b")] == [*range(152)]


def test_an_earlier_write_that_arrives_after_later_ones_loses_none_of_them(memory):
    history = grown("memory://b", range(3))
    file = place("memory://b/history.jsonl")
    late = file.read_bytes()
    for step in (3, 4):
        history.append(record(step))
    file.write_bytes(late)
    history.append(record(5))
    assert [r.step for r in History.load("memory://b")] == [*range(6)]
    file.unlink()
    history.append(record(6))
    assert [r.step for r in History.load("memory://b")] == [*range(7)]


def test_parts_are_cut_back_and_put_aside_with_their_history(memory):
    memory.appends = False
    state = grown("memory://b", range(100)).state_dict()
    later = History.load("memory://b")
    for step in range(100, 150):
        later.append(record(step))
    resumed = History()
    resumed.load_state_dict(state)
    resumed.open(place("memory://b"))
    assert names("memory://b") == ["history.jsonl"]
    resumed.append(record(101))
    assert [r.step for r in History.load("memory://b")] == [*range(100), 101]
    grown("memory://b", range(70))
    assert [r.step for r in History.load("memory://b")] == [*range(70)]
    assert [r.step for r in History.load("memory://b/earlier.1")] == [*range(100), 101]


def test_a_run_is_resumed_where_a_store_does_not_append(memory, tmp_path):
    memory.appends = False
    kept = tmp_path / "kept"
    saved = ModelCheckpoint(kept, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    fit("memory://b", saved)
    fit("memory://b", checkpoint=kept / "step=4.ckpt", steps=5)
    fit(tmp_path / "here", steps=5)
    read, expected = History.load("memory://b/semgeom"), History.load(tmp_path / "here/semgeom")
    assert [r.step for r in read] == [r.step for r in expected]


def ours(told):
    texts = [str(warning.message) for warning in told]
    return [text for text in texts if "SemanticGeometry" in text]


class Away(pl.Callback):
    """The store is away from one batch to another."""

    def __init__(self, leave, come_back, first=2, last=4):
        self.leave, self.come_back, self.first, self.last = leave, come_back, first, last

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == self.first:
            self.leave()
        if batch_idx == self.last:
            self.come_back()


@pytest.fixture
def away(store, request):
    if store.startswith("memory"):
        memory = request.getfixturevalue("memory")
        return lambda **when: Away(
            lambda: setattr(memory, "is_away", True),
            lambda: setattr(memory, "is_away", False),
            **when,
        )
    server = request.getfixturevalue("s3")
    return lambda **when: Away(server.stop, server.start, **when)


def test_a_store_that_is_away_in_mid_run_is_one_warning_and_gets_what_it_missed(
    store, away, tmp_path
):
    with pytest.warns(UserWarning, match="a record is not written") as told:
        _, weights = fit(store, away())
    assert len(ours(told)) == 1, ours(told)
    assert torch.equal(weights, fit_alone(tmp_path / "alone"))
    fit(tmp_path / "here")
    assert_same(History.load(f"{store}/semgeom"), History.load(tmp_path / "here/semgeom"))


def test_what_another_run_left_is_kept_aside_also_where_the_store_is_away_at_the_start(
    store, away, tmp_path
):
    fit(store, steps=3)
    absent = away(first=0, last=2)
    absent.on_fit_start = lambda trainer, pl_module: absent.leave()
    with pytest.warns(UserWarning, match="a record is not written") as told:
        fit(store, absent)
    assert len(ours(told)) == 1, ours(told)
    aside, expected = History.load(f"{store}/semgeom/earlier.1"), fit(tmp_path / "first", steps=3)
    assert_same(aside, expected[0])
    fit(tmp_path / "here")
    assert_same(History.load(f"{store}/semgeom"), History.load(tmp_path / "here/semgeom"))


def test_a_fault_of_the_store_is_raised_where_it_is_asked_for(memory, tmp_path):
    with pytest.raises(OSError, match=r"'memory://b/semgeom.*': OSError: the store is away"):
        fit("memory://b", Away(lambda: setattr(memory, "is_away", True), int), on_error="raise")


def test_of_missed_pictures_the_last_ones_are_kept(memory, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "MOST_MISSED", 1)
    whole, _ = fit(tmp_path / "here")
    absent = Away(lambda: setattr(memory, "is_away", True), lambda: setattr(memory, "is_away", 0))
    with pytest.warns(UserWarning, match="a record is not written"):
        fit("memory://b", absent)
    read = History.load("memory://b/semgeom")
    assert len(read) == len(whole)
    number = sum(len(r.pictures) for r in whole)
    assert 0 < sum(len(r.pictures) for r in read) < number
    for site in read.sites:  # each that is named is there
        for step in read.picture_steps(site):
            read.picture(site, step)


def test_pictures_come_along_between_a_store_and_this_machine(store, tmp_path):
    kept = tmp_path / "kept"
    saved = ModelCheckpoint(kept, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    fit(store, saved)
    fit(tmp_path / "here", checkpoint=kept / "step=4.ckpt")
    fit(f"{store}/again", checkpoint=kept / "step=4.ckpt")
    here, again = History.load(tmp_path / "here/semgeom"), History.load(f"{store}/again/semgeom")
    assert_same(again, here)
    first = History.load(f"{store}/semgeom")
    assert here.picture_steps("unembedding") == first.picture_steps("unembedding")
    for step in (0, 1, 2):
        found = here.picture("unembedding", step).gram
        assert np.array_equal(found, first.picture("unembedding", step).gram)


def test_pictures_that_cannot_be_read_are_told_and_not_named(memory, tmp_path):
    kept = tmp_path / "kept"
    saved = ModelCheckpoint(kept, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    fit("memory://b", saved)
    memory.is_away = True
    with pytest.warns(UserWarning, match="stay in 'memory://b/semgeom', which cannot be read"):
        fit(tmp_path / "here", checkpoint=kept / "step=4.ckpt")
    read = History.load(tmp_path / "here/semgeom")
    assert len(read) == STEPS + 1
    assert min(read.picture_steps("unembedding")) >= 4  # none from before the checkpoint


def test_a_snapshot_is_saved_to_an_address(store):
    model = torch.nn.Sequential(torch.nn.Embedding(4, 3), torch.nn.Linear(3, 4, bias=False))
    found = snapshot(model, {"colour": ["red", "red", "blue", "blue"]})
    found.save(f"{store}/looks", step=3)
    read = History.load(f"{store}/looks")
    assert [r.step for r in read] == [3]
    assert np.array_equal(read.picture("unembedding", 3).gram, found.picture("unembedding").gram)


def test_a_store_without_a_history_and_one_that_is_away_are_told_apart(store, away):
    with pytest.raises(FileNotFoundError, match=f"no history at '{store}/none'"):
        History.load(f"{store}/none")
    absent = away()
    absent.leave()
    with pytest.raises(OSError, match=f"'{store}/none.*': "):
        History.load(f"{store}/none")
    absent.come_back()
