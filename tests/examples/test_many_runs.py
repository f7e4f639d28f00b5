"""What the example scripts share."""

import os
from multiprocessing import resource_tracker, spawn
from pathlib import Path

import pytest

from tests import warm


@pytest.fixture
def many_runs(imported):
    return imported("many_runs")


def test_the_interval_is_students_over_seeds(many_runs):
    assert many_runs.paired_difference([0.5, 0.7], [0.1, 0.1]) == "+0.50 ± 1.27"
    assert many_runs.paired_difference([0.5], [0.1]) == "+0.40"
    assert many_runs.paired_difference([0.1, 0.1], [0.1, 0.1], 3) == "+0.000 ± 0.000"


def test_a_spread_is_median_and_range(many_runs):
    assert many_runs.spread([3, 1, 2]) == "2.00 (1.00 to 3.00)"
    assert many_runs.spread([3]) == "3.00"
    assert many_runs.spread([-0.001, 0.0, 7], 1) == "0.0 (0.0 to 7.0)"


def test_a_table_has_its_head_and_lines(many_runs):
    assert many_runs.markdown(["a", "b"], [["1", "2"]]) == ["| a | b |", "|---|---|", "| 1 | 2 |"]


def test_scripts_are_asked_alike(many_runs):
    parser = many_runs.parser_of("What it does.\n\nMore.", "name", ("one", "two"), seeds=(3, 4))
    options = parser.parse_args([])
    assert (options.settings, options.seeds, options.steps) == (["one", "two"], [3, 4], None)
    assert options.out == Path("runs/name")
    assert "What it does." in parser.format_help()
    assert "More." not in parser.format_help()
    plain = many_runs.parser_of("What.", "name", steps=60)
    assert "--settings" not in plain.format_help()
    assert "(default: 60)" in plain.format_help()
    assert (plain.parse_args([]).steps, plain.parse_args(["--steps", "7"]).steps) == (60, 7)


def test_what_was_found_is_left_and_told(many_runs, tmp_path, capsys):
    many_runs.tell("| a |\n| 1 |", tmp_path, tmp_path / "a.png")
    assert (tmp_path / "table.md").read_text() == "| a |\n| 1 |\n"
    assert capsys.readouterr().out == f"| a |\n| 1 |\n\n{tmp_path}/table.md\n{tmp_path}/a.png\n"


def leave(text, file):
    file.write_text(text)


@pytest.mark.processes
def test_what_is_there_is_not_run_again(many_runs, tmp_path, monkeypatch):
    resource_tracker.ensure_running()  # it outlives this test, and so what is warm
    monkeypatch.setattr(spawn, "_python_exe", os.fsencode(warm.executable()))
    (tmp_path / "there").write_text("before")
    jobs = [("now", tmp_path / name) for name in ("there", "folder/new", "folder/other")]
    many_runs.run_all(leave, jobs)
    assert [file.read_text() for _, file in jobs] == ["before", "now", "now"]
    many_runs.run_all(None, jobs)  # nothing is left to do
