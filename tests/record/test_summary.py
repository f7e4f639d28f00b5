"""What a table of phases says, and what it adds for who reads it."""

from dataclasses import asdict, fields

import pytest

from lightning_semgeom import History, PhaseDetector
from lightning_semgeom.record.record import Milestones, Record
from lightning_semgeom.record.summary import summaries, table_of

RISE_AND_FALL = [0.0, 0.2, 0.4, 0.3, 0.25, 0.2, 0.1, 0.05, 0.05, 0.05, 0.05]


def followed(gaps, zs=None, name="semgeom", folder=None):
    """A history of one attribute, each ten steps, and its phases as they are found."""
    history, detector = History(), PhaseDetector()
    if folder is not None:
        history.open(folder)
    for number, gap in enumerate(gaps):
        z = 100 * gap if zs is None else zs[number]
        detector.update(10 * number, gap, z)
        root = f"{name}_unembedding"
        values = {f"{name}/gap": gap, f"{root}/gap/colour": gap, f"{root}/z/colour": z}
        for milestone in fields(Milestones):
            step = getattr(detector, milestone.name)
            values[f"{root}/{milestone.name}/colour"] = float("nan") if step is None else step
        history.append(Record(10 * number, values))
    return history


def told_below(history, control=None):
    """What follows the rows of its table."""
    lines = [line for line in table_of(history, control).splitlines() if line]
    return lines[3 + len(summaries(history)) + (0 if control is None else 1) :]


@pytest.mark.parametrize(
    ("captures", "gone"),
    [(1, "-"), (5, "still rising"), (9, "not yet"), (11, "80")],
)
def test_the_column_of_when_it_was_gone_says_in_what_state_the_run_left_it(captures, gone):
    history = followed(RISE_AND_FALL[:captures])
    header, _, row = table_of(history).splitlines()[1:4]
    place = header.index(" gone") + len(" gone")
    assert row[:place].endswith(f" {gone}")
    assert "collapse" not in table_of(history)


def test_a_peak_without_a_control_is_told_how_to_measure_one(tmp_path):
    (line,) = told_below(followed(RISE_AND_FALL))
    assert "measure table.shuffled(0) beside these, under the name 'semgeom_control'" in line
    assert told_below(followed(RISE_AND_FALL[:4])) == []  # no peak is confirmed
    flat = followed([0.0] * 11)
    assert told_below(followed(RISE_AND_FALL), flat) == []
    assert told_below(followed(RISE_AND_FALL, name="semgeom_control")) == []


def test_a_control_beside_it_on_disk_is_found(tmp_path):
    history = followed(RISE_AND_FALL, folder=tmp_path / "semgeom")
    assert len(told_below(history)) == 1
    followed([0.0] * 11, name="semgeom_control", folder=tmp_path / "semgeom_control")
    assert told_below(history) == []


def test_an_onset_after_its_peak_is_explained():
    # The gap is largest at once; the averages of z are 4, 6, 7, ...: above 5 from step 20 on.
    gaps = [0.0, 0.4, 0.39, 0.38, 0.3, 0.25, 0.2, 0.15]
    history = followed(gaps, zs=[0.0] + [8.0] * 7)
    found = asdict(history.milestones("unembedding", "colour"))
    assert (found["onset_step"], found["peak_step"]) == (20, 10)
    (line,) = told_below(history, followed([0.0] * 8))
    assert line.startswith("The onset of colour in unembedding comes after the peak.")
    assert "averages over captures" in line
