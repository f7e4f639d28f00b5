"""The third moment of cosines against loops over pairs, and what must not change it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom import cosine_third_moment
from lightning_semgeom.geometry import pairs
from tests import oracles


def made(rows=40, width=6, seed=0, shift=0.5):
    """Rows in groups of a few that are alike, and counts as words have them."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(9, width, generator=generator)
    group = torch.randint(9, (rows,), generator=generator)
    x = centres[group] + 0.4 * torch.randn(rows, width, generator=generator) + shift
    return x, (1000 / (1 + torch.randperm(rows, generator=generator))).long()


@pytest.mark.parametrize("tile", [7, 1024])
@pytest.mark.parametrize("share", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_it_is_that_of_a_loop_over_pairs(monkeypatch, dtype, share, tile):
    monkeypatch.setitem(pairs._TILE, "cpu", tile)
    x, counts = made()
    x = x.to(dtype)
    exact = oracles.cosine_third_moment(x.double().numpy(), counts.tolist(), share)
    found = cosine_third_moment(x, counts, share)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(exact, rel=1e-5)
    every = oracles.cosine_third_moment(x.double().numpy())
    assert float(cosine_third_moment(x)) == pytest.approx(every, rel=1e-5)


@given(st.integers(0, 2**31), st.integers(3, 60), st.integers(1, 9), st.floats(0.05, 1))
def test_it_is_that_of_a_loop_whatever_is_given(seed, rows, width, share):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    x[torch.rand(rows, generator=generator) < 0.1] = 0
    x[torch.rand(rows, generator=generator) < 0.05] = math.nan
    counts = torch.randint(0, 5, (rows,), generator=generator)
    exact = oracles.cosine_third_moment(x.numpy(), counts.tolist(), share)
    found = float(cosine_third_moment(x, counts, share))
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-12, nan_ok=True)


def test_order_rotation_and_scale_of_rows_and_counts_do_not_change_it():
    x, counts = made(60, seed=3)
    x = x.double()
    whole = float(cosine_third_moment(x, counts))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    turned, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))
    for rows, times in ((x[order], counts[order]), (x @ turned, counts), (3 * x, 7 * counts)):
        assert float(cosine_third_moment(rows, times)) == pytest.approx(whole, rel=1e-9)


def test_groups_are_a_tail_and_one_direction_that_all_rows_have_is_none():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(300, 40, generator=generator)
    groups = noise + 6 * torch.randn(60, 40, generator=generator).repeat_interleave(5, 0)
    along = noise + 3 * torch.randn(300, 1, generator=generator) * torch.eye(40)[0]
    nothing, alike, broad = (float(cosine_third_moment(rows)) for rows in (noise, groups, along))
    assert alike > 100 * abs(nothing)
    assert alike > 3 * abs(broad)


def test_rows_as_frequent_as_the_last_one_count_too_and_those_that_never_occur_do_not():
    x, _ = made(30)
    same = torch.full((30,), 5)
    assert float(cosine_third_moment(x, same, 0.1)) == float(cosine_third_moment(x))
    few = torch.arange(30) < 8
    assert float(cosine_third_moment(x, few.long(), 1.0)) == pytest.approx(
        float(cosine_third_moment(x[few])), rel=1e-6
    )


def test_where_there_is_no_pair_it_is_nan():
    x, _ = made(6)
    assert math.isnan(cosine_third_moment(x[:2]))
    assert math.isnan(cosine_third_moment(torch.ones(5, 3)))  # no row has a direction
    assert math.isnan(cosine_third_moment(x, torch.zeros(6)))
    assert math.isnan(cosine_third_moment(x, torch.tensor([9, 9, 1, 1, 1, 1]), 0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": torch.ones(5)}, r"one number for each of the 6 rows; got \[5\]"),
        ({"counts": -torch.ones(6)}, "0 or more, and finite"),
        ({"counts": torch.full((6,), math.nan)}, "0 or more, and finite"),
        ({"share": 0.0}, r"share must lie in \(0, 1\]; got 0.0"),
        ({"share": 1.5}, r"share must lie in \(0, 1\]; got 1.5"),
        ({"rows": torch.arange(6)}, "rows must be a floating point tensor"),
    ],
)
def test_what_does_not_fit_is_told(options, message):
    x, _ = made(6)
    with pytest.raises(ValueError, match=message):
        cosine_third_moment(**({"rows": x} | options))
