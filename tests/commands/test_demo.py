"""Demos as a user runs them, against the ranges that the README tells."""

import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from lightning_semgeom import History, SemanticGeometry
from lightning_semgeom.commands import progress
from lightning_semgeom.commands.demo_words import STEPS, after, before
from lightning_semgeom.settings.controlled import NETWORKS
from tests import models
from tests.warm import python

CLI = "lightning_semgeom.commands.cli"


def run_demo(folder, *arguments):
    done = python("-m", CLI, "demo", "--out", folder, *arguments, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "shuffled attributes never did" in done.stdout
    return done


def gap(history, attribute):
    return history.curve(history.key("unembedding", f"gap/{attribute}"))


@pytest.mark.timeout(1000)
@pytest.mark.processes
def test_meaning_forms_and_fades_in_a_language_model_on_real_text(tmp_path):
    run_demo(tmp_path, "--steps", 700)
    history = History.load(tmp_path / "lightning_logs/version_0/semgeom")
    steps, kind = gap(history, "kind")
    _, z = history.curve(history.key("unembedding", "z/kind"))
    assert abs(kind[0]) < 0.01
    early = (steps >= 100) & (steps <= 300)
    assert ((kind >= 0.08) & (z > 8) & early).any()
    assert kind[-1] <= 0.65 * kind.max()
    _, space = gap(history, "space")
    assert space[-1] <= 0.5 * space.max()


@pytest.fixture(scope="module")
def factored(tmp_path_factory):
    """What a run of the factored setting says, and its folder."""
    folder = tmp_path_factory.mktemp("factored")
    done = run_demo(folder, "--setting", "factored", "--steps", 600)
    return done, folder / "lightning_logs/version_0"


@pytest.mark.processes
def test_the_factored_setting_peaks_early_and_collapses_in_part(factored):
    steps, values = History.load(factored[1] / "semgeom").curve("semgeom_unembedding/gap")
    assert 0.15 <= values.max() <= 0.31
    assert 30 <= steps[np.argmax(values)] <= 60
    assert values[-1] < values.max() / 4


@pytest.mark.processes
def test_a_demo_tells_its_run_and_leaves_history_and_pictures(factored):
    done, folder = factored
    assert "Traceback" not in done.stderr
    assert "600/600" in done.stderr  # the progress bar
    assert ", gap 0." in done.stderr
    assert "Epoch" not in done.stderr
    assert done.stdout.startswith("A small transformer learns to name 64 contexts")
    assert "The star is its peak" in done.stdout
    lines = done.stdout.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("site"))
    rows = [line.split() for line in lines[header + 2 : header + 14]]
    assert [row[0] for row in rows] == (["unembedding"] * 3 + ["hidden.final_norm"] * 3) * 2
    assert [row[1] for row in rows[:3]] == ["a", "b", "c"]
    assert all(row[2] == "(shuffled)" and row[3] == "-" for row in rows[6:])
    assert "In the unembedding, a emerged at step" in done.stdout
    assert f"Open in a browser: {folder / 'report.html'}" in done.stdout
    assert "b emerged at step" in (folder / "report.html").read_text()
    assert len(History.load(folder / "semgeom")) > 20
    assert len(History.load(folder / "semgeom_control")) > 20
    for name in ("timeline", "gram_unembedding", "gram_hidden.final_norm"):
        assert matplotlib.image.imread(folder / f"{name}.png").std() > 0.05


@pytest.mark.processes
def test_a_second_demo_gets_a_folder_of_its_own(factored):
    folder = factored[1]
    before = (folder / "semgeom/history.jsonl").read_bytes()
    run_demo(folder.parents[1], "--setting", "factored", "--steps", 2)
    assert (folder / "semgeom/history.jsonl").read_bytes() == before
    assert not (folder / "semgeom/earlier.1").exists()
    assert len(History.load(folder.with_name("version_1") / "semgeom")) == 3


@pytest.mark.processes
def test_what_comes_is_said_before_anything_heavy_is_imported():
    code = """
import sys
sys.modules.update(dict.fromkeys(("torch", "lightning", "matplotlib")))
from lightning_semgeom.commands.cli import main
sys.exit(main(["demo", "--setting", "factored", "--steps", "1000"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2  # there is no torch
    assert "1000 steps take about 10 to 30 seconds on 2 cores." in done.stdout
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("setting", "steps", "told"),
    [
        ("stdlib", 1200, "about 80 to 140 seconds"),
        ("stdlib", 600, "about 40 to 70 seconds"),
        ("stdlib", 12_000, "about 13 to 23 minutes"),
        ("factored", 2000, "about 20 to 60 seconds"),
        ("factored", 1, "about 10 seconds"),
        ("pictures", 4000, "about 40 to 120 seconds"),
    ],
)
def test_how_long_it_takes_grows_with_the_steps(setting, steps, told):
    assert f"{steps} steps take {told} on 2 cores." in before(setting, steps, None, Path("runs"))


def test_each_setting_has_its_own_words():
    assert {*STEPS} == {"stdlib", *NETWORKS}
    words = {before(setting, STEPS[setting], None, Path("runs")) for setting in STEPS}
    assert len(words) == len(STEPS)
    assert "learns the text of 'my.txt'" in before("stdlib", 5, "my.txt", Path("runs"))
    for text in (*words, after(Path("runs/version_0"))):
        assert max(map(len, text.splitlines())) <= 80


class Bar:
    """Stands for tqdm's: what is asked of it."""

    def __init__(self, total, **_):
        self.total, self.done, self.closed, self.told = total, 0, 0, ""

    def update(self):
        self.done += 1

    def set_postfix_str(self, told, refresh):
        self.told = told

    def close(self):
        self.closed += 1


@pytest.fixture
def bars(monkeypatch):
    made = []
    monkeypatch.setattr(progress, "tqdm", lambda **given: made.append(Bar(**given)) or made[-1])
    return made


def test_the_bar_counts_all_steps_and_shows_loss_and_gap(tmp_path, bars):
    bar, semgeom = progress.StepBar("semgeom/gap"), SemanticGeometry(models.table())
    trainer = models.trainer(tmp_path, bar, semgeom, max_steps=7)
    trainer.fit(models.TinyModel(), models.batches(3))  # of more than one epoch
    (one,) = bars
    assert (one.total, one.done, one.closed, len(bar.losses)) == (7, 7, 1, 7)
    loss, gap = one.told.removeprefix("loss ").split(", gap ")
    assert float(loss) == pytest.approx(bar.losses[-1], abs=0.01)
    known = [record.values["semgeom/gap"] for record in semgeom.history]
    assert min(abs(float(gap) - value) for value in known) < 0.001


def test_the_bar_is_closed_where_training_fails(tmp_path, bars):
    class Failing(models.TinyModel):
        def training_step(self, batch, batch_idx):
            if batch_idx == 2:
                raise RuntimeError("no more")
            return super().training_step(batch, batch_idx)

    trainer = models.trainer(tmp_path, progress.StepBar("semgeom/gap"))
    with pytest.raises(RuntimeError, match="no more"):
        trainer.fit(Failing(), models.batches())
    (one,) = bars
    assert (one.done, one.closed) == (2, 1)
