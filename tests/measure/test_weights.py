"""The figures of weight sites: one copy to the host, and what a record waits for."""

import math

import pytest
import torch
from torch import nn

from lightning_semgeom import AttributeTable, SemanticGeometry
from lightning_semgeom.capture.ranks import Ranks
from lightning_semgeom.capture.shards import OwnedRows
from lightning_semgeom.measure import weights as measure_weights
from lightning_semgeom.measure.site import measure
from lightning_semgeom.measure.weights import WeightFigures
from tests import models


def figures(sites, values, rows=300, width=16):
    generator = torch.Generator().manual_seed(0)
    codes = {name: (torch.arange(rows) % m).tolist() for name, m in values.items()}
    weights = {s: torch.randn(rows, width, generator=generator) for s in sites}
    measuring = WeightFigures(
        AttributeTable.from_dict(codes), dict.fromkeys(sites, width), 8, Ranks()
    )
    owned = {s: OwnedRows(w, 0, rows) for s, w in weights.items()}
    return measuring, owned, weights


@pytest.mark.parametrize("sites", [("a",), ("a", "b", "c", "d")])
@pytest.mark.parametrize("values", [{"x": 2}, {"x": 40, "y": 7, "z": 3}])
def test_a_record_of_many_sites_asks_the_host_once(asked, sites, values):
    measuring, owned, _ = figures(sites, values)
    measuring.measure(owned, None)  # plans are made
    asked.clear()
    found = measuring.measure(owned, None)
    assert asked.count("cpu") == 1
    assert set(asked) <= {"cpu", "numpy"}  # of what has been copied
    assert len(asked) <= 3
    assert all(not math.isnan(one.values["gap"]) for one in found.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [300, 5000])  # many rows are added up in another way
@pytest.mark.parametrize("part", [slice(0, None), slice(100, 250)])
def test_the_device_is_not_asked_before_all_figures_are_copied(monkeypatch, rows, dtype, part):
    device = torch.device("meta")  # it holds no numbers: whoever reads one fails
    measuring, owned, _ = figures(("a", "b"), {"x": 40, "y": 7}, rows)
    owned = {
        site: OwnedRows(one.rows[part].to(device, dtype), part.start, rows)
        for site, one in owned.items()
    }
    copied = []
    monkeypatch.setattr(
        measure_weights, "measurements", lambda found, _: copied.append(found) or {}
    )
    measuring.measure(owned, None)
    (found,) = copied
    assert [one.device for one in found.values()] == [device, device]


def test_a_site_with_a_zero_row_is_measured_carefully_from_then_on(asked):
    measuring, owned, weights = figures(("a", "b"), {"x": 3})
    weights["b"][5] = 0
    for _ in range(2):
        found = measuring.measure(owned, None)
        for site, weight in weights.items():
            expected = measure(weight, found[site].plan).values
            assert found[site].values == pytest.approx(expected, rel=1e-6, abs=1e-7, nan_ok=True)
        assert found["b"].values["skipped"] == 1
    asked.clear()
    measuring.measure(owned, None)
    assert asked.count("cpu") == 1


class Wide(models.TinyModel):
    def __init__(self):
        super().__init__()
        self.wide = nn.Embedding(models.TOKENS, 129)


def test_eigenvalues_of_a_wide_site_come_with_the_pictures_that_are_kept(tmp_path):
    callback = SemanticGeometry(
        models.table(), unembedding="lm_head", embedding="wide", every_n_steps=1, growth=None
    )
    models.trainer(tmp_path, callback, max_steps=30).fit(Wide(), models.batches(30))
    known = {
        site: [
            record.step
            for record in callback.history
            if not math.isnan(record.values[f"semgeom_{site}/effective_rank"])
        ]
        for site in ("unembedding", "embedding")
    }
    assert known["unembedding"] == [record.step for record in callback.history]
    kept = [record.step for record in callback.history if "embedding" in record.pictures]
    assert set(known["embedding"]) <= set(kept)
    assert known["embedding"][-1] == 30
    assert len(known["embedding"]) < len(callback.history)
    for record in callback.history:
        assert not math.isnan(record.values["semgeom_embedding/participation_ratio"])
