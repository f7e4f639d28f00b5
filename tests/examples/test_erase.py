"""The example that erases an attribute, as a user runs it."""

import pytest

from tests.examples import scripts

CHANCE = {"a": 0.5, "b": 0.25}


@pytest.mark.processes
def test_what_is_erased_is_gone_and_the_other_attribute_stays(tmp_path):
    pytest.importorskip("concept_erasure")
    text = scripts.run("erase", "--seeds", "0", "1", cwd=tmp_path)
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if "|" in line]
    found = {
        tuple(cells[:2]): [float(cell.split()[0]) for cell in cells[2:]] for cells in lines[2:]
    }
    assert len(found) == 6
    for (erased, attribute), (gap, probe, right) in found.items():
        plain_gap, plain_probe, plain_right = found["nothing", attribute]
        if erased == "nothing":
            assert gap > 0.05
            assert probe > CHANCE[attribute] + 0.3
            assert right > CHANCE[attribute] + 0.1
        elif erased == attribute:
            assert abs(gap) < 0.02
            assert probe == pytest.approx(CHANCE[attribute], abs=0.03)
            assert right < plain_right - 0.1
        else:
            assert gap > 0.9 * plain_gap
            assert probe == pytest.approx(plain_probe, abs=0.05)
            assert right == pytest.approx(plain_right, abs=0.1)
