"""Each kind of checkpoint gives whole tensors of any shape, 0-d ones too, and rows as before."""

import json

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from lightning_semgeom.checkpoints.runs import find_checkpoints
from lightning_semgeom.checkpoints.tensors import are_same

STATE = {
    "matrix": torch.randn(5, 3),
    "half": torch.randn(4, 2).to(torch.bfloat16),
    "line": torch.randn(7),
    "cube": torch.randn(2, 3, 4),
    "counter": torch.tensor(3),
    "none": torch.ones(0, 4),
}
HALVES = dict([*STATE.items()][:3]), dict([*STATE.items()][3:])


def pickled(folder):
    torch.save(STATE, folder / "step-1.pt")


def safe(folder):
    save_file(STATE, folder / "step-1.safetensors")


def sharded(folder):
    with pytest.warns(UserWarning, match="intent is to save in a single process"):
        dcp.save(STATE, checkpoint_id=folder / "step-1", no_dist=True)


def indexed(folder):
    shards(folder)
    places = {name: f"model-0000{k}-of-00002.safetensors" for k in (1, 2) for name in HALVES[k - 1]}
    index = folder / "step-1/model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))


def shards(folder):
    (folder / "step-1").mkdir()
    for k in (1, 2):
        save_file(HALVES[k - 1], folder / f"step-1/model-0000{k}-of-00002.safetensors")


def layers(folder):
    (folder / "step-1").mkdir()
    for k in (0, 1):
        torch.save(HALVES[k], folder / f"step-1/layer_0{k}-model_00-model_states.pt")


def copies(folder):
    (folder / "step-1").mkdir()
    for rank in (0, 1):
        torch.save(STATE, folder / f"step-1/model_rank_{rank}.pt")


@pytest.mark.parametrize("write", [pickled, safe, sharded, indexed, shards, layers, copies])
def test_all_tensors_come_whole_and_their_rows_alone(tmp_path, write):
    write(tmp_path)
    (checkpoint,) = find_checkpoints([tmp_path])
    opened = checkpoint.open()
    assert opened.shapes.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert are_same(opened.read(name, None).reshape(-1), tensor.reshape(-1)), name
        assert opened.read(name, None).shape == tensor.shape
    assert are_same(opened.read("matrix", 2), STATE["matrix"][:2])
