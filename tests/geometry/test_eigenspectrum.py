"""RankMe and alpha against singular values in loops, and against the authors' own lines."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom import eigenspectrum, spectrum
from tests import oracles


def falling(seed, rows=600, width=128, exponent=1.0, shift=0.0):
    """Rows whose variance falls as a power of the rank, turned and moved."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.arange(1, width + 1, dtype=torch.float64) ** (-exponent / 2)
    rows = torch.randn(rows, width, generator=generator, dtype=torch.float64) * sizes
    turn = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return rows @ torch.linalg.qr(turn)[0] + shift


def assert_like_oracle(rows, tolerance=1e-5):
    found, expected = eigenspectrum(rows), oracles.eigenspectrum(rows.double().numpy())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        close = pytest.approx(value, rel=tolerance, abs=tolerance, nan_ok=True)
        assert float(found[name]) == close, name


def by_the_authors_lines(rows):
    """As the code of arXiv 2509.23024 has it: covariance, RankMe with an epsilon, normal equations.

    `stringer_get_powerlaw` (Stringer & Pachitariu, 2018) at the places np.arange(11, 100).
    """
    centred = rows - rows.mean(0)
    values = np.linalg.svd(centred.T @ centred / len(rows), compute_uv=False)
    shares = values / np.abs(values).sum() + 1e-7
    places = np.arange(11, 100)
    x = np.stack([-np.log(places + 1), np.ones(len(places))], axis=1)
    weights = 1 / (places + 1).astype(np.float32)[:, None]
    y = np.log(values[places])[:, None]
    solved = np.linalg.solve(x.T @ (x * weights), (weights * x).T @ y)
    return np.exp(-np.sum(shares * np.log(shares))), solved[0, 0]


def test_a_case_worked_by_hand():
    # Centred already; eigenvalues 32 / 4 and 8 / 4.
    rows = torch.tensor([[4.0, 0], [-4, 0], [0, 2], [0, -2]])
    found = eigenspectrum(rows)
    assert float(found["rankme"]) == pytest.approx(0.8**-0.8 * 0.2**-0.2, rel=1e-6)
    assert math.isnan(float(found["alpha_req"]))


def test_a_power_law_is_read_off_exactly():
    sizes = torch.arange(1, 151, dtype=torch.float64) ** -0.85
    rows = torch.cat([torch.diag(sizes), -torch.diag(sizes)])
    assert float(eigenspectrum(rows)["alpha_req"]) == pytest.approx(1.7)
    even = torch.cat([torch.eye(150), -torch.eye(150)])
    found = eigenspectrum(even)
    assert float(found["alpha_req"]) == pytest.approx(0, abs=1e-6)
    assert float(found["rankme"]) == pytest.approx(150, rel=1e-4)


def test_only_ranks_from_12_to_100_count_and_early_ones_count_more():
    values = torch.arange(1, 151, dtype=torch.float64) ** -1.0
    outside = values.clone()
    outside[:11] *= torch.linspace(900, 500, 11, dtype=torch.float64)
    outside[100:] /= 1000
    bent = values.clone()
    bent[40:] *= (torch.arange(41, 151, dtype=torch.float64) / 40) ** -2.0

    def alpha(of):
        rows = torch.diag(of.sqrt())
        return float(eigenspectrum(torch.cat([rows, -rows]))["alpha_req"])

    assert alpha(outside) == pytest.approx(1)
    assert 1.05 < alpha(bent) < (1 + 3) / 2


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 150),
    width=st.sampled_from([1, 3, 40, 100, 120]),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    shift=st.sampled_from([0.0, 3.0]),
)
def test_any_rows_agree_with_singular_values(seed, rows, width, dtype, shift):
    made = falling(seed, rows, width, shift=shift)
    if rows > 5:
        made[1], made[2, 0], made[3, 0] = 0, math.inf, math.nan
    assert_like_oracle(made.to(dtype), tolerance=1e-4)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_the_authors_own_lines_give_the_same(exponent):
    rows = falling(0, exponent=exponent, shift=2.0)
    found = eigenspectrum(rows)
    rankme, alpha = by_the_authors_lines(rows.numpy())
    assert float(found["rankme"]) == pytest.approx(rankme, rel=1e-6)
    assert float(found["alpha_req"]) == pytest.approx(alpha, rel=1e-6)


def test_turning_moving_and_scaling_change_nothing():
    rows = falling(1)
    generator = torch.Generator().manual_seed(2)
    turn = torch.linalg.qr(torch.randn(128, 128, generator=generator, dtype=torch.float64))[0]
    found, turned = eigenspectrum(rows), eigenspectrum(100 * rows @ turn - 7)
    for name in found:
        assert float(turned[name]) == pytest.approx(float(found[name]), rel=1e-8), name


def test_one_long_row_takes_rankme_and_leaves_the_effective_rank():
    rows = falling(3, exponent=0.0)
    long = rows.clone()
    long[0] *= 1000
    assert float(eigenspectrum(rows)["rankme"]) == pytest.approx(128, rel=0.2)
    assert float(eigenspectrum(long)["rankme"]) < 2
    kept = float(spectrum(long, center=False)["effective_rank"])
    assert kept == pytest.approx(float(spectrum(rows, center=False)["effective_rank"]), rel=1e-3)


def test_alpha_needs_a_hundred_directions():
    assert math.isnan(float(eigenspectrum(falling(4, width=99))["alpha_req"]))
    assert float(eigenspectrum(falling(4, width=100))["alpha_req"]) > 0
    assert math.isnan(float(eigenspectrum(falling(4, rows=100))["alpha_req"]))  # 99 once centred
    assert float(eigenspectrum(falling(4, rows=101))["alpha_req"]) > 0
    generator = torch.Generator().manual_seed(5)
    flat = torch.randn(300, 50, generator=generator) @ torch.randn(50, 128, generator=generator)
    assert math.isnan(float(eigenspectrum(flat)["alpha_req"]))


def test_what_is_not_defined_is_nan():
    for rows in (torch.zeros(0, 3), torch.zeros(4, 3), torch.full((4, 3), 0.7), torch.ones(1, 3)):
        assert all(math.isnan(float(value)) for value in eigenspectrum(rows).values())


def test_gradients_do_not_follow():
    assert not eigenspectrum(falling(6).requires_grad_())["rankme"].requires_grad


def test_rows_that_are_no_matrix_are_refused():
    with pytest.raises(ValueError, match="Flatten batch and time first"):
        eigenspectrum(torch.randn(2, 3, 4))
