"""The example that measures the rule for spectral phases: tables against curves that are known."""

import numpy as np
import pytest
import torch

from lightning_semgeom import eigenspectrum
from lightning_semgeom.settings.controlled import network_setting
from tests.examples import scripts
from tests.oracles import eigenspectrum as eigenspectrum_in_loops


@pytest.fixture
def tables(imported):
    return imported("spectral_phases_tables")


def curve(tables, *points, kind="probe"):
    """RankMe straight in logarithms between points (step, RankMe)."""
    steps, values = zip(*points, strict=True)
    captures = np.unique(np.geomspace(1, steps[-1] + 1, 160).astype(int)) - 1
    x = np.interp(np.log1p(captures), np.log1p(steps), np.log(values))
    return tables.Curve("factored", kind, captures, np.exp(x))


def cells_of(text):
    return {name: cells for name, *cells in scripts.rows_of(text)}


def test_tables_count_what_is_told_and_when(tables):
    three = curve(tables, (0, 80), (50, 4), (800, 40), (5000, 20))
    two = curve(tables, (0, 80), (100, 8), (5000, 64))
    assert three.lowest == pytest.approx(50, rel=0.1)
    found = dict(
        zip(
            tables.COLUMNS,
            cells_of("\n".join(tables.phases_table([three, two])))["factored, probe"],
            strict=False,
        )
    )
    assert found["curves"] == "2"
    assert found["warm-up told"] == found["entropy-seeking told"] == "2 of 2"
    assert found["within 30 % of the lowest's step"] == "2 of 2"
    assert found["compression-seeking told"] == "1 of 2"
    assert found["the same with a share of 0.9"] == "1 of 2"
    assert found["end / largest after the lowest"] == "0.75 (0.50 to 1.00)"


def test_a_small_fall_is_told_with_a_larger_share_alone(tables):
    small = curve(tables, (0, 80), (50, 4), (800, 40), (5000, 34))
    cells = cells_of("\n".join(tables.phases_table([small])))["factored, probe"]
    found = dict(zip(tables.COLUMNS, cells, strict=True))
    assert found["compression-seeking told"] == "0 of 1"
    assert found["the same with a share of 0.9"] == "1 of 1"


def test_a_rise_that_is_dated_elsewhere_is_not_within_30_percent(tables):
    astray = curve(tables, (0, 80), (100, 8), (5000, 64))
    astray.values[astray.steps.searchsorted(40)] = 5.0  # one capture, long before the lowest
    assert astray.lowest == pytest.approx(100, rel=0.1)
    cells = cells_of("\n".join(tables.phases_table([astray])))["factored, probe"]
    found = dict(zip(tables.COLUMNS, cells, strict=False))
    assert found["entropy-seeking told"] == "1 of 1"
    assert found["within 30 % of the lowest's step"] == "0 of 1"


def test_alarms_are_counted_where_there_is_more_than_there_should_be(tables):
    generator = np.random.default_rng(0)
    rough = [
        tables.Curve("stdlib", kind, np.arange(60), np.exp(sd * generator.standard_normal(60)))
        for kind, sd in (("still at the start", 0.005), ("still at the end", 1.0))
    ]
    real = curve(tables, (0, 80), (50, 4), (800, 40), (5000, 20))
    found = cells_of("\n".join(tables.alarms_table([*rough, real])))
    assert found["stdlib, still at the start: each batch another"][::3] == ["20", "0"]
    assert found["stdlib, still at the start: each batch another"][4] == "0"
    assert int(found["stdlib, still at the end: each batch another"][3]) > 15
    assert found["constant"] == ["1", "0.000", "0", "0", "0"]
    assert found["real curves up to their lowest"] == ["1", "-", "1", "0", "0"]
    assert found["real curves from their lowest on"] == ["1", "-", "1", "1", "1"]  # it falls again


def test_rankme_is_that_of_the_last_position_or_of_all(imported):
    example = imported("spectral_phases")
    made = network_setting("factored", 0)
    (batch,) = made.capture["probe"]
    hidden = []
    hook = made.model.final_norm.register_forward_hook(lambda *call: hidden.append(call[2]))
    with torch.no_grad():
        made.model(batch)
    hook.remove()
    found = example.rankme_of(made.model, [batch], made.capture)
    expected = eigenspectrum_in_loops(hidden[0][:, -1].double().numpy())["rankme"]
    assert found == pytest.approx(expected, rel=1e-4)
    twice = example.rankme_of(made.model, [batch, batch], made.capture | {"positions": "all"})
    assert twice == pytest.approx(float(eigenspectrum(hidden[0].flatten(0, 1))["rankme"]), rel=1e-4)


@pytest.mark.processes
def test_the_example_collects_judges_and_does_not_run_twice(tmp_path):
    arguments = ("--seeds", "0", "--settings", "factored", "--steps", "160")
    text = scripts.run("spectral_phases", "--out", tmp_path, *arguments)
    assert (tmp_path / "table.md").read_text().strip() in text
    cells = cells_of(text)
    assert cells["factored, probe"][0] == "1"
    assert cells["factored, probe"].count("1 of 1") == 3  # warm-up, entropy-seeking, and its step
    assert cells["factored, probe"][-2:] == ["0 of 1", "0 of 1"]
    assert (tmp_path / "spectral_phases.png").stat().st_size > 5000
    before = [file.stat().st_mtime_ns for file in tmp_path.glob("*.npz")]
    assert scripts.run("spectral_phases", "--out", tmp_path, *arguments) == text
    assert [file.stat().st_mtime_ns for file in tmp_path.glob("*.npz")] == before
