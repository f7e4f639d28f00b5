"""Demos as a user runs them, against the ranges that the README tells."""

import matplotlib.image
import numpy as np
import pytest

from lightning_semgeom import History
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
    assert "semgeom/gap" in done.stderr + done.stdout  # the progress bar
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
