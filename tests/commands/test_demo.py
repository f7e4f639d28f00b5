"""Both demos at their full length, against the ranges that the README tells."""

import numpy as np
import pytest

from lightning_semgeom import History
from tests.warm import python

CLI = "lightning_semgeom.commands.cli"


def demo(folder, *arguments):
    done = python("-m", CLI, "demo", "--out", folder, *arguments, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "shuffled attributes never did" in done.stdout
    return History.load(folder / "lightning_logs/version_0/semgeom")


def gap(history, attribute):
    return history.curve(history.key("unembedding", f"gap/{attribute}"))


@pytest.mark.timeout(1000)
@pytest.mark.processes
def test_meaning_forms_and_fades_in_a_language_model_on_real_text(tmp_path):
    history = demo(tmp_path)
    steps, kind = gap(history, "kind")
    _, z = history.curve(history.key("unembedding", "z/kind"))
    assert abs(kind[0]) < 0.01
    early = (steps >= 100) & (steps <= 300)
    assert ((kind >= 0.08) & (z > 8) & early).any()
    assert kind[-1] <= 0.65 * kind.max()
    _, space = gap(history, "space")
    assert space[-1] <= 0.5 * space.max()


@pytest.mark.timeout(1000)
@pytest.mark.processes
def test_the_factored_setting_peaks_early_and_collapses_in_part(tmp_path):
    history = demo(tmp_path, "--setting", "factored")
    steps, values = history.curve("semgeom_unembedding/gap")
    assert 0.15 <= values.max() <= 0.31
    assert 30 <= steps[np.argmax(values)] <= 60
    assert values[-1] < values.max() / 4
