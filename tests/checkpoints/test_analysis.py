import math
import sys
import warnings
from pathlib import Path

import lightning.pytorch as pl
import pandas
import pytest
import torch
import torch.distributed.checkpoint as dcp
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from lightning_semgeom import AttributeTable, History, SemanticGeometry, analyze
from lightning_semgeom.checkpoints.analysis import analyze_with
from lightning_semgeom.checkpoints.given import GivenSteps
from lightning_semgeom.checkpoints.runs import find_checkpoints
from lightning_semgeom.record.keys import metric_keys
from tests import models
from tests.checkpoints.files import head, save


def assert_agree(ours, live, keys=None):
    """All figures of records of the same step are the same to 1e-6; answers with the steps."""
    by_step = {record.step: record.values for record in live}
    for record in ours:
        expected = by_step[record.step]
        assert record.values.keys() == expected.keys()
        chosen = expected.keys() if keys is None else keys
        found = {key: record.values[key] for key in chosen}
        expected = {key: expected[key] for key in chosen}
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True)
    return [record.step for record in ours]


def test_the_checkpoints_of_a_live_run_give_its_figures(tmp_path):
    table = AttributeTable(models.table().codes[:-2], *parts(models.table()))  # the rest is padding
    semgeom = SemanticGeometry(table, every_n_steps=1, growth=None)
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1, save_last=True)
    trainer = models.trainer(tmp_path, semgeom, saving, enable_checkpointing=True)
    trainer.fit(models.TinyModel(), models.batches())
    keys = [f"semgeom_unembedding/{key}" for key in metric_keys(table.names)]
    keys += [f"semgeom/{key}" for key in ("gap", "z", "asymmetry")]
    # last.ckpt is a copy of the one of step 18.
    assert len(list(tmp_path.glob("*.ckpt"))) == 7
    history = analyze(tmp_path, table)
    assert assert_agree(history, semgeom.history, keys) == [3, 6, 9, 12, 15, 18]


def parts(table):
    return table.names, table.values


class SaveAtCaptures(pl.Callback):
    """Saves a checkpoint wherever the callback before it has recorded."""

    def __init__(self, semgeom, folder):
        self.semgeom, self.folder, self.saved = semgeom, folder, set()

    def save(self, trainer):
        step = self.semgeom.history.records[-1].step
        if step not in self.saved:
            self.saved.add(step)
            trainer.save_checkpoint(self.folder / f"step={step}.ckpt")

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.save(trainer)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.save(trainer)


def test_phases_and_milestones_are_a_live_run_s_where_all_its_captures_were_saved(tmp_path):
    table = models.StagedModel.table()
    semgeom = SemanticGeometry(table, every_n_steps=50)
    trainer = models.trainer(
        tmp_path,
        semgeom,
        SaveAtCaptures(semgeom, tmp_path),
        max_steps=60,  # the structure is gone by 46
        enable_checkpointing=True,
    )
    trainer.fit(models.StagedModel(), DataLoader(torch.zeros(60)))
    history = analyze(tmp_path, table, folder=tmp_path / "semgeom_again")
    assert assert_agree(history, semgeom.history) == [r.step for r in semgeom.history]
    milestones = history.milestones("unembedding", "colour")
    assert milestones == semgeom.history.milestones("unembedding", "colour")
    assert None not in vars(milestones).values()
    live = History.load(tmp_path / "semgeom")
    for step in live.picture_steps("unembedding"):
        ours, theirs = (h.picture("unembedding", step) for h in (history, live))
        assert ours.gram == pytest.approx(theirs.gram, abs=1e-6)
        assert ours.labels.tolist() == theirs.labels.tolist()


def test_history_and_pictures_are_written_and_what_was_there_is_put_aside(tmp_path):
    save(tmp_path / "run/step-5.pt", head(5))
    out = tmp_path / "out"
    assert analyze(tmp_path / "run", models.table()).folder is None
    assert not out.exists()
    for number in range(2):
        save(tmp_path / f"run/step-{number}.pt", head(number))
        history = analyze(str(tmp_path / "run"), models.table(), folder=str(out))
        assert [record.step for record in History.load(out)] == [*range(number + 1), 5]
        assert history.picture_steps("unembedding") == [*range(number + 1), 5]
    assert len(History.load(out / "earlier.1")) == 2


def test_several_tables_are_measured_with_one_reading(tmp_path, monkeypatch):
    save(tmp_path / "step-1.pt")
    load, read = torch.load, []
    monkeypatch.setattr(torch, "load", lambda *a, **options: read.append(a) or load(*a, **options))
    tables = {"one": models.table(), "two": models.table().shuffled(0)}
    checkpoints, folders = find_checkpoints([tmp_path]), {"two": tmp_path / "two"}
    found = analyze_with(checkpoints, tables, None, folders, GivenSteps({}))
    assert len(read) == 1
    for name, history in found.histories.items():
        assert history.keys[0] == f"{name}/gap"
    assert (tmp_path / "two/history.jsonl").is_file()
    assert not (tmp_path / "one").exists()


def test_each_faulty_file_is_one_warning_with_its_path_and_the_rest_goes_on(tmp_path):
    weight = save(tmp_path / "step-1.ckpt")
    whole = (tmp_path / "step-1.ckpt").read_bytes()
    (tmp_path / "step-2.ckpt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "step-3.ckpt").write_text("some text")
    save_file({"lm_head.weight": weight}, tmp_path / "step-4.safetensors")
    whole = (tmp_path / "step-4.safetensors").read_bytes()
    (tmp_path / "step-4.safetensors").write_bytes(whole[:-10])
    (tmp_path / "step-5.safetensors").write_bytes(b"")
    for step, index in (
        (6, '{"weight_map": {"lm_head.weight": "model-1-of-2.safetensors"}}'),
        (7, "{"),
        (8, "[]"),
        (16, '{"weight_map": {"lm_head.weight": ["a"]}}'),
        (17, '{"weight_map": {"lm_head.weight": "a.bin", "wte.weight": "a.bin"}}'),
    ):
        (tmp_path / f"step-{step}").mkdir()
        (tmp_path / f"step-{step}/model.safetensors.index.json").write_text(index)
    save(tmp_path / "step-17/a.bin")
    save_script(tmp_path / "step-18.pt")
    torch.save({"state_dict": {"body.weight": weight}}, tmp_path / "step-9.pt")
    torch.save([1, 2], tmp_path / "step-10.pt")
    old = {"_use_new_zipfile_serialization": False}
    torch.save({"lm_head.weight": weight}, tmp_path / "step-11.pt", **old)
    save(tmp_path / "step-12.pt", weight.to(torch.int8))
    save(tmp_path / "stepless.pt")
    (tmp_path / "step-13").mkdir()
    (tmp_path / "step-13/.metadata").write_bytes(b"\x80\x04")
    save(tmp_path / "step-14.pt", torch.full_like(weight, math.nan))
    save(tmp_path / "step-15.pt", weight.to(torch.bfloat16))
    with pytest.warns(UserWarning, match="step") as warned:
        history = analyze(tmp_path, models.table())
    assert [record.step for record in history] == [1, 14, 15]
    told = {}
    for warning in warned:
        path, _, reason = str(warning.message).partition(": ")
        told[path.removeprefix(f"{tmp_path}/")] = reason
        assert "\n" not in reason
    expected = {
        "stepless.pt": "it tells no step, neither by its name nor inside.",
        "step-2.ckpt": "it is cut or damaged (PytorchStreamReader failed",
        "step-3.ckpt": "it is no file of torch.save; it begins with b'some tex'.",
        "step-4.safetensors": "it is cut or no safetensors file (it has 454 of 464 bytes).",
        "step-5.safetensors": "it is empty (0 bytes): save, copy or download it again.",
        "step-6": "its 'model.safetensors.index.json' names the shard 'model-1-of-2",
        "step-7": "its 'model.safetensors.index.json' is no JSON (",
        "step-8": "its 'model.safetensors.index.json' has no weight_map.",
        "step-16": "its 'model.safetensors.index.json' gives ['a'] for 'lm_head.weight'; expected",
        "step-17": "its 'model.safetensors.index.json' says that 'wte.weight' is in the shard "
        "'a.bin', which lacks it.",
        "step-18.pt": "it is a TorchScript archive; save the state dict instead",
        "step-9.pt": "no tensor was found for the 12 rows of the attribute table",
        "step-10.pt": "it has no tensors: expected a state dict, or one under 'state_dict'",
        "step-11.pt": "it has the format of torch before 1.6",
        "step-12.pt": "'lm_head.weight' is torch.int8; expected floats",
        "step-13": "its '.metadata' is cut or damaged (",
        "step-14.pt": "figures are missing. 12 of 12 rows are NaN or infinite.",
    }
    assert told.keys() == expected.keys()
    for name, reason in expected.items():
        assert told[name].startswith(reason), told[name]


def save_script(file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is on its way out
        torch.jit.script(torch.nn.Linear(8, 12)).save(file)


def test_where_nothing_can_be_measured_the_error_has_the_reasons(tmp_path):
    for step in range(5):
        (tmp_path / f"step-{step}.ckpt").write_text("text")
    with pytest.raises(ValueError, match=r"no checkpoint could be .*step-0.*step-2.* And 2 more."):
        analyze(tmp_path, models.table(), folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("tokens.csv", r"got a str: AttributeTable.from_file\('tokens.csv'\)"),
        (Path("tokens.csv"), r"got a PosixPath: AttributeTable.from_file\('tokens.csv'\)"),
        (list("rrbb"), r"got a list: AttributeTable.from_dict\({'colour': \['red', "),
        (None, r"got a NoneType: AttributeTable.from_dict\({'colour': \['red', "),
    ],
)
def test_attributes_that_are_no_table_are_told_how_to_become_one(tmp_path, attributes, message):
    save(tmp_path / "step-1.pt")
    told = f"analyze: attributes is an AttributeTable, or a dict with a list .*; {message}"
    with pytest.raises(ValueError, match=told):
        analyze(tmp_path, attributes)


@pytest.mark.parametrize("kind", [dict, pandas.DataFrame])
def test_of_a_dict_of_lists_and_of_a_frame_a_table_is_made(tmp_path, kind):
    save(tmp_path / "step-1.pt")
    columns = {"colour": list("rrbbrrbbrrbb")}
    found = analyze(tmp_path, kind(columns)).records[0].values
    expected = analyze(tmp_path, AttributeTable.from_dict(columns)).records[0].values
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("second", [{"lm_head.weight": head(1)}, {"body.weight": torch.ones(3, 3)}])
def test_files_of_one_step_that_differ_in_the_last_number_may_be_parts(tmp_path, second):
    for step in (1, 2):
        save(tmp_path / f"step-{step}/model_00001.pt")
    torch.save(second, tmp_path / "step-2/model_00002.pt")
    if "lm_head.weight" in second:
        with pytest.raises(ValueError, match=r"both are of step 2.* parts of one checkpoint: if"):
            analyze(tmp_path, models.table())
        return
    with pytest.warns(UserWarning, match="step-2/model_0000") as warned:
        history = analyze(tmp_path, models.table())
    assert [record.step for record in history] == [1]
    assert "model_00002.pt: no tensor was found" in str(warned[0].message)
    assert "model_00001.pt: it is not measured without the others" in str(warned[1].message)


def test_copies_that_differ_in_the_last_number_count_once(tmp_path):
    for number in range(3):
        save(tmp_path / f"step-2/model_{number}.pt")
    assert [record.step for record in analyze(tmp_path, models.table())] == [2]


def test_a_second_version_by_lightning_is_no_second_part(tmp_path):
    save(tmp_path / "step=2-v1.ckpt")
    (tmp_path / "step=2-v2.ckpt").write_text("text")
    with pytest.warns(UserWarning, match="v2.ckpt: it is no file of torch.save"):
        assert len(analyze(tmp_path, models.table())) == 1


def test_no_path_at_all_is_an_error():
    with pytest.raises(ValueError, match="paths is empty: give checkpoints"):
        analyze([], models.table())


def test_a_table_longer_than_the_weight_says_both_numbers(tmp_path):
    save(tmp_path / "step-0.pt")
    table = AttributeTable.from_dict({"colour": list("rb") * 10})
    with pytest.raises(ValueError, match=r"table has 20 rows, but 'lm_head.weight' has only 12"):
        analyze(tmp_path, table, tensor="lm_head")
    with pytest.raises(ValueError, match=r"the 20 rows of the .*'lm_head.weight' \[12, 8\]"):
        analyze(tmp_path, table)


def test_two_different_checkpoints_of_one_step_are_refused_and_copies_count_once(tmp_path):
    weight = head()
    weight[0] = math.nan  # as in a run that went wrong: NaN, and still the same
    for name in ("a/step-1.pt", "b/step-1.pt"):
        save(tmp_path / name, weight)
    with pytest.warns(UserWarning, match=r"a/step-1.pt: figures are missing. 1 of 12 rows are NaN"):
        assert len(analyze(tmp_path, models.table())) == 1
    save(tmp_path / "b/step-1.pt", head(1))
    with pytest.raises(ValueError, match=r"'.*a/step-1.pt' and '.*b/step-1.pt' differ, and both"):
        analyze([tmp_path / "a", tmp_path / "b"], models.table())


@pytest.mark.parametrize("broken", ["a", "b"])
def test_of_two_checkpoints_of_one_step_the_one_that_can_be_read_is_taken(tmp_path, broken):
    for name in ("a", "b"):
        save(tmp_path / f"{name}/step-1.pt")
    (tmp_path / f"{broken}/step-1.pt").write_text("text")
    with pytest.warns(UserWarning, match=f"{broken}/step-1.pt: it is no file of torch.save"):
        assert len(analyze(tmp_path, models.table())) == 1


def test_a_package_that_is_missing_is_no_fault_of_the_file(tmp_path, monkeypatch):
    save_file({"lm_head.weight": head()}, tmp_path / "step-1.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ModuleNotFoundError, match="safetensors"):
        analyze(tmp_path, models.table())


def test_a_missing_or_cut_shard_is_told(tmp_path):
    folder = tmp_path / "step-1"
    with pytest.warns(UserWarning, match="intent is to save in a single process"):
        dcp.save({"lm_head.weight": head()}, checkpoint_id=folder, no_dist=True)
    (shard,) = folder.glob("*.distcp")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"step-1: a shard is cut or damaged \("):
        analyze(folder, models.table())
    shard.unlink()
    with pytest.raises(ValueError, match=r"step-1: its shard '.*distcp' is not there"):
        analyze(folder, models.table())
