"""Losses on the geometry, and stopping, in two real processes over gloo."""

import numpy as np
import pytest
import torch

from tests.distributed import regularized_jobs

pytestmark = pytest.mark.processes

BOTH = [
    "ddp_anchor",
    "ddp_alignment_bf16",
    "fsdp2_anchor",
    "fsdp2_dispersion_bf16",
    "tensor_alignment",
]
ALONE = ["ddp_alone", "fsdp2_alone", "fsdp2_head_alone", "tensor_alone"]
STOPS = ["ddp_stop", "fsdp2_stop", "one_sees_the_peak"]


@pytest.mark.parametrize("name", BOTH)
def test_weights_are_those_of_the_loss_added_by_hand(found, name):
    for process in found(2, name):
        assert process["by callback"] == process["by hand"]
        assert process["by callback"] != process["without"]


@pytest.mark.parametrize("name", ALONE)
def test_a_loss_on_weights_trains_them_as_one_process_does(found, tmp_path, name):
    with torch.random.fork_rng():
        expected = getattr(regularized_jobs, name)(tmp_path, 0, 1)["weights"]
    for process in found(2, name):
        for ours, theirs in zip(process["weights"], expected, strict=True):
            assert np.allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", STOPS)
def test_all_processes_end_at_once_with_the_weights_of_the_peak(found, name):
    first, second = found(2, name)
    assert first == second
    assert first["restored"]
    assert first["peak"] < first["end"] < 60
