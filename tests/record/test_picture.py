import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_semgeom.record.picture import MIXED, SitePicture, turned_towards
from tests import models


def units(rows, width=6, seed=0):
    found = np.random.default_rng(seed).normal(size=(rows, width))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def of_cells(vectors, cells, labels, attributes):
    """A picture of the unit `vectors`, row by row in `cells`, whose labels are `labels`."""
    means = np.array([vectors[cells == c].mean(0) for c in range(len(labels))])
    rows = [int((cells == c).sum()) for c in range(len(labels))]
    return models.picture(means @ means.T, labels, rows, attributes)


def test_a_picture_on_disk_is_the_same_picture(tmp_path):
    picture = models.picture(np.eye(3), [["a", ""], ["é", MIXED], ["c", "x"]], None, ("k", "s"))
    picture.save(tmp_path / "deep/er/picture.npz")
    read = SitePicture.load(tmp_path / "deep/er/picture.npz")
    assert read.labels.tolist() == picture.labels.tolist()
    assert read.gram.dtype == np.float32
    assert (read.gram == picture.gram).all()
    assert read.bands(0) == [("a", 1), ("é", 1), ("c", 1)]


@settings(deadline=None)
@given(seed=st.integers(0, 50), cell_count=st.integers(2, 12))
def test_similarity_by_shared_attributes_is_that_of_all_pairs_of_rows(seed, cell_count):
    generator = np.random.default_rng(seed)
    cells = np.concatenate([np.arange(cell_count), generator.integers(cell_count, size=20)])
    vectors = units(len(cells), seed=seed)
    labels = generator.choice(["", "x", "y"], size=(cell_count, 3)).tolist()
    found = of_cells(vectors, cells, labels, ("k", "s", "t")).shared()
    cosines = {number: [] for number in range(4)}
    for i in range(len(cells)):
        for j in range(len(cells)):
            if i != j:
                pair = zip(labels[cells[i]], labels[cells[j]], strict=True)
                number = sum(a == b and a != "" for a, b in pair)
                cosines[number].append(float(vectors[i] @ vectors[j]))
    for number, expected in cosines.items():
        assert found.pairs[number] == len(expected)
        mean = sum(expected) / len(expected) if expected else math.nan
        assert found.cosine[number] == pytest.approx(mean, abs=1e-5, nan_ok=True)


def test_attributes_that_a_cell_mixes_do_not_count_as_shared():
    labels = [["a", MIXED], ["a", "x"], ["b", "x"]]
    found = models.picture(np.eye(3), labels, None, ("kind", "space")).shared()
    assert found.attributes == ("kind",)
    assert found.pairs.tolist() == [4, 2]


def test_the_map_is_the_principal_component_analysis_of_all_rows_of_cells_alike():
    vectors = units(8)
    cells = np.array([0, 0, 0, 1, 2, 2, 3, 4])
    positions, shares = of_cells(vectors, cells, [["a"]] * 5, ("k",)).map()
    means = np.array([vectors[cells == c].mean(0) for c in range(5)])[cells]
    centred = means - means.mean(0)
    _, sizes, axes = np.linalg.svd(centred)
    expected = centred @ axes[:2].T
    for axis in range(2):
        ours, theirs = positions[cells, axis], expected[:, axis]
        assert np.allclose(ours, theirs, atol=1e-6) or np.allclose(ours, -theirs, atol=1e-6)
    assert shares == pytest.approx(sizes[:2] ** 2 / (sizes**2).sum(), abs=1e-6)


@pytest.mark.parametrize(
    "gram", [np.zeros((0, 0)), np.eye(1), np.ones((3, 3)), np.full((2, 2), np.nan)]
)
def test_degenerate_pictures_have_a_map_and_shared_pairs(gram):
    rows = None if np.isfinite(gram).all() else [0, 0]
    picture = models.picture(gram, rows=rows)
    positions, shares = picture.map()
    assert positions.shape == (len(gram), 2)
    assert np.isnan(shares).all()
    assert len(picture.shared().cosine) == 2


def test_a_turned_and_mirrored_map_is_turned_back():
    before = units(9, width=2)
    turn = np.array([[0.6, 0.8], [0.8, -0.6]])
    assert np.allclose(turned_towards(before @ turn, before), before)
    assert turned_towards(before[:4], before).tolist() == before[:4].tolist()
