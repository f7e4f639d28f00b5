"""What a checkpoint names is never run."""

import copyreg
import pickle
from pathlib import Path, PurePosixPath

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata

from lightning_semgeom import analyze
from tests import models
from tests.checkpoints.files import Creates, head, save


@pytest.mark.parametrize("name", ["step-2.ckpt", "step-2.bin", "step-2/pytorch_model.bin"])
def test_a_file_of_torch_save_that_asks_for_more_than_tensors_is_refused(tmp_path, name):
    save(tmp_path / "step-1.pt")
    save(tmp_path / name, callback=Creates(tmp_path / "created"))
    with pytest.warns(UserWarning, match=r"step-2.*could run code: it asks for .*Path.*save its"):
        history = analyze(tmp_path, models.table())
    assert [record.step for record in history] == [1]
    assert not (tmp_path / "created").exists()


def sharded(folder):
    with pytest.warns(UserWarning, match="intent is to save in a single process"):
        dcp.save({"lm_head.weight": head()}, checkpoint_id=folder, no_dist=True)
    return folder


def test_the_metadata_of_a_sharded_checkpoint_may_ask_for_its_own_classes_alone(tmp_path):
    found = pickle.loads((sharded(tmp_path / "step-2") / ".metadata").read_bytes())
    for number, foreign in enumerate((Creates(tmp_path / "created"), pytest.approx)):
        found.planner_data = foreign
        file = tmp_path / f"step-2/.metadata{number}"
        file.write_bytes(pickle.dumps(found))
        file.replace(tmp_path / "step-2/.metadata")
        with pytest.raises(ValueError, match=r"'.metadata' could run code: it asks for (path|_py)"):
            analyze(tmp_path, models.table())
        assert not (tmp_path / "created").exists()


def test_a_dotted_name_does_not_reach_through_an_allowed_class(tmp_path):
    """Protocol 4 lets a pickle ask for `Metadata.__init__.__globals__` and the like."""
    folder = sharded(tmp_path / "step-2")
    module, name = b"torch.distributed.checkpoint.metadata", b"Metadata.__init__.__globals__"
    text = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(t)]) + t for t in (module, name)) + b"\x93."
    (folder / ".metadata").write_bytes(text)
    with pytest.raises(ValueError, match=r"asks for .*Metadata.__init__.__globals__"):
        analyze(tmp_path, models.table())


FOUND = "torch.distributed.checkpoint.metadata"
TARGETS = {
    "a class": b"cpathlib\nPosixPath\n",
    "a path": b"cpathlib\nPosixPath\n(Vsome\ntR",
    "a dataclass": f"c{FOUND}\nMetadata\n".encode(),
    "a function": b"ctorch.serialization\n_get_layout\n",
    "a member of an enum": f"c{FOUND}\n_MEM_FORMAT_ENCODING\n(I0\ntR".encode(),
}
STATES = {"as attributes": b"(N(dVparent\nVevil\nst", "in __dict__": b"(dVparent\nVevil\ns"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("state", STATES)
def test_the_metadata_of_a_sharded_checkpoint_changes_no_class(tmp_path, target, state):
    """The opcode BUILD sets attributes on whatever lies on the stack."""
    folder = sharded(tmp_path / "step-2")
    (folder / ".metadata").write_bytes(TARGETS[target] + STATES[state] + b"b.")
    with pytest.raises(ValueError, match=r"'.metadata' could change this process: it sets attr"):
        analyze(folder, models.table())
    assert Path("/a/b").parent == Path("/a")
    for touched in (Metadata, PurePosixPath, torch.serialization._get_layout):
        assert vars(touched).get("parent") != "evil"


def test_a_state_gives_an_instance_no_method_that_the_next_one_calls(tmp_path):
    folder = sharded(tmp_path / "step-2")
    one = f"c{FOUND}\nMetadata\n)\x81".encode("latin-1")
    state = b"(dV__setstate__\ncpathlib\nPosixPath\nsb(dVversion\nVnew\nsb."
    (folder / ".metadata").write_bytes(one + state)
    with pytest.raises(ValueError, match="'Metadata' object has no attribute 'state_dict_metadata"):
        analyze(folder, models.table())


def test_the_metadata_of_a_sharded_checkpoint_asks_for_no_extension_of_copyreg(
    tmp_path, monkeypatch
):
    folder = sharded(tmp_path / "step-2")
    monkeypatch.setitem(copyreg._extension_cache, 7, Path.touch)  # as after an earlier pickle
    hostile = b"\x82\x07cpathlib\nPosixPath\n(V" + str(tmp_path / "created").encode()
    (folder / ".metadata").write_bytes(hostile + b"\ntR\x85R.")
    with pytest.raises(ValueError, match="it asks for the extension 7 of copyreg"):
        analyze(folder, models.table())


def test_the_state_beside_the_shards_is_read_for_the_step_and_not_run(tmp_path):
    folder = sharded(tmp_path / "last.ckpt")
    torch.save({"global_step": 7}, folder / "meta.pt")
    assert [record.step for record in analyze(folder, models.table())] == [7]
    torch.save({"global_step": 7, "more": Creates(tmp_path / "created")}, folder / "meta.pt")
    with pytest.raises(ValueError, match=r"last.ckpt: it is not read, .* asks for .*Path"):
        analyze(folder, models.table())
    assert not (tmp_path / "created").exists()
