"""Orders and numbers are torch's own, whichever way they are found."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom.geometry import order
from lightning_semgeom.geometry.order import numbered, stable_order


@pytest.mark.parametrize("general", [False, True])
@given(numbers=st.lists(st.integers(0, 40), max_size=60), more=st.integers(0, 70_000))
def test_orders_and_numbers_are_those_of_torch(general, numbers, more):
    count, given_numbers = 41 + more, torch.tensor(numbers, dtype=torch.int64)
    with pytest.MonkeyPatch.context() as patched:
        if general:
            patched.setattr(order, "_SMALL", 4)
            patched.setattr(order, "_FEW", -(10**9))
        assert stable_order(given_numbers, count).equal(given_numbers.argsort(stable=True))
        found, which = numbered(given_numbers, count)
    expected, number = torch.unique(given_numbers, return_inverse=True)
    assert found.equal(expected)
    assert which.equal(number)


def test_the_largest_numbers_of_16_bits_are_in_order():
    numbers = torch.tensor([65535, 0, 32768, 65535, 32767, 1])
    assert stable_order(numbers, 1 << 16).tolist() == [1, 5, 4, 2, 0, 3]
    assert stable_order(numbers + 1, (1 << 16) + 1).tolist() == [1, 5, 4, 2, 0, 3]
