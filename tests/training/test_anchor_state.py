"""The anchor's state among a model's: tensors alone, whatever people do with a state dict."""

import copy

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import nn

from lightning_semgeom import AttributeAlignment, AttributeTable, GramAnchor, GramDispersion

ROWS = 12


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(5, ROWS, bias=False)


class Anchored(Plain):
    def __init__(self, max_rows=8):
        super().__init__()
        self.anchor = GramAnchor(warm_up=1, max_rows=max_rows)


def rows_of(seed, dtype=torch.float32):
    return torch.randn(ROWS, 5, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def advance(model, stage, hidden=False, dtype=torch.float32):
    """Bring the anchor to one of its stages: new, warm, following, holding."""
    plane = rows_of(1, dtype) * torch.tensor([9.0, 9, 1, 1, 1], dtype=dtype)
    calls = {
        "new": [],
        "warm": [plane],
        "following": [plane, plane],
        "holding": [plane, plane, rows_of(2, dtype)],
    }[stage]
    for rows in calls:
        more = {"hidden": rows[:4], "labels": torch.arange(4)} if hidden else {}
        model.anchor(rows, **more)
    assert model.anchor.holds == (stage == "holding")
    return model


def answers(model, hidden=False, dtype=torch.float32):
    """What the anchor says from here on, in a copy."""
    anchor = copy.deepcopy(model.anchor)
    more = {"hidden": rows_of(5, dtype)[:4], "labels": torch.arange(4)} if hidden else {}
    return [(float(anchor(rows_of(s, dtype).clone(), **more)), anchor.holds) for s in (2, 3, 4)]


STAGES = pytest.mark.parametrize("stage", ["new", "warm", "following", "holding"])


@STAGES
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_goes_through_a_file_of_tensors(tmp_path, stage, hidden, dtype):
    model = advance(Anchored(), stage, hidden, dtype)
    save_model(model, str(tmp_path / "m.safetensors"))
    other = Anchored()
    assert load_model(other, str(tmp_path / "m.safetensors")) == (set(), [])
    assert answers(other, hidden, dtype) == answers(model, hidden, dtype)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    again = advance(Anchored(), "holding", True)  # what it had is gone
    again.load_state_dict(torch.load(tmp_path / "m.pt", weights_only=True))
    assert answers(again, hidden, dtype) == answers(model, hidden, dtype)


@STAGES
def test_its_state_is_integers_that_no_average_touches(stage):
    model = Anchored()
    average = copy.deepcopy(model)  # before the anchor keeps anything: other sizes
    advance(model, stage)
    before = answers(model)
    own, other = average.state_dict(), model.state_dict()
    assert list(own) == list(other)
    for name, value in other.items():
        assert value.is_floating_point() == (name == "head.weight"), name
    with torch.no_grad():
        for value, new in zip(own.values(), other.values(), strict=True):
            if value.is_floating_point():
                value.lerp_(new, 0.1)
    by_name = {
        name: value.lerp(other[name], 0.1) if value.is_floating_point() else other[name]
        for name, value in own.items()
    }
    average.load_state_dict(by_name)
    assert answers(average) == before == answers(model)


@STAGES
def test_averaged_models_of_torch_take_it(stage):
    model = Anchored()
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    advance(model, stage)
    average.update_parameters(model)
    average.update_parameters(model)
    other = torch.optim.swa_utils.AveragedModel(Anchored(), use_buffers=True)
    other.load_state_dict(average.state_dict())


@STAGES
def test_a_state_from_before_there_was_an_anchor_leaves_it_as_it_is(stage):
    model = advance(Anchored(), stage)
    before = answers(model)
    model.load_state_dict(Plain().state_dict())
    assert answers(model) == before


def test_other_losses_also_take_a_state_from_before_there_was_one():
    table = AttributeTable.from_dict({"a": ["x", "y"] * 6})
    for loss in (GramDispersion(max_rows=4), AttributeAlignment(table, max_rows=4)):
        model = Plain()
        model.loss = loss
        model.load_state_dict(Plain().state_dict())
        assert all(isinstance(value, torch.Tensor) for value in model.state_dict().values())


def test_a_part_of_a_state_is_refused_and_what_lacks_is_named():
    model = advance(Anchored(), "following")
    state = model.state_dict()
    del state["anchor._state.top"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"anchor\._state\.top"'):
        model.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*anchor\._state\.more"):
        model.load_state_dict(model.state_dict() | {"anchor._state.more": torch.zeros(1)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_of_version_0_1_are_loaded(dtype):
    plane = (rows_of(1) * torch.tensor([9.0, 9, 1, 1, 1])).to(dtype)
    model = Anchored()
    for _ in range(2):
        model.anchor(plane)
    old = {
        "head.weight": model.head.weight.detach(),
        "anchor._extra_state": {
            "calls": 2,
            "top": model.anchor._state.top,
            "holds": False,
            "unembedding": plane,
            "hidden": None,
            "labels": None,
        },
        "anchor._draw._extra_state": model.anchor._draw.get_extra_state(),
    }
    other = Anchored()
    other.load_state_dict(old)
    assert answers(other) == answers(model)
    assert [holds for _, holds in answers(other)] == [True] * 3


@STAGES
def test_a_cast_of_the_model_leaves_it_as_it_is(stage):
    model = advance(Anchored(), stage)
    before = answers(model)
    assert answers(model.to(torch.bfloat16)) == before


def test_what_is_loaded_is_not_shared_with_the_state():
    model = advance(Anchored(), "holding")
    state = model.state_dict()
    other = Anchored()
    other.load_state_dict(state)
    before = answers(other)
    for value in state.values():
        value.detach().zero_()
    assert answers(other) == before
