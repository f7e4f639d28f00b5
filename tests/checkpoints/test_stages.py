"""Stages of training that count their steps anew are runs of their own."""

from collections import Counter
from pathlib import Path

import pytest

from lightning_semgeom import History, analyze
from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.given import GivenSteps
from lightning_semgeom.checkpoints.runs import find_checkpoints
from lightning_semgeom.checkpoints.stages import restarted_stages
from lightning_semgeom.commands.cli import main
from tests import models
from tests.checkpoints.files import head, save, save_colours

RESTARTED = ("stage1-step1000-tokens2B", "stage1-step2000-tokens4B", "stage2-ingredient1-step1000")


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("stage1-step1000-tokens2B.pt", "stage1"),
        ("stage2-ingredient3-step11931-tokens50B/model.safetensors", "stage2-ingredient3"),
        ("stage1-step-40000/model.safetensors", "stage1"),
        ("Stage_2/run-7/step-10.pt", "Stage_2/run-7"),
        ("x/stage3/step-10.pt", "stage3"),
        ("backstage1-step10.pt", None),
        ("step-10/stage2.pt", None),
        ("step10.pt", None),
        ("stage1/last.pt", None),
    ],
)
def test_a_stage_is_told_before_the_step(name, stage):
    assert Checkpoint(Path("run") / name, Path("run")).stage() == stage


def saved(folder, names):
    return {name: save(folder / f"{name}.pt", head(seed)) for seed, name in enumerate(names)}


def test_stages_that_count_anew_are_refused_as_one_run_and_named(tmp_path):
    saved(tmp_path, RESTARTED)
    message = (
        r"several runs, .*: 'stage1' with 2, as '.*stage1-step1000-tokens2B.pt'; "
        r"'stage2-ingredient1' with 1, as '.*'\. Give those of one"
    )
    with pytest.raises(ValueError, match=message):
        analyze(tmp_path, models.table())
    assert len(analyze([*tmp_path.glob("stage1*")], models.table())) == 2


def test_stages_that_go_on_counting_are_one_run(tmp_path):
    saved(tmp_path, ["stage1-step-10", "stage1-step-20", "stage2-step-30"])
    assert not restarted_stages(find_checkpoints([tmp_path]), GivenSteps({}))
    assert [record.step for record in analyze(tmp_path, models.table())] == [10, 20, 30]


def test_with_a_checkpoint_of_no_stage_that_has_a_step_they_are_one_run_as_before(tmp_path):
    saved(tmp_path, [*RESTARTED, "step-5"])
    assert not restarted_stages(find_checkpoints([tmp_path]), GivenSteps({}))


@pytest.mark.parametrize("broken", [None, "stage1", "stage2"])
def test_the_command_measures_each_stage_as_a_run_of_its_own(tmp_path, capsys, broken, monkeypatch):
    plain = Path.iterdir
    run, table, out = tmp_path / "run", tmp_path / "colours.csv", tmp_path / "out"
    saved(run, [*RESTARTED, "stage2-ingredient1-step3000"])
    save(run / "main.pt")  # the newest of all, without a step
    save_colours(table)
    for file in run.glob(f"{broken}*"):
        file.write_text("text")
    listed = Counter()
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.update([path]) or plain(path))
    code = main(["analyze", str(run), "--attributes", str(table), "--out", str(out)])
    assert listed[run] == 1  # it is searched once for all stages
    told = capsys.readouterr()
    assert code == 1  # of main.pt, which is left out
    assert told.err.count("main.pt: it tells no step") == 1
    expected = {"stage1": [1000, 2000], "stage2-ingredient1": [1000, 3000]}
    for stage, steps in expected.items():
        if broken and stage.startswith(broken):
            assert f"{stage}: no checkpoint could be measured" in told.err
            continue
        assert f"\n{stage}:\n" in told.out
        history = History.load(out / stage / "semgeom")
        assert [record.step for record in history] == steps
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all((stage in page) is not (broken and stage.startswith(broken)) for stage in expected)
