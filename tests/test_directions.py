"""The example that reads the checkpoints of a run, as a user does."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "examples/directions.py"


def run(folder, *arguments):
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--out", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def tables(text):
    """Each table as {step: {column: cell}}."""
    found = []
    for table in text.strip().split("\n\n"):
        head, _, *lines = (
            [cell.strip() for cell in row.split("|")[1:-1]] for row in table.split("\n")
        )
        found.append({line[0]: dict(zip(head[1:], line[1:], strict=True)) for line in lines})
    return found


def real_and_control(cell):
    return (float(part.strip("()")) for part in cell.split())


@pytest.mark.processes
def test_directions_form_from_checkpoint_to_checkpoint(tmp_path):
    options = ("--steps", "50", "--every", "10")
    text = run(tmp_path, *options)
    figures, nearest = tables(text)
    assert list(figures) == list(nearest) == ["10", "20", "40", "50"]
    for attribute in "ab":
        before, _ = real_and_control(figures["10"][f"explained: {attribute}"])
        share, control = real_and_control(figures["40"][f"explained: {attribute}"])
        assert share > 3 * before
        assert share > 3 * control
        assert figures["50"][f"cosine with the last: {attribute}"] == "1.00 (1.00)"
    agreement, control = real_and_control(figures["40"]["orthants' AMI: b"])
    assert agreement > 0.2 > control
    # Rows whose labels the direction has not seen: as by chance at first, then those of the value.
    of_value = {
        step: sum(name.startswith("0") for name in line["nearest to a = 0"].split())
        for step, line in nearest.items()
    }
    assert of_value["10"] <= 4
    assert of_value["40"] >= 5
    # Run again into the same folder, it reads its own checkpoints.
    assert run(tmp_path, *options) == text
    assert len(list(tmp_path.glob("*.ckpt"))) == 5
