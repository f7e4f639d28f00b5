import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_semgeom.capture.activations import HiddenCapture
from lightning_semgeom.capture.labels import LabelReader, Share
from tests.models import Returning

READER = LabelReader("labels", "all", False)
ALL = Share(100)
BATCH = {"labels": torch.tensor([0, 1])}


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, None), lambda x: {"hidden": x}])
def test_the_hidden_state_is_found_in_what_a_module_returns(wrap):
    module = Returning(wrap(torch.eye(2)))
    capture = HiddenCapture({"site": module}, READER)
    capture.arm(BATCH, ALL)
    module()
    assert capture.collect()["site"].rows.tolist() == [[1, 0], [0, 1]]
    assert not module._forward_hooks


def test_the_first_call_counts():
    module = nn.Identity()
    capture = HiddenCapture({"site": module}, READER)
    capture.arm(BATCH, ALL)
    module(torch.zeros(2, 3))
    module(torch.ones(2, 3))
    assert capture.collect()["site"].rows.sum() == 0
    module(torch.ones(2, 3))
    assert "called site" in str(capture.collect()["site"])


def test_what_is_kept_is_outside_the_graph():
    module = nn.Identity()
    capture = HiddenCapture({"site": module}, READER)
    capture.arm(BATCH, ALL)
    module(torch.ones(2, 3, requires_grad=True) * 2)
    assert not capture.collect()["site"].rows.requires_grad


def test_recomputation_under_activation_checkpointing_is_not_taken():
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 3))
    calls = []
    module[0].register_forward_hook(lambda *_: calls.append(1))
    capture = HiddenCapture({"site": module[0]}, READER)
    capture.arm(BATCH, ALL)
    with torch.no_grad():
        expected = module[0](torch.ones(2, 3))
    calls.clear()
    checkpoint(module, torch.ones(2, 3, requires_grad=True), use_reentrant=False).sum().backward()
    assert len(calls) == 2
    assert torch.equal(capture.collect()["site"].rows, expected)


@pytest.mark.parametrize("output", [None, "text", torch.ones(2, 3).long(), torch.ones(5, 3)])
def test_an_unfit_output_is_explained_after_the_forward_and_not_within(output):
    module = Returning(output)
    capture = HiddenCapture({"hidden.site": module}, READER)
    capture.arm(BATCH, ALL)
    module()
    fault = capture.collect()["hidden.site"]
    assert isinstance(fault, ValueError)
    assert "hidden='hidden.site'" in str(fault)
    assert not module._forward_hooks
