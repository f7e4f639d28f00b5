"""The example that erases an attribute, as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "examples/erase.py"
CHANCE = {"a": 0.5, "b": 0.25}


@pytest.mark.processes
def test_what_is_erased_is_gone_and_the_other_attribute_stays(tmp_path):
    pytest.importorskip("concept_erasure")
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--seeds", "0", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "|" in line]
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
