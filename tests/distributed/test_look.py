"""One look without a Trainer, in real processes over gloo."""

import pytest

from tests import figures

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", ["look_fsdp2", "look_fsdp1"])
def test_processes_that_hold_parts_measure_the_whole_together(found, alone, size, name):
    expected = alone("look")
    answers = found(size, name)
    for answer in answers:
        figures.assert_same(answer["figures"], expected["figures"])
    for site, number in expected["rows"].items():
        parts = [answer["rows"][site] for answer in answers]
        # Of a weight each has its own part, of hidden states all have all.
        assert (sum(parts) if "embedding" in site else parts[-1]) == number


def test_one_process_of_ddp_may_look_alone(found, alone):
    first, second = found(2, "look_ddp")
    assert second is None
    figures.assert_same(first["figures"], alone("look")["figures"])
    assert first["rows"] == alone("look")["rows"]
