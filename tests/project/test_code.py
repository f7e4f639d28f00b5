"""The code of each page runs, from top to bottom, with what tests/project/given.py has."""

import pytest

from tests.project.given import GIVEN
from tests.project.pages import LESSONS, PAGES, blocks_of
from tests.warm import ROOT

# These look at what the code of a page finds.
RUN_BY = {
    "README.md": ("tests/project/test_readme.py", "tests/families/test_way_in.py"),
    "docs/how-to/without-lightning.md": ("tests/families/test_way_in.py",),
}


# A Trainer with a logger has its pictures drawn by a process.
TRAINS = {page for page in GIVEN if any("Trainer(" in block for block in blocks_of(page))}
PARAMETERS = [
    pytest.param(page, marks=[pytest.mark.processes] if page in TRAINS else []) for page in GIVEN
]


def ran(page, folder, monkeypatch):
    """The names that its code leaves."""
    monkeypatch.chdir(folder)
    names = {"__name__": page, **GIVEN[page]()}
    for block in blocks_of(page):
        exec(compile(block, page, "exec"), names)
    return names


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.parametrize("page", PARAMETERS)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    assert len(ran(page, tmp_path, monkeypatch)) > len(blocks_of(page))


def test_no_page_has_code_that_nobody_runs():
    with_code = {page for page in PAGES if blocks_of(page)}
    assert with_code == {*LESSONS, *GIVEN, *RUN_BY}
    for page, files in RUN_BY.items():
        assert any(page in (ROOT / file).read_text() for file in files)


def test_the_detector_follows_any_curve_alone(tmp_path, monkeypatch):
    detector = ran("docs/understand/phases.md", tmp_path, monkeypatch)["detector"]
    # Risen at 50; a third of .98 x .4 at 450.
    steps = detector.onset_step, detector.peak_step, detector.collapse_step
    assert (detector.phase.name, *steps) == ("COLLAPSED", 50, 200, 450)


def test_all_phases_of_a_spectrum_are_told(tmp_path, monkeypatch, capsys):
    ran("docs/understand/phases.md", tmp_path, monkeypatch)
    told = [line.split() for line in capsys.readouterr().out.splitlines()[-3:]]
    names = ["WARM_UP", "ENTROPY_SEEKING", "COMPRESSION_SEEKING"]
    assert [(name, int(step)) for name, step, _ in told] == [*zip(names, (0, 50, 120), strict=True)]
