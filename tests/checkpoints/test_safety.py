"""What a checkpoint names is never run."""

import pickle

import pytest
import torch
import torch.distributed.checkpoint as dcp

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


def test_the_state_beside_the_shards_is_read_for_the_step_and_not_run(tmp_path):
    folder = sharded(tmp_path / "last.ckpt")
    torch.save({"global_step": 7}, folder / "meta.pt")
    assert [record.step for record in analyze(folder, models.table())] == [7]
    torch.save({"global_step": 7, "more": Creates(tmp_path / "created")}, folder / "meta.pt")
    with pytest.raises(ValueError, match=r"last.ckpt: it is not read, .* asks for .*Path"):
        analyze(folder, models.table())
    assert not (tmp_path / "created").exists()
