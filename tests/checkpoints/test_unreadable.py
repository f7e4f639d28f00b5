"""Files that are called like a checkpoint and are none: each is told for what it is."""

import json
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from lightning_semgeom import analyze
from tests import models
from tests.checkpoints.files import head, save

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
CONTENTS = {
    "a Git LFS pointer": (LFS, "it is a pointer of Git LFS, .* `git lfs pull`"),
    "empty": ("", r"it is empty \(0 bytes\)"),
    "zeros": ("\0" * 2000, "it begins with 512 zeros"),
    "git-annex": ("/annex/objects/SHA256E-s9--0.bin\n", "it is a pointer of git-annex.* annex get"),
    "a page": ("\n<!DOCTYPE html><html>", "it is a web page, as a server answers"),
}
NAMES = (
    *("step-2.ckpt", "step-2.safetensors", "step-2.bin", "step-2/model.safetensors"),
    *(
        "step-2/pytorch_model.bin",
        "step-2/consolidated.00.pth",
        "step-2/mp_rank_00_model_states.pt",
    ),
)


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_file_is_instead_is_told(tmp_path, kind, name):
    text, message = CONTENTS[kind]
    save(tmp_path / "step-1.pt")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    with pytest.warns(UserWarning, match=f"step-2.*: {message}"):
        assert [record.step for record in analyze(tmp_path, models.table())] == [1]
    with pytest.raises(ValueError, match=message):
        analyze(tmp_path / name, models.table())


def test_it_is_told_before_a_step_that_is_missing(tmp_path):
    (tmp_path / "model.safetensors").write_text(LFS)
    (tmp_path / "last.ckpt").write_text("")
    for name, message in (("model.safetensors", "git lfs pull"), ("last.ckpt", "it is empty")):
        with pytest.raises(ValueError, match=message):
            analyze(tmp_path / name, models.table())


def test_of_shards_the_one_that_is_a_pointer_is_named(tmp_path):
    places = {"lm_head.weight": "model-00001-of-00001.safetensors"}
    (tmp_path / places["lm_head.weight"]).write_text(LFS)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(
        ValueError, match=r"in its shard 'model-00001-of-.* is a pointer of Git LFS"
    ):
        analyze(tmp_path.rename(tmp_path.parent / "step-3"), models.table())
    (tmp_path.parent / "step-3/model.safetensors.index.json").write_text(LFS)
    with pytest.raises(ValueError, match=r"'model.safetensors.index.json' cannot be read: .*LFS"):
        analyze(tmp_path.parent / "step-3", models.table())


def sharded(folder):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*assuming the intent is to save in a single")
        dcp.save({"lm_head.weight": head()}, checkpoint_id=folder, no_dist=True)
    return folder


def test_of_a_sharded_folder_the_file_that_is_a_pointer_is_named(tmp_path):
    (shard,) = sharded(tmp_path / "step-1").glob("*.distcp")
    shard.write_text(LFS)
    with pytest.raises(ValueError, match=r"step-1: its '__0_0.distcp' cannot be read: .* Git LFS"):
        analyze(tmp_path, models.table())
    (tmp_path / "step-1/.metadata").write_text("")
    with pytest.raises(ValueError, match=r"step-1: its '.metadata' cannot be read: it is empty"):
        analyze(tmp_path, models.table())


def test_a_sharded_folder_whose_saving_has_not_ended_is_told(tmp_path):
    save(tmp_path / "step-2.pt")
    (sharded(tmp_path / "step-1") / ".metadata").unlink()
    with pytest.warns(UserWarning, match=r"step-1: it has shards .* and no '.metadata'"):
        assert len(analyze(tmp_path, models.table())) == 1
    with pytest.raises(ValueError, match=r"step-1: it has shards .* and no '.metadata'"):
        analyze(tmp_path / "step-1", models.table())


@pytest.mark.parametrize("suffix", ["incomplete", "part", "tmp", "crdownload"])
def test_a_download_that_has_not_ended_is_told(tmp_path, suffix):
    save(tmp_path / "step-1.pt")
    save(tmp_path / f"step-1.pt.{suffix}", head(1))  # of an earlier try
    save(tmp_path / f"step-2/model.safetensors.{suffix}")
    with pytest.warns(UserWarning, match=r"step-2.*: its download or saving has not ended") as told:
        assert [record.step for record in analyze(tmp_path, models.table())] == [1]
    assert len(told) == 1


def test_a_file_that_is_being_downloaded_in_pieces_is_told(tmp_path):
    save(tmp_path / "step-2.pt")
    (tmp_path / "step-2.pt.aria2").write_bytes(b"\0\1")
    with pytest.raises(ValueError, match=r"step-2.pt: its download or saving has not ended"):
        analyze(tmp_path, models.table())


def test_safetensors_that_are_cut_say_how_many_bytes_they_lack(tmp_path):
    file = tmp_path / "step-1.safetensors"
    save_file({"lm_head.weight": head()}, file, {"format": "pt"})
    whole = file.read_bytes()
    for size, message in (
        (len(whole) - 1, rf"it has {len(whole) - 1} of {len(whole)} bytes"),
        (40, ""),
    ):
        file.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=rf"it is cut or no safetensors file \(.*{message}"):
            analyze(tmp_path, models.table())


def test_a_link_to_nothing_is_told(tmp_path):
    save(tmp_path / "step-1.pt")
    for name in ("step-2.pt", "step-3/model.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to("gone/away.pt")
    with pytest.warns(UserWarning, match="it is a link to 'gone/away.pt', which is not") as told:
        assert len(analyze(tmp_path, models.table())) == 1
    assert len(told) == 2


def test_where_there_is_no_checkpoint_what_there_is_is_told(tmp_path):
    (tmp_path / ".cache/download").mkdir(parents=True)
    (tmp_path / ".cache/download/model.safetensors.abc.incomplete").touch()
    with pytest.raises(FileNotFoundError, match=r"have not ended, as 'model.*abc.incomplete'"):
        analyze(tmp_path, models.table())
    torch.save({}, tmp_path / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt")
    with pytest.raises(FileNotFoundError, match=r"the optimizer, as 'bf16_.*, and no weights"):
        analyze(tmp_path, models.table())
