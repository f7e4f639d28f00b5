"""The example that runs all settings, as a user does: a table, a figure, and nothing twice."""

import matplotlib.image
import pytest

from tests.examples import scripts


@pytest.mark.processes
def test_each_setting_has_its_line_and_a_finished_run_is_not_run_again(tmp_path):
    arguments = ("--seeds", "0", "--steps", "130", "--settings", "factored", "preconditioned")
    table = scripts.run("transience", "--out", tmp_path, *arguments)
    assert (tmp_path / "table.md").read_text().strip() in table
    lines = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    cells = {line[0].removeprefix("| "): line[1:] for line in reversed(lines)}
    peak, step, ratio, end = (float(cells["S1 factored"][k].split()[0]) for k in range(4))
    assert 0.15 < peak < 0.35
    assert 25 <= step <= 65
    assert 0.7 < ratio < 1.3
    assert end < peak
    assert cells["S1 factored"][-1].startswith("0 of 6")
    # The kernel's eigenvalues order the attributes, in the formula and in the run.
    predicted = [int(cells[a][1]) for a in "abc"]
    measured = [int(cells[a][2].split()[0]) for a in "abc"]
    assert predicted == sorted(predicted)
    assert measured == pytest.approx(predicted, rel=0.1)
    assert matplotlib.image.imread(tmp_path / "transience.png").std() > 0.05
    files = sorted(tmp_path.glob("*/semgeom/history.jsonl"))
    assert len(files) == 2
    before = [file.stat().st_mtime_ns for file in files]
    assert scripts.run("transience", "--out", tmp_path, *arguments) == table
    assert [file.stat().st_mtime_ns for file in files] == before
