"""An analysis that was interrupted goes on: nothing is done twice, and nothing is different."""

import json
import os
import subprocess
import sys

import pytest
import torch

from lightning_semgeom import AttributeTable, History, analyze, snapshot
from lightning_semgeom.checkpoints.resume import FILE_NAME
from tests import models
from tests.checkpoints.files import head, save
from tests.checkpoints.test_hidden import BATCHES, stored
from tests.warm import ROOT

SEEDS = (0, 1, 2, 3, 4)


class Counted:
    """Calls the model, and counts; the interrupt comes at a call."""

    def __init__(self, interrupt=None):
        self.calls, self.interrupt = 0, interrupt

    def __call__(self, model, batch):
        self.calls += 1
        if self.calls == self.interrupt:
            raise KeyboardInterrupt
        model(batch)


def measured(tmp_path, forward, out="out", **more):
    asked = {"build": models.TinyModel, "hidden": "body", "data": BATCHES, "forward": forward}
    return analyze(tmp_path / "run", models.table(), folder=tmp_path / out, **{**asked, **more})


def text(tmp_path, out="out"):
    return (tmp_path / out / "history.jsonl").read_text()


def test_after_an_interrupt_it_goes_on_to_the_same_history_to_the_bit(tmp_path):
    stored(tmp_path / "run", SEEDS)
    whole = Counted()
    measured(tmp_path, whole, "whole")
    assert whole.calls == len(BATCHES) * len(SEEDS)
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, Counted(interrupt=3 * len(BATCHES) + 1))
    assert len(History.load(tmp_path / "out")) == 3
    rest = Counted()
    history = measured(tmp_path, rest)
    assert rest.calls == len(BATCHES) * (len(SEEDS) - 3)
    assert text(tmp_path) == text(tmp_path, "whole")
    assert len(history) == len(SEEDS)
    for site in history.sites:
        assert history.picture_steps(site) == [*range(len(SEEDS))]
        history.picture(site, 0)
    assert not list((tmp_path / "out").glob("earlier.*"))
    again = Counted()
    measured(tmp_path, again)
    assert again.calls == 0


@pytest.mark.parametrize(
    "more",
    [
        {"data": BATCHES[:2]},
        {"data": [{**batch, "x": batch["x"].flip(0)} for batch in BATCHES]},  # the same labels
        {"hidden": "body.0"},
        {"max_positions": 20},
        {"tensor": "embed"},
    ],
)
def test_what_is_asked_otherwise_is_done_anew_and_what_was_there_is_put_aside(tmp_path, more):
    stored(tmp_path / "run", SEEDS[:2])
    measured(tmp_path, Counted())
    measured(tmp_path, again := Counted(), **more)
    assert again.calls >= len(SEEDS[:2])
    assert len(History.load(tmp_path / "out/earlier.1")) == 2


def test_another_table_is_another_analysis(tmp_path):
    save(tmp_path / "run/step-1.pt")
    for colours in ("rrbbggrrbbgg", "rbrbggrrbbgg"):
        table = AttributeTable.from_dict({"colour": list(colours)})
        analyze(tmp_path / "run", table, folder=tmp_path / "out")
    assert len(History.load(tmp_path / "out/earlier.1")) == 1


def test_from_the_first_checkpoint_that_is_another_one_all_is_anew(tmp_path):
    for step in range(4):
        save(tmp_path / f"run/step-{step}.pt", head(step))
    analyze(tmp_path / "run", models.table(), folder=tmp_path / "out")
    save(tmp_path / "run/step-2.pt", head(9))
    history = analyze(tmp_path / "run", models.table(), folder=tmp_path / "out")
    expected = analyze(tmp_path / "run", models.table(), folder=tmp_path / "fresh")
    assert text(tmp_path) == text(tmp_path, "fresh")
    for step in range(4):
        ours, theirs = (h.picture("unembedding", step) for h in (history, expected))
        assert (ours.gram == theirs.gram).all()
    assert len(History.load(tmp_path / "out/earlier.1")) == 4


def test_records_of_something_else_are_not_taken_for_its_own(tmp_path):
    made = stored(tmp_path / "run", SEEDS[:2])
    measured(tmp_path, Counted())
    other = History()
    other.open(tmp_path / "out")
    for step, model in made.items():
        other.append(snapshot(model, models.table(), hidden="body.0", data=BATCHES), step)
    measured(tmp_path, again := Counted())
    assert again.calls == 2 * len(BATCHES)
    assert len(History.load(tmp_path / "out/earlier.2")) == 2


def test_more_checkpoints_of_a_run_that_goes_on_are_added(tmp_path, monkeypatch):
    for step in range(3):
        save(tmp_path / f"run/step-{step}.pt", head(step))
    analyze(tmp_path / "run", models.table(), folder=tmp_path / "out")
    save(tmp_path / "run/step-3.pt", head(3))
    load, read = torch.load, []
    monkeypatch.setattr(torch, "load", lambda f, **more: (read.append(f.name), load(f, **more))[1])
    analyze(tmp_path / "run", models.table(), folder=tmp_path / "out")
    assert read == ["step-3.pt"]
    monkeypatch.undo()
    analyze(tmp_path / "run", models.table(), folder=tmp_path / "fresh")
    assert text(tmp_path) == text(tmp_path, "fresh")
    assert not list((tmp_path / "out").glob("earlier.*"))


def test_what_was_told_is_told_again(tmp_path):
    save(tmp_path / "run/step-0.pt", head(1))
    (tmp_path / "run/step-1.pt").write_text("text")
    save(tmp_path / "run/step-2.pt", head(1))
    save(tmp_path / "run/step-3.pt", torch.full((12, 8), torch.nan))
    told = []
    for _ in range(2):
        with pytest.warns(UserWarning, match="step-|bit-identical") as warned:
            analyze(tmp_path / "run", models.table(), folder=tmp_path / "out")
        told.append([str(one.message) for one in warned])
    assert told[0] == told[1]
    assert len(told[0]) == 3


def test_what_the_model_raised_is_tried_again(tmp_path):
    stored(tmp_path / "run", SEEDS[:3])

    def failing(model, batch):
        if calls.pop():
            raise RuntimeError("out of memory")
        model(batch)

    failing.__qualname__ = "forward"
    calls = [False] * 3 + [True] * 3 + [False] * 3
    with pytest.warns(UserWarning, match="step=1.ckpt: RuntimeError: out of memory"):
        assert len(measured(tmp_path, failing)) == 2
    calls = [False] * 6
    assert len(measured(tmp_path, failing)) == 3
    assert calls == []


@pytest.mark.parametrize("damage", ["{", "[]", '{"fingerprint": 1}'])
def test_a_file_that_is_not_ours_is_no_progress(tmp_path, damage):
    save(tmp_path / "run/step-1.pt")
    analyze(tmp_path / "run", models.table(), folder=tmp_path / "out")
    (tmp_path / "out" / FILE_NAME).write_text(damage)
    assert len(analyze(tmp_path / "run", models.table(), folder=tmp_path / "out")) == 1
    assert len(json.loads((tmp_path / "out" / FILE_NAME).read_text())["done"]) == 1


KILLED = """
import os, sys
from tests import models
from tests.checkpoints.test_resume import measured
from pathlib import Path
left = int(sys.argv[2])

def forward(model, batch):
    global left
    left -= 1
    if not left:
        os._exit(9)  # nothing is written on the way out
    model(batch)

measured(Path(sys.argv[1]), forward)
"""


@pytest.mark.processes
def test_a_killed_process_leaves_what_another_goes_on_from(tmp_path):
    stored(tmp_path / "run", SEEDS)

    def forward(model, batch):
        forward.calls += 1
        model(batch)

    forward.calls, forward.__qualname__ = 0, "forward"
    measured(tmp_path, forward, "whole")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(2 * len(BATCHES) + 2)],
        cwd=ROOT, env=os.environ, capture_output=True, timeout=200, check=False,
    )  # fmt: skip
    assert killed.returncode == 9, killed.stderr
    with (tmp_path / "out/history.jsonl").open("a") as lines:
        lines.write('{"step": 2, "val')  # as where it was killed in a write
    forward.calls = 0
    measured(tmp_path, forward)
    assert forward.calls == len(BATCHES) * (len(SEEDS) - 2)
    assert text(tmp_path) == text(tmp_path, "whole")
