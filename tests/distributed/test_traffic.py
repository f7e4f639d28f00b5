"""What a record sends to other processes: few collectives, and no weight."""

import pytest

from tests.distributed import models
from tests.distributed.cases import CASES

pytestmark = pytest.mark.processes


def sent_by(found, size, name):
    """(step, our all-reduces, our all-gathers, [name, bytes] of others) of each record."""
    for process in found(size, name):
        for step, sent in process["traffic"].items():
            kinds = [kind for kind, _ in sent]
            others = [one for one in sent if one[0] not in ("allreduce_", "_allgather_base_")]
            yield int(step), kinds.count("allreduce_"), kinds.count("_allgather_base_"), others


@pytest.mark.parametrize(("size", "name"), CASES)
def test_a_record_takes_three_collectives_and_the_first_of_a_fit_one_more(found, size, name):
    """In the first one, whose picture is due, the widths of hidden states are agreed on."""
    for step, reduced, gathered, others in sent_by(found, size, name):
        is_first = step == (4 if name == "ddp_resumed" else 0)
        shows_hidden = step < 7 or "probe" in name
        of_weights = 2
        if name == "ddp_hidden_alone":
            of_weights = 0
        assert reduced == of_weights + is_first
        if name in ("fsdp2_probe", "fsdp1_probe"):  # there the probe's forward gathers layers
            continue
        assert gathered == shows_hidden
        if name.startswith("fsdp1"):
            assert {kind for kind, _ in others} == {"allgather_"}  # it keeps rows in pieces
            assert len(others) == 2  # of the two units that hold the two weights
        else:
            # Cut by columns, the head has to move.
            assert len(others) == (name == "tensor_columns"), others


@pytest.mark.parametrize("name", ["fsdp2", "fsdp2_tied", "tensor_rows", "two_dimensions"])
def test_no_weight_is_gathered(found, name):
    size = 4 if name == "two_dimensions" else 2
    for process in found(size, name):
        last = process["traffic"]["7"]  # weights alone
        # Each line of the picture is a value of one attribute more, each joint value of another.
        values, lines, moments, width, sites = 5, 13, 2, models.WIDTH, 2
        joint = len({tuple(codes) for codes in models.table().codes.tolist()})
        half = width // 2 * (width + 1)  # of a symmetric matrix
        numbers = 3 + (values + lines + joint) * (1 + width) + moments * half
        assert last == [
            ["allreduce_", 8 * (1 + sites * (1 + width + 2))],
            ["allreduce_", 8 * (1 + sites * (1 + numbers))],
        ]
