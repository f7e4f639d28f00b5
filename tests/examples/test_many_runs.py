"""What the example scripts share."""

import pytest


@pytest.fixture
def many_runs(imported):
    return imported("many_runs")


def test_the_interval_is_students_over_seeds(many_runs):
    assert many_runs.paired_difference([0.5, 0.7], [0.1, 0.1]) == "+0.50 ± 1.27"
    assert many_runs.paired_difference([0.5], [0.1]) == "+0.40"
    assert many_runs.paired_difference([0.1, 0.1], [0.1, 0.1], 3) == "+0.000 ± 0.000"


def test_a_spread_is_median_and_range(many_runs):
    assert many_runs.spread([3, 1, 2]) == "2.00 (1.00 to 3.00)"
    assert many_runs.spread([-0.001, 0.0, 7], 1) == "0.0 (0.0 to 7.0)"


def test_a_table_has_its_head_and_lines(many_runs):
    assert many_runs.markdown(["a", "b"], [["1", "2"]]) == ["| a | b |", "|---|---|", "| 1 | 2 |"]
