"""The example that reads the checkpoints of a run, as a user does."""

import pytest

from tests.examples import scripts


def tables(text):
    """Each table as {step: {column: cell}}."""
    found = []
    for table in text.strip().split("\n\n"):
        head, _, *lines = (
            [cell.strip() for cell in row.split("|")[1:-1]] for row in table.split("\n")
        )
        found.append({line[0]: dict(zip(head[1:], line[1:], strict=True)) for line in lines})
    return found


def number(cell):
    return float(cell.split()[0])


@pytest.mark.processes
def test_directions_form_from_checkpoint_to_checkpoint(tmp_path):
    options = ("--steps", "50", "--every", "10", "--seeds", "0", "1")
    text = scripts.run("directions", "--out", tmp_path, *options)
    figures, nearest = tables(text)
    assert list(figures) == list(nearest) == ["10", "20", "40", "50"]
    for attribute in "ab":
        before, later = (number(figures[step][f"explained: {attribute}"]) for step in ("10", "40"))
        assert before < 0.02
        assert later > 0.03
        assert figures["50"][f"cosine with the last: {attribute}"] == "+0.00 ± 0.00"
        assert number(figures["40"][f"nearest right: {attribute}"]) > 0.3
    assert number(figures["40"]["orthants' AMI: b"]) > 0.15
    # Rows whose labels the direction has not seen: as by chance at first, then those of the value.
    of_value = {
        step: sum(name.startswith("0") for name in line["nearest to a = 0"].split())
        for step, line in nearest.items()
    }
    assert of_value["10"] <= 4
    assert of_value["40"] >= 5
    files = sorted(tmp_path.glob("*/*.ckpt"))
    assert len(files) == 2 * 5
    before = [file.stat().st_mtime_ns for file in files]
    assert scripts.run("directions", "--out", tmp_path, *options) == text
    assert [file.stat().st_mtime_ns for file in files] == before
