"""NC5 against sums entry by entry, and against the lines of rhubarbwu/neural-collapse."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom import ood_orthogonality
from tests import oracles

BY_HAND = torch.tensor([[1.0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 1, 0], [0, -4, -3]])
OUTSIDE = torch.tensor([[0.0, 3, 0], [0, 0, 4]])


def random_case(seed, rows=60, width=6, classes=4, outside=30, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, classes, (rows,), generator=generator)
    features = torch.randn(rows, width, generator=generator, dtype=torch.float64) + shift
    return features, labels, torch.randn(outside, width, generator=generator, dtype=torch.float64)


def nc5(rows, labels, outside, classes=4):
    return float(ood_orthogonality(rows, labels, classes, outside)["nc5"])


def assert_like_oracle(rows, labels, classes, outside, tolerance=1e-10):
    found = ood_orthogonality(rows, labels, classes, outside)
    expected = oracles.ood_orthogonality(
        rows.double().numpy(), labels.numpy(), outside.double().numpy()
    )
    assert float(found["nc5"]) == pytest.approx(expected["nc5"], abs=tolerance, nan_ok=True)
    assert float(found["classes"]) == expected["classes"]


def test_a_case_worked_by_hand():
    labels = torch.tensor([0, 0, 1, 1, 2])
    found = ood_orthogonality(BY_HAND, labels, 3, OUTSIDE)
    # The mean outside points along (0, 3, 4): cosines 0, 3 / 5 and -(4 * 3 + 3 * 4) / 25.
    assert float(found["nc5"]) == pytest.approx((0 + 0.6 + 0.96) / 3)
    assert float(found["classes"]) == 3


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(0, 80),
    width=st.sampled_from([1, 3, 20]),
    classes=st.integers(1, 9),
    outside=st.integers(0, 40),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_any_rows_agree_with_sums_entry_by_entry(seed, rows, width, classes, outside, dtype):
    made, labels, other = random_case(seed, rows, width, classes, outside)
    if rows > 2 and outside > 2:
        made[1], made[2, 0], other[1], other[2, 0] = 0, math.inf, 0, math.nan
    assert_like_oracle(made.to(dtype), labels, classes, other.to(dtype))


def test_a_case_of_many_blocks_agrees_as_well():
    assert_like_oracle(*random_case(1, 4000, 200)[:2], 4, random_case(2, 1, 200, outside=3000)[2])


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_library_of_linguistic_collapse_gives_the_same(shift):
    rows, labels, outside = random_case(0, shift=shift)
    means = torch.stack([rows[labels == c].mean(0) for c in range(4)])
    # Its `orthogonality_deviation`, by way of its `similarities`.
    of = torch.nn.functional.cosine_similarity(means, outside.mean(0))
    assert nc5(rows, labels, outside) == pytest.approx(float(of.abs().mean()), rel=1e-12)


def test_order_turns_and_lengths_change_nothing():
    rows, labels, outside = random_case(3, shift=0.3)
    expected = nc5(rows, labels, outside)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(4))
    assert nc5(rows[order], labels[order], outside.flip(0)) == pytest.approx(expected, abs=1e-12)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(5)))[0]
    turned = nc5(7 * rows @ turn.double(), labels, -outside @ turn.double() / 9)
    assert turned == pytest.approx(expected, abs=1e-7)
    renamed = torch.where(labels < 0, labels, 3 - labels)
    assert nc5(rows, renamed, outside) == pytest.approx(expected, abs=1e-12)
    again = nc5(rows.repeat(3, 1), labels.repeat(3), outside.repeat(2, 1))
    assert again == pytest.approx(expected, abs=1e-12)


def test_what_all_rows_share_brings_it_near_one():
    rows, labels, outside = random_case(6)
    assert nc5(rows, labels, outside) < 0.7
    assert nc5(rows + 100, labels, outside + 100) == pytest.approx(1, abs=1e-4)


def test_a_right_angle_is_zero_and_one_line_is_one():
    rows, labels, outside = random_case(7)
    rows[:, 3:], outside[:, :3] = 0, 0
    assert nc5(rows, labels, outside) == 0
    assert nc5(rows[:, :1], labels, outside[:, 3:4]) == pytest.approx(1)


def test_classes_without_rows_and_those_that_cancel_are_left_out():
    labels = torch.tensor([0, 0, 1, 1, -1])
    found = ood_orthogonality(BY_HAND, labels, 9, OUTSIDE)
    assert (float(found["nc5"]), float(found["classes"])) == (pytest.approx(0.3), 2)
    generator = torch.Generator().manual_seed(8)
    half = torch.randn(50, 3, generator=generator, dtype=torch.float64) + 5
    cancelled = torch.cat([BY_HAND.double(), half, -half])
    more = torch.cat([labels, torch.full((100,), 7)])
    found = ood_orthogonality(cancelled, more, 9, OUTSIDE)
    assert (float(found["nc5"]), float(found["classes"])) == (pytest.approx(0.3), 2)


@pytest.mark.parametrize("outside", [torch.zeros(0, 3), torch.zeros(2, 3), BY_HAND[:1] * math.nan])
def test_without_a_mean_outside_it_is_nan(outside):
    found = ood_orthogonality(BY_HAND, torch.tensor([0, 0, 1, 1, 2]), 3, outside)
    assert math.isnan(float(found["nc5"]))
    assert float(found["classes"]) == 3


@pytest.mark.parametrize("rows", [torch.zeros(0, 3), torch.zeros(4, 3), torch.ones(4, 3)])
def test_without_class_means_it_is_nan(rows):
    labels = torch.full((len(rows),), -1 if rows.any() else 0)
    found = ood_orthogonality(rows, labels, 2, OUTSIDE)
    assert math.isnan(float(found["nc5"]))
    assert float(found["classes"]) == 0


def test_gradients_do_not_follow():
    rows, labels, outside = random_case(9)
    found = ood_orthogonality(rows.requires_grad_(), labels, 4, outside.requires_grad_())
    assert not found["nc5"].requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.tensor([0, 1])}, r"labels must be integers \[5\]"),
        ({"labels": torch.arange(5)}, "below num_classes = 3; found 4"),
        ({"outside": torch.ones(4, 2)}, r"outside must be a floating point tensor \[n, 3\]; got"),
        ({"outside": torch.ones(3)}, "Flatten batch and time first"),
        ({"rows": torch.ones(5, 3, 2)}, "rows must be a floating point tensor"),
    ],
)
def test_input_that_does_not_fit_is_refused(change, message):
    labels = torch.tensor([0, 0, 1, 1, 2])
    fitting = {"rows": BY_HAND, "labels": labels, "num_classes": 3, "outside": OUTSIDE}
    with pytest.raises(ValueError, match=message):
        ood_orthogonality(**(fitting | change))
