"""The example that holds figures without attributes beside the mean gap."""

import numpy as np
import pytest
import torch

from lightning_semgeom import cosine_third_moment
from tests import oracles
from tests.examples import scripts


@pytest.fixture
def script(imported):
    return imported("peak_without_attributes")


def test_what_was_tried_is_what_its_name_says(script):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 5, generator=generator) * torch.tensor([5.0, 2, 1, 1, 1])
    units, _ = oracles.unit_rows(rows.numpy())
    rest = np.linalg.eigvalsh(units.T @ units)[:-1]
    expected = ((rest**2).sum() / rest.sum() ** 2 - 1 / 4) / (1 - 1 / 4)
    assert float(script.without_leading(rows)) == pytest.approx(expected, rel=1e-5)
    cosines = units @ units.T - 2 * np.eye(40)
    nearest = np.sort(cosines, axis=1)[:, -5:].mean()
    assert float(script.nearest(rows)) == pytest.approx(nearest, rel=1e-5)
    counts = torch.randperm(40, generator=generator).float()
    banded = script.within_bands(rows, counts)
    order = counts.argsort()
    for k in range(4):
        own = rows[order[10 * k : 10 * k + 10]]
        torch.testing.assert_close(banded[order[10 * k : 10 * k + 10]], own - own.mean(0))
    often = script.most_frequent(counts, 40, 0.7)
    assert counts[often].sum() >= 0.7 * counts.sum() > counts[often].sum() - counts[often].min()
    assert script.figures(rows, counts)["third moment, 60% of the text"] == cosine_third_moment(
        rows, counts, 0.6
    )


@pytest.mark.processes
def test_a_setting_has_its_peaks_in_the_table(script, tmp_path):
    arguments = ("--settings", "factored", "pictures", "--seeds", "0", "1", "--steps", "60")
    told = scripts.run("peak_without_attributes", *arguments, "--out", tmp_path)
    rows = scripts.rows_of(told)
    assert rows[0] == ["peak / that of the mean gap", "factored", "pictures", "within 20 %"]
    files = [tmp_path / f"factored-60-{seed}.npz" for seed in (0, 1)]
    for name, *cells in rows[2:]:
        of = []
        for file in files:
            curves = np.load(file)
            peak, own = (curves["steps"][curves[key].argmax()] for key in ("gap", name))
            of.append(own / peak)
        assert cells[0] == f"{np.median(of):.2f} ({min(of):.2f} to {max(of):.2f})", name
    hits = {name: cells[-1] for name, *cells in rows[2:]}
    assert hits["third moment, 70% of the text"] == "4 of 4"
