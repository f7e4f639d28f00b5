"""Directions of attribute values against plain loops, and against an analysis of variance."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_semgeom import AttributeTable, directions
from tests import oracles


def made(seed, rows=40, width=5, values=(2, 3, 4), labelled=0.8):
    """Rows of which the first attribute says something; the last value of each is rare."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, len(values))
    codes = (torch.rand(shape, generator=generator) ** 2 * torch.tensor(values)).long()
    centres = torch.randn(values[0], width, generator=generator, dtype=torch.float64)
    x = torch.randn(rows, width, generator=generator, dtype=torch.float64) + centres[codes[:, 0]]
    codes[torch.rand(shape, generator=generator) > labelled] = -1
    codes[0] = 0  # a table has to label some row
    names = tuple("abcd"[: len(values)])
    return x, AttributeTable(codes, names, tuple(tuple(map(str, range(m))) for m in values))


def test_a_case_worked_by_hand():
    rows = torch.tensor([[4.0, 1], [2, 1], [-1, 3], [-1, -2], [-4, 2]])
    table = AttributeTable.from_dict({"kind": ["bird", "bird", "fish", "fish", None]})
    names = ["owl", "finch", "trout", "shark", "newt"]
    found = directions(rows, table, names, nearest=2)
    assert list(found) == [("kind", "bird"), ("kind", "fish")]
    # Means (3, 1) and (-1, 0.5); the labelled rows' mean (1, 0.75); all rows' mean (0, 1).
    assert found["kind", "bird"].vector.tolist() == [4, 0.5]
    assert found["kind", "fish"].vector.tolist() == [-4, -0.5]
    # 2 * 2 / 4 * 16.25 over the squares of both coordinates, about (1, 0.75).
    spread = (3**2 + 1 + 2**2 + 2**2) + (2 * 0.25**2 + 2.25**2 + 2.75**2)
    assert found["kind", "bird"].explained == pytest.approx(16.25 / spread)
    assert found["kind", "fish"].explained == found["kind", "bird"].explained
    # From the mean: (4, 0) and (2, 0) have the same cosine, so only the set is sure.
    assert set(found["kind", "bird"].nearest) == {"owl", "finch"}
    # The unlabelled newt, (-4, 1) from the mean, lies nearer to the fish's direction than fish do.
    assert found["kind", "fish"].nearest == ("newt", "shark")


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 40),
    values=st.sampled_from([(2,), (2, 3), (2, 2, 2), (5, 4, 3, 2)]),
    labelled=st.floats(0.0, 1.0),
    nearest=st.integers(0, 50),
    padding=st.integers(0, 3),
)
def test_any_case_agrees_with_loops_over_rows(seed, rows, values, labelled, nearest, padding):
    x, table = made(seed, rows, values=values, labelled=labelled)
    if rows > 3:
        x[1], x[2, 0] = 0, math.inf
    padded = torch.cat([x, torch.full((padding, x.shape[1]), 7.0, dtype=x.dtype)])
    found = directions(padded, table, nearest=nearest)
    keys = [(a, v) for a, of in zip(table.names, table.values, strict=True) for v in of]
    assert list(found) == keys
    for (name, value), direction in found.items():
        codes = table.codes[:, table.names.index(name)].tolist()
        vector, share, order = oracles.direction(x.numpy(), codes, int(value), nearest)
        assert direction.vector.tolist() == pytest.approx(vector.tolist(), abs=1e-9, nan_ok=True)
        assert direction.explained == pytest.approx(share, abs=1e-9, nan_ok=True)
        if rows > 5 or math.isnan(share):  # with a few rows several cosines are 1
            assert direction.nearest == tuple(map(str, order))


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_order_scale_rotation_and_shift_do_what_they_should(seed, scale):
    x, table = made(seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))[0]
    shift = torch.randn(5, generator=generator, dtype=torch.float64)
    permuted = AttributeTable(table.codes[order], table.names, table.values)
    names = [str(i) for i in order.tolist()]
    expected = directions(x, table)
    for other, turned in (
        (directions(x[order], permuted, names), lambda v: v),
        (directions(scale * x, table), lambda v: scale * v),
        (directions(x @ rotation, table), lambda v: v @ rotation),
        (directions(x + shift, table), lambda v: v),
    ):
        for key, direction in expected.items():
            vector = turned(direction.vector)
            assert torch.allclose(other[key].vector, vector, atol=1e-9, equal_nan=True)
            assert other[key].explained == pytest.approx(direction.explained, nan_ok=True)
            assert other[key].nearest == direction.nearest


def test_two_values_have_opposite_directions():
    x, table = made(3, values=(2,))
    one, other = directions(x, table).values()
    assert torch.allclose(one.vector, -other.vector)
    assert one.explained == pytest.approx(other.explained)


def test_chance_explains_one_in_n_minus_one():
    x, table = made(0, rows=60, labelled=1.0)
    table = table.select(("a",))
    shares = [directions(x, table.shuffled(seed))["a", "1"].explained for seed in range(300)]
    assert np.mean(shares) == pytest.approx(1 / 59, rel=0.1)
    assert directions(x, table)["a", "1"].explained > 5 / 59


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_rows_are_added_up_in_fp64(dtype):
    x, table = made(1, rows=5000, width=16)
    narrow = (x + 30).to(dtype)
    found, expected = directions(narrow, table), directions(narrow.double(), table)
    for key, direction in expected.items():
        assert found[key].vector.dtype == torch.float64
        assert torch.allclose(found[key].vector, direction.vector, rtol=0, atol=1e-12)
        assert found[key].explained == pytest.approx(direction.explained, rel=1e-9)


def test_many_blocks_give_what_one_block_gives():
    x, table = made(2, rows=3000, width=600, values=(2, 3))
    found = directions(x, table, nearest=3)["a", "1"]
    codes = table.codes[:, 0].tolist()
    vector, share, order = oracles.direction(x.numpy(), codes, 1, 3)
    assert found.vector.tolist() == pytest.approx(vector.tolist(), abs=1e-10)
    assert found.explained == pytest.approx(share, rel=1e-9)
    assert found.nearest == tuple(map(str, order))


def test_a_value_without_rows_and_a_lone_value_have_no_direction():
    rows = torch.tensor([[1.0, 2], [3, 4], [5, 7]])
    codes = torch.tensor([[0, 1], [0, 0], [1, -1]])
    table = AttributeTable(codes, ("a", "b"), (("x", "y", "none"), ("p", "q")))
    found = directions(rows, table)
    assert found["a", "none"].vector.isnan().all()
    assert math.isnan(found["a", "none"].explained)
    assert found["a", "none"].nearest == ()
    assert found["a", "x"].vector.tolist() == [-3, -4]
    rows[0] = 0  # skipped: p alone is left of b
    lone = directions(rows, table)
    assert lone["b", "p"].vector.isnan().all()
    assert lone["b", "q"].vector.isnan().all()
    assert lone["b", "p"].nearest == lone["b", "q"].nearest == ()
    assert lone["a", "x"].vector.tolist() == [-2, -3]


@pytest.mark.parametrize("filling", [0.0, 0.1, math.nan])
def test_rows_without_any_spread_explain_nothing(filling):
    table = AttributeTable.from_dict({"a": ["x", "y", "x", "y", "x"]})
    for direction in directions(torch.full((5, 3), filling), table).values():
        assert math.isnan(direction.explained)
        assert direction.nearest == ()


def test_labelled_rows_that_are_one_point_explain_nothing_though_others_differ():
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    rows[:5] = torch.tensor([0.1, 5.3, -2.7])
    table = AttributeTable.from_dict({"a": ["x", "y", "x", "y", "x", *[None] * 35]})
    for direction in directions(rows, table).values():
        assert direction.vector.abs().max() < 1e-12
        assert math.isnan(direction.explained)
        assert direction.nearest == ()


def test_equal_means_apart_from_rounding_have_no_nearest_rows():
    rows = torch.tensor([[1.0, 0.3], [-1, 0.3], [0.1, 0.3], [-0.1, 0.3]])
    table = AttributeTable.from_dict({"a": ["x", "x", "y", "y"]})
    found = directions(rows, table)["a", "x"]
    assert found.explained == pytest.approx(0, abs=1e-15)
    assert found.nearest == ()


def test_rows_that_need_gradients_and_views_are_fine():
    x, table = made(4)
    weight = torch.nn.Parameter(x.T.contiguous()).T
    found = directions(weight, table)["a", "0"]
    assert not found.vector.requires_grad
    assert torch.equal(found.vector, directions(x, table)["a", "0"].vector)


def test_wrong_arguments_are_refused():
    x, table = made(0, rows=6)
    with pytest.raises(ValueError, match=r"rows must be a floating point tensor \[n, d\]"):
        directions(torch.zeros(6, 2, dtype=torch.int64), table)
    with pytest.raises(ValueError, match=r"one row for each row of rows; it has 6, but rows has 5"):
        directions(x[:5], table)
    with pytest.raises(ValueError, match="one entry for each row of the table, 6; got 2"):
        directions(x, table, ["king", "queen"])
    with pytest.raises(ValueError, match=r"names must be a list .* got a str, 'queens'"):
        directions(x, table, "queens")
    with pytest.raises(ValueError, match="number of rows to name, 0 or more; got -1"):
        directions(x, table, nearest=-1)
