"""The example that measures the phase rule: its tables against curves whose truth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lightning_semgeom import PhaseDetector
from tests.examples import scripts


@pytest.fixture
def tables(imported):
    return imported("detector_tables")


def bump(steps, centre):
    return 0.3 * np.exp(-((np.log((steps + 1) / centre) / 0.8) ** 2))


def curve(tables, centre=100, attribute="a", setting="factored", last=2000):
    steps = np.arange(last + 1)
    gaps = bump(steps, centre)
    return tables.Curve(setting, "W", attribute, steps, gaps, 60 * gaps)


def test_captures_are_those_of_the_callback_and_each_so_many_th(tables):
    found = curve(tables)
    steps = found.steps[found.captures()]
    assert steps[:14].tolist() == [*range(12), 13, 15]
    assert steps[-3:].tolist() == [1800, 1900, 2000]
    assert found.steps[found.captures(3)].tolist() == [0, *steps[3::3].tolist()]
    lost = found.steps[found.without_a_stretch(0)]
    (gap,) = sorted(set(steps) - set(lost))[:1]
    assert 50 <= gap <= 200
    assert not any(gap <= step <= 1.4 * gap for step in lost)


def test_the_peak_is_that_of_the_smoothed_curve(tables):
    found = curve(tables)
    assert found.peak == pytest.approx(99, abs=1)
    assert tables.has_peak(found)
    rough = curve(tables)
    rough.gaps[700] = 1.0  # one bad capture
    assert rough.peak == pytest.approx(99, abs=1)
    assert not tables.has_peak(curve(tables, centre=1900))
    assert not tables.has_peak(curve(tables, centre=1))


@pytest.mark.parametrize("rule", [{}, {"quick_share": None}])
def test_a_verdict_is_that_of_one_detector_that_was_never_interrupted(tables, rule):
    found = curve(tables)
    verdict = tables.judge(found, found.captures(), rule)
    detector = PhaseDetector(**rule)
    confirmed = None
    for place in found.captures():
        detector.update(int(found.steps[place]), found.gaps[place], found.zs[place])
        if confirmed is None and detector.peak_step is not None:
            confirmed = int(found.steps[place])
    peak = detector.peak_step
    assert verdict == tables.Verdict(detector.onset_step, peak, confirmed, peak)


def test_of_two_peaks_the_first_is_told_and_the_larger_one_at_the_end(tables):
    twice = curve(tables, 40)
    twice = replace(twice, gaps=twice.gaps + 1.5 * bump(twice.steps, 700))
    verdict = tables.judge(twice, twice.captures(), {})
    assert verdict.peak == pytest.approx(40, rel=0.3)
    assert verdict.stated == pytest.approx(700, rel=0.3)
    assert tables.told([twice], [verdict])[:2] == ("0 of 1", "1 of 1")


def test_tables_count_what_is_found_and_how_late(tables):
    curves = [curve(tables, centre) for centre in (50, 100, 200)]
    curves += [curve(tables, 100, "a#1"), curve(tables, 1, "b")]
    curves[3].zs[:] = 1.0
    lines = [line.split(" | ") for line in tables.peaks_table(curves)]
    of_setting = next(line for line in lines if line[0] == "| factored, W")
    assert of_setting[1:4] == ["3", "3 of 3", "3 of 3"]
    verdicts = [tables.judge(c, c.captures(), {}) for c in curves[:3]]
    delays = [v.confirmed / c.peak for v, c in zip(verdicts, curves, strict=False)]
    assert of_setting[7].startswith(f"{np.median(delays):.2f} (")
    assert len([line for line in lines if line[0].startswith("| all, W")]) == len(tables.SAMPLES)
    alarms = {line.split(" | ")[0]: line.split(" | ")[1:] for line in tables.alarms_table(curves)}
    assert alarms["| shuffled attributes, W"] == ["1", "1.0", "0", "0", "0", "0 |"]
    assert alarms["| gaps that only fall, or still rise"][0] == "1"


def test_means_are_those_of_the_attributes(tables, tmp_path):
    steps, a, b = np.arange(3), np.array([0.0, 1.0, 2.0]), np.array([2.0, math.nan, 4.0])
    file = tmp_path / "factored-2-0.npz"
    np.savez(
        file,
        **{"steps|W": steps},
        **{f"{m}|W|{n}": v for m in ("gap", "z") for n, v in (("a", a), ("b", b), ("a#1", a))},
    )
    found = {c.attribute: c for c in tables.load(file)}
    assert set(found) == {"a", "b", "a#1", "mean", "mean#1"}
    assert found["mean"].gaps.tolist() == [1.0, 3.0]
    assert found["mean"].steps.tolist() == [0, 2]
    assert found["mean#1"].gaps.tolist() == a.tolist()
    assert found["mean"].setting == "factored"


@pytest.mark.processes
def test_the_example_collects_judges_and_does_not_run_twice(tmp_path):
    arguments = ("--seeds", "0", "--settings", "factored", "plain", "--steps", "160")
    text = scripts.run_smaller("detector", "--out", tmp_path, *arguments)
    assert (tmp_path / "table.md").read_text().strip() in text
    cells = {line.split(" | ")[0]: line.split(" | ")[1:] for line in text.splitlines()}
    assert cells["| factored, W"][:2] == ["4", "4 of 4"]  # a, b, c and their mean
    assert cells["| plain features model"][0] == "8"
    for name in ("| shuffled attributes, W", "| plain features model"):
        assert set(" ".join(cells[name][2:]).split()) == {"0", "|"}
    shares = [float(share) for share in cells["| 2"][:2]]
    assert shares[0] > shares[1] > 0
    before = [file.stat().st_mtime_ns for file in sorted(tmp_path.glob("*.npz"))]
    assert scripts.run_smaller("detector", "--out", tmp_path, *arguments) == text
    assert [file.stat().st_mtime_ns for file in sorted(tmp_path.glob("*.npz"))] == before
