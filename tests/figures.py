"""When the figures of two runs are the same."""

import pytest


def assert_same(ours, expected, double=False):
    """Each of {key: value} within 1e-5 of its size, z within 1e-4.

    Where figures cancel to nearly 0, sums in fp32 round by more than a share of them, most where a
    partial gap is the mean of a few pairs; runs in fp64 (`double`) have no such excuse.
    """
    assert ours.keys() == expected.keys()
    for key, value in expected.items():
        metric = key.split("/")[1]
        is_z = metric == "z"
        floor = 1e-12 if double else {"z": 1e-5, "partial_gap": 1e-6}.get(metric, 2e-7)
        bound = pytest.approx(value, rel=1e-4 if is_z else 1e-5, abs=floor, nan_ok=True)
        assert ours[key] == bound, key
