"""The example that predicts an order, and what it has left in its tables."""

import pytest

from tests.examples import scripts
from tests.examples.test_stdlib_lm import TEXT

TABLES = scripts.FOLDER / "tables"


@pytest.fixture
def script(imported):
    return imported("predicted_order")


def test_the_settings_are_as_the_table_that_was_kept_has_them(script):
    kept = (TABLES / "predicted_order.md").read_text()
    tables = script.settings_table(range(5)), script.learned_table(range(5))
    assert kept.startswith("\n\n".join(map("\n".join, tables)))


@pytest.mark.parametrize("name", ["", "_text"])
def test_what_was_measured_is_that_of_the_runs_and_ranks_agree_as_they_are_told(script, name):
    measured = script.rows_of(TABLES / f"stdlib_lm{name}.md")
    rows = script.rows_of(TABLES / f"predicted_order{name}.md")
    start = next(k for k, row in enumerate(rows) if row[0] == "in the unembedding")
    end = next(k for k, row in enumerate(rows) if row[0].startswith("rank correlation with the on"))
    lines = rows[start + 1 : end]
    assert len(lines) == 7
    assert all(any(row[:3] == line[:3] for row in measured) for line in lines)
    for column, told in enumerate(rows[end][3:], start=3):
        places = [float(line[column].split()[-1]) for line in lines]
        ranks = [script.number(line[2]) for line in lines]
        assert script.correlation(ranks, places) == told


@pytest.mark.processes
def test_another_text_has_a_line_for_each_attribute(tmp_path):
    text = tmp_path / "text.py"
    text.write_text(TEXT)
    arguments = ("--quick", "--steps", "20", "--text", text, "--out", tmp_path / "runs")
    told = scripts.run_smaller("predicted_order", *arguments)
    assert (tmp_path / "runs/table.md").read_text().strip() in told
    lines = scripts.rows_of(told)
    strengths = [line for line in lines if "chance" in line[-1]]
    assert strengths[0][0] == "frequency"
    assert {"space", "length"} <= {line[0] for line in strengths}
    places = sorted(int(line[-1].split()[-1].rstrip(".")) for line in strengths)
    assert places == [*range(1, len(strengths) + 1)]
    # Frequent tokens follow more of what stands anywhere before.
    assert float(strengths[0][-1].split()[1]) > 2
    measured = tmp_path / "none.md"
    measured.write_text("| space | 1 |\n")
    with pytest.raises(
        AssertionError, match=r"has no onset of .*length.*: give --measured a table"
    ):
        scripts.run_smaller("predicted_order", *arguments, "--measured", measured)
