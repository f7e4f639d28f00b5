"""Steps that a user chooses, of those that there are."""

import re

import pytest

from lightning_semgeom import analyze
from lightning_semgeom.checkpoints.chosen import ChosenSteps
from tests import models
from tests.checkpoints.files import head, save

PYTHIA = [0, *(2**k for k in range(10)), *range(1000, 144_000, 1000)]


def chosen(text, steps=PYTHIA):
    found, lacking = ChosenSteps(text).of(steps)
    return sorted(found), lacking


def test_a_range_has_both_ends_and_a_number_after_it_counts_those_that_there_are():
    steps, lacking = chosen("0:512,1000:143000:10")
    assert steps == [*PYTHIA[:11], *range(1000, 144_000, 10_000)]
    assert len(steps) == 26
    assert not lacking


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("4", [4]),
        ("4, 1000", [4, 1000]),
        (":2", [0, 1, 2]),
        ("142000:", [142_000, 143_000]),
        ("::77", [0, 67_000]),
        ("3:9", [4, 8]),
        ("8:4000:2", [8, 32, 128, 512, 2000, 4000]),
        ("4:4,4", [4]),
    ],
)
def test_what_each_form_chooses(text, steps):
    assert chosen(text) == (steps, [])


def test_what_is_not_there_is_told_with_what_is_nearest():
    steps, lacking = chosen("3,512,600:900")
    assert steps == [512]
    assert lacking == [
        "step 3 is not there; the nearest to 3 is 2.",
        "no step of 600:900 is there; the nearest to 600 is 512.",
    ]
    with pytest.raises(ValueError, match=r"^steps: step 5 is not there; .*There are steps 2 and 4"):
        chosen("5", [2, 4])


@pytest.mark.parametrize("text", ["", "a", "1:2:3:4", "1-5", "1,,2", "-1", "1:2:0", "9:3"])
def test_a_text_that_chooses_nothing_is_told_with_the_form(text):
    with pytest.raises(ValueError, match="expected parts joined by commas: 1000 is one step"):
        ChosenSteps(text)


def test_of_checkpoints_on_a_disk_those_are_read(tmp_path):
    for step in (0, 10, 20, 30):
        save(tmp_path / f"step={step}.ckpt", head(step))
    (tmp_path / "step=20.ckpt").write_text("cut, but not looked at")
    history = analyze(tmp_path, models.table(), steps="0,30")
    assert [record.step for record in history] == [0, 30]
    with pytest.warns(UserWarning, match=re.escape("step 7 is not there; the nearest to 7 is 10.")):
        analyze(tmp_path, models.table(), steps="7,30")
