"""The causal inner product: against the inverse covariance in loops, and under any linear map."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_semgeom import AttributeTable, attribute_similarity, directions, whitened
from tests import oracles

FIGURES = ("within", "between", "gap", "z", "strength", "within_value")


def made(seed, rows=200, width=6):
    """Rows of unequal spread in which the first attribute says something; and their table."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(0, m, (rows,), generator=generator) for m in (3, 2)], dim=1)
    codes[torch.rand(codes.shape, generator=generator) > 0.8] = -1
    codes[0] = 0  # a table has to label some row
    centres = torch.randn(3, width, generator=generator, dtype=torch.float64)
    x = torch.randn(rows, width, generator=generator, dtype=torch.float64) + centres[codes[:, 0]]
    table = AttributeTable(codes, ("a", "b"), (("0", "1", "2"), ("0", "1")))
    return x @ mixing(seed + 1, width), table


def mixing(seed, width=6):
    """Any invertible map."""
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.linalg.qr(
        torch.randn(2, width, width, generator=generator, dtype=torch.float64)
    )[0]
    return left * torch.linspace(0.3, 4, width, dtype=torch.float64) @ right


def test_a_case_worked_by_hand():
    # Centred already, variances 32 and 1/8.
    rows = torch.tensor([[8.0, 0], [-8, 0], [0, 0.5], [0, -0.5]], dtype=torch.float64)
    root2 = math.sqrt(2)
    expected = [[root2, 0], [-root2, 0], [0, root2], [0, -root2]]
    assert whitened(rows).tolist() == [pytest.approx(row, abs=1e-12) for row in expected]
    # A ridge of a whole mean eigenvalue, 16.0625, beside each.
    shorter = whitened(rows, ridge=1.0)
    assert float(shorter[0, 0]) == pytest.approx(8 / math.sqrt(32 + 16.0625))
    assert float(shorter[2, 1]) == pytest.approx(0.5 / math.sqrt(0.125 + 16.0625))


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 40),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_inner_products_are_those_of_the_inverse_covariance(seed, rows, dtype):
    x = made(seed, rows, width=4)[0].to(dtype)
    if rows > 5:
        x[1], x[2, 0], x[3, 0] = 0, math.inf, math.nan
    found = whitened(x)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = oracles.causal_inner_products(x.double().numpy())
    gram = found.double() @ found.double().T
    assert np.allclose(gram.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rows", "width", "rank"), [(300, 6, 6), (300, 6, 4), (5, 8, 4)])
def test_the_covariance_becomes_the_identity_where_the_rows_have_spread(rows, width, rank):
    x = made(3, rows, width)[0]
    if rank < min(rows - 1, width):
        x = x @ torch.diag((torch.arange(width) < rank).double()) @ mixing(4, width)
    found = whitened(x + 50.0)
    covariance = found.T @ found / rows
    # A projector: its eigenvalues are 1 and 0.
    assert torch.allclose(covariance @ covariance, covariance, atol=1e-8)
    assert float(covariance.trace()) == pytest.approx(rank)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_no_invertible_map_of_the_unembedding_changes_a_figure(seed):
    rows, table = made(seed)
    mapped = rows @ mixing(seed + 2) + 3.0
    one, other = (attribute_similarity(x, table, whiten=True) for x in (rows, mapped))
    for name in FIGURES:
        assert torch.allclose(one[name], other[name], rtol=1e-6, atol=1e-8), name
    one, other = (directions(x, table, whiten=True) for x in (rows, mapped))
    for key, found in one.items():
        assert other[key].explained == pytest.approx(found.explained, rel=1e-6)
        assert other[key].nearest == found.nearest
        lengths = [float(torch.linalg.vector_norm(of.vector)) for of in (found, other[key])]
        assert lengths[1] == pytest.approx(lengths[0], rel=1e-6)


def test_without_whitening_such_a_map_changes_them():
    rows, table = made(0)
    mapped = rows @ mixing(2)
    one, other = (attribute_similarity(x, table) for x in (rows, mapped))
    assert float((one["gap"] - other["gap"]).abs().max()) > 0.02
    one, other = (directions(x, table) for x in (rows, mapped))
    assert any(one[key].nearest != other[key].nearest for key in one)


def test_the_option_is_the_function():
    rows, table = made(5)
    with_padding = torch.cat([rows, torch.full((7, 6), 9.0, dtype=rows.dtype)])
    expected = attribute_similarity(whitened(rows), table)
    found = attribute_similarity(with_padding, table, whiten=True)
    for name in FIGURES:
        assert torch.equal(found[name], expected[name]), name
    codes = attribute_similarity(rows, table.codes, table.num_values, whiten=True)
    assert torch.equal(codes["gap"], expected["gap"])
    expected = directions(whitened(rows), table)
    for key, found in directions(with_padding, table, whiten=True).items():
        assert torch.equal(found.vector, expected[key].vector)
        assert found.nearest == expected[key].nearest


def test_the_direction_to_steer_by_reads_what_the_whitened_one_reads():
    rows, table = made(10)
    ordinary = directions(rows, table)["a", "1"].vector
    steering = torch.linalg.solve(torch.cov(rows.T, correction=0), ordinary)
    found = whitened(rows) @ directions(rows, table, whiten=True)["a", "1"].vector
    assert torch.allclose(found, (rows - rows.mean(0)) @ steering)


def test_a_planted_attribute_that_small_directions_hide_is_seen():
    generator = torch.Generator().manual_seed(6)
    codes = torch.arange(400)[:, None] % 2
    rows = torch.randn(400, 6, generator=generator) * torch.tensor([50.0, 40, 30, 20, 10, 0.1])
    rows[:, 5] += 0.5 * (codes[:, 0] * 2 - 1)
    plain = attribute_similarity(rows, codes, [2])
    found = attribute_similarity(rows, codes, [2], whiten=True)
    assert abs(float(plain["gap"][0])) < 0.01
    assert float(found["gap"][0]) > 0.2


def test_much_ridge_leaves_the_ordinary_inner_product():
    rows, table = made(7)
    found = attribute_similarity(whitened(rows, ridge=1e9), table)
    assert torch.allclose(found["gap"], attribute_similarity(rows, table)["gap"], atol=1e-7)


def test_few_rows_become_a_simplex_whatever_they_were():
    rows, table = made(8, rows=7)
    assert torch.allclose(
        attribute_similarity(rows, table, whiten=True)["between"], torch.tensor(-1 / 6).double()
    )


def test_rows_that_count_for_nothing_become_zero():
    rows = made(9)[0]
    left_out = torch.cat([rows, torch.zeros(1, 6), torch.full((2, 6), torch.nan)])
    left_out[-1] = math.inf
    found = whitened(left_out)
    assert torch.allclose(found[:-3], whitened(rows))
    assert not found[-3:].any()
    assert not whitened(torch.zeros(4, 3)).any()
    assert whitened(torch.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("ridge", [-0.1, math.nan, math.inf])
def test_a_ridge_that_is_none_is_refused(ridge):
    with pytest.raises(ValueError, match=r"ridge must be a share .* 0 or more and finite; got"):
        whitened(torch.randn(5, 2), ridge)


def test_rows_that_are_no_matrix_are_refused():
    with pytest.raises(ValueError, match="Flatten batch and time first"):
        whitened(torch.randn(2, 3, 4))
