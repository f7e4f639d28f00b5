import math

import pytest
import torch

from lightning_semgeom import Spectrum, spectrum
from tests import oracles


def assert_like_oracle(rows, center=True, tolerance=1e-5):
    found, expected = spectrum(rows, center), oracles.spectrum(rows.double().numpy(), center)
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=tolerance, abs=tolerance), name


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("shape", [(50, 8), (6, 30), (300, 4), (3, 2)])
def test_random_rows_agree_with_singular_values(shape, center):
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert_like_oracle(rows, center)
    assert_like_oracle(rows + 100, center, tolerance=1e-4)
    assert_like_oracle(rows.bfloat16(), center)


def test_a_simplex_and_a_tight_frame_are_symmetric_and_a_line_is_not():
    assert float(spectrum(torch.eye(7))["asymmetry"]) == pytest.approx(0, abs=1e-6)
    frame = torch.cat([torch.eye(3), -torch.eye(3)])
    assert float(spectrum(frame)["asymmetry"]) == pytest.approx(0, abs=1e-6)
    assert float(spectrum(frame)["participation_ratio"]) == pytest.approx(3)
    assert float(spectrum(frame)["effective_rank"]) == pytest.approx(3)
    line = torch.arange(-3.0, 5.0)[:, None] * torch.tensor([[1.0, 2.0, 0.0]])
    assert float(spectrum(line)["asymmetry"]) == pytest.approx(1)
    assert float(spectrum(line)["effective_rank"]) == pytest.approx(1)


def test_zero_and_not_finite_rows_are_left_out():
    rows = torch.randn(20, 5, generator=torch.Generator().manual_seed(1))
    rows[2], rows[9, 1] = 0, math.nan
    assert_like_oracle(rows)


def test_what_is_not_defined_is_nan():
    for rows in (torch.zeros(0, 3), torch.zeros(4, 3), torch.full((4, 3), 0.7), torch.ones(1, 3)):
        assert all(math.isnan(float(value)) for value in spectrum(rows).values())
    assert math.isnan(float(spectrum(torch.randn(2, 3))["asymmetry"]))  # two centred rows: a line


def test_splitting_the_rows_over_updates_changes_nothing_given_the_mean():
    rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(2))
    metric = Spectrum(6)
    for part in rows.split(7):
        metric.update(part, mean=rows.double().mean(0))
    for name, value in spectrum(rows).items():
        assert float(metric.compute()[name]) == pytest.approx(float(value), abs=1e-6), name
    metric.reset()
    assert float(metric.count) == 0
