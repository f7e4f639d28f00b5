"""One look without a Trainer, in real processes over gloo."""

import numpy as np
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
    for site, whole in expected["rows"].items():
        parts = [answer["rows"][site] for answer in answers]
        if "embedding" not in site:  # of hidden states all processes have all rows
            parts = parts[-1:]
        rows, labels = ([x for part in parts for x in part[which]] for which in (0, 1))
        assert sorted(labels) == sorted(whole[1])
        assert np.sum(rows, axis=0) == pytest.approx(np.sum(whole[0], axis=0), abs=1e-4)
        if "embedding" in site:
            assert dict(zip(labels, rows, strict=True)) == dict(zip(*whole[::-1], strict=True))


def test_one_process_of_ddp_may_look_alone(found, alone):
    first, second = found(2, "look_ddp")
    assert second is None
    figures.assert_same(first["figures"], alone("look")["figures"])
    assert first["rows"] == alone("look")["rows"]
