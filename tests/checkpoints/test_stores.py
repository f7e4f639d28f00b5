"""Checkpoints in object stores: found as on a disk, and of each the rows alone are fetched."""

import warnings

import fsspec
import pytest
import torch
import torch.distributed.checkpoint as dcp
from s3fs import S3File
from safetensors.torch import save_file
from upath import UPath

from lightning_semgeom import analyze
from lightning_semgeom.checkpoints.pickled import open_pickled
from lightning_semgeom.checkpoints.safetensors import open_safetensors
from lightning_semgeom.checkpoints.tensors import CheckpointError
from lightning_semgeom.commands.cli import main
from lightning_semgeom.stores import place
from tests import models
from tests.checkpoints.files import head, save, save_colours

BODY = {"body.weight": torch.randn(500, 500), "scale": torch.tensor(2.0)}  # a megabyte


@pytest.fixture(params=["memory", "s3"])
def store(request):
    """The address of an empty folder in a store, and that store."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    found = fsspec.filesystem(request.param)
    if request.param == "memory":
        found.store.clear()
    return f"{request.param}://bucket/run", found


def figures(history):
    return [(record.step, dict(record.values)) for record in history]


def put(folder, store):
    address, found = store
    found.put(str(folder), address, recursive=True)
    found.invalidate_cache()
    return address


def local_run(folder):
    """Checkpoints of several kinds, a step each."""
    for step in (1, 2):
        save(folder / f"epoch=0-step={step}.ckpt", head(step), global_step=step)
    save_file({"lm_head.weight": head(3), **BODY}, folder / "step-3.safetensors")
    (folder / "checkpoint-4").mkdir()
    save_file({"lm_head.weight": head(4), **BODY}, folder / "checkpoint-4/model.safetensors")
    wide = torch.randn(models.TOKENS, 2 * models.WIDTH)[:, ::2]  # with steps in memory
    torch.save({"lm_head.weight": wide, **BODY}, folder / "step-5.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"lm_head.weight": head(6)}, checkpoint_id=folder / "step-6", no_dist=True)
    return folder


def test_a_run_in_a_store_is_measured_as_one_on_a_disk(tmp_path, store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = local_run(tmp_path / "run")
    there = analyze(put(run, store), models.table())
    here = analyze(run, models.table())
    assert [record.step for record in here] == [1, 2, 3, 4, 5, 6]
    assert repr(figures(there)) == repr(figures(here))
    one = analyze(f"{store[0]}/step-3.safetensors", models.table())
    alone = analyze(run / "step-3.safetensors", models.table())
    assert repr(figures(one)) == repr(figures(alone))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # no folder `s3:`


@pytest.mark.parametrize("name", ["step-1.safetensors", "step-1.pt"])
def test_no_more_than_header_and_rows_are_fetched(tmp_path, store, name, monkeypatch):
    tensors = {**BODY, "lm_head.weight": head(rows=4000), "z.weight": torch.randn(500, 500)}
    file = tmp_path / "run" / name
    file.parent.mkdir()
    (save_file if name.endswith("safetensors") else torch.save)(tensors, file)
    address, found = put(file.parent, store), store[1]
    fetched: list[int] = []

    def counted(plain):
        def fetch(*arguments, **named):
            data = plain(*arguments, **named)
            fetched.append(len(data))
            return data

        return fetch

    monkeypatch.setattr(found, "cat_file", counted(found.cat_file))
    monkeypatch.setattr(S3File, "_fetch_range", counted(S3File._fetch_range))
    assert len(analyze(address, models.table())) == 1
    rows, pieces = models.TOKENS * models.WIDTH * 4, 4 << 16  # of the pickle and of what is where
    most = rows + 3000 + (pieces if name.endswith(".pt") else 0)
    assert rows <= sum(fetched) < most < file.stat().st_size / 7


@pytest.mark.parametrize("step_in_memory", [1, 2])
def test_tensors_of_any_shape_are_read_by_ranges(store, step_in_memory):
    whole = torch.arange(60, dtype=torch.bfloat16).view(10, 6)
    tensors = {
        "a": whole[3:, ::step_in_memory],
        "t": whole.t(),
        "s": torch.tensor(3),
        "e": whole[:0],
    }
    file = place(f"{store[0]}/x.pt")
    with file.open("wb") as opened:
        torch.save(tensors, opened)
    found = open_pickled(file)
    assert found.shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name, rows in (("a", 7), ("a", 2), ("t", 6), ("t", 1), ("e", 0)):
        assert torch.equal(found.read(name, rows), tensors[name][:rows])
    assert found.read("s", None) == 3
    assert torch.equal(found.read("a", None), tensors["a"])


def test_what_is_cut_foreign_or_dangerous_is_told_as_on_a_disk(tmp_path, store):
    run = tmp_path / "run"
    save(run / "step-1.pt")
    save_file({"lm_head.weight": head(), **BODY}, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    (run / "step-2.safetensors").write_bytes(whole[:-10])
    (run / "step-3.safetensors").write_bytes(b"\xff" * 600)
    (run / "step-4.pt").write_bytes((run / "step-1.pt").read_bytes()[:-100])
    (run / "step-5.pt").write_text("text")
    (run / "step-6.pt").write_bytes(b"")
    torch.save({"lm_head.weight": head(), "x": pytest.approx(1)}, run / "step-7.pt")
    with pytest.warns(UserWarning, match="step-") as told:
        history = analyze(put(run, store), models.table())
    assert [record.step for record in history] == [1]
    words = {str(w.message).rpartition("/step-")[2][0]: str(w.message) for w in told}
    expected = {
        "2": f"it is cut or no safetensors file (it has {len(whole) - 10} of {len(whole)} bytes)",
        "3": "it is cut or no safetensors file (it has no header)",
        "4": "it is cut or damaged (",
        "5": "it is no file of torch.save; it begins with b'text'",
        "6": "it is empty (0 bytes)",
        "7": "it is not read, since reading it could run code",
    }
    assert words.keys() == expected.keys()
    for step, text in expected.items():
        assert text in words[step], words[step]


def test_bytes_that_a_store_does_not_give_are_told(tmp_path, store, monkeypatch):
    save_file({"lm_head.weight": head()}, tmp_path / "x.safetensors")
    found = store[1]
    found.put(str(tmp_path / "x.safetensors"), f"{store[0]}/x.safetensors")
    tensors = open_safetensors(place(f"{store[0]}/x.safetensors"))
    monkeypatch.setattr(found, "cat_file", lambda *arguments, **named: b"few")
    with pytest.raises(CheckpointError, match=r"of 'lm_head.weight' 3 of .* bytes were read"):
        tensors.read("lm_head.weight", 5)


def test_the_command_takes_addresses_and_writes_here(tmp_path, store, monkeypatch, capsys):
    address = put(local_run(tmp_path / "run"), store)
    monkeypatch.chdir(tmp_path)
    save_colours(tmp_path / "colours.csv")
    assert main(["analyze", address, "--attributes", "colours.csv"]) == 0
    assert "histories of 6 checkpoints: semgeom_analysis" in capsys.readouterr().out
    assert (tmp_path / "semgeom_analysis/report.html").is_file()
    assert main(["analyze", f"{address}/none", "--attributes", "colours.csv"]) == 2
    assert f"no file or folder at '{address}/none'" in capsys.readouterr().err


def test_a_store_that_is_away_is_told(monkeypatch):
    def away(*_, **__):
        raise RuntimeError("no route")  # clients raise what they like

    monkeypatch.setattr(UPath("memory://x").fs.__class__, "info", away)
    monkeypatch.setattr(UPath("memory://x").fs.__class__, "exists", away)
    with pytest.raises(OSError, match="'memory://x/run' cannot be looked at: no route"):
        analyze("memory://x/run", models.table())
