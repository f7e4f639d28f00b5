"""The gap within strata against loops over pairs of rows."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_semgeom import AttributeTable, attribute_similarity
from lightning_semgeom.geometry.partial import MAX_JOINT_VALUES, joint_values, partial_gap
from lightning_semgeom.measure.plan import plan_site
from lightning_semgeom.measure.site import measure
from tests import oracles


def made(seed, rows=40, width=6, values=(2, 3, 4), labelled=0.8):
    """Rows of which the first attribute says something, and a second one that goes with it."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(0, m, (rows,), generator=generator) for m in values], dim=1)
    if len(values) > 1:
        follows = torch.rand(rows, generator=generator) < 0.6
        codes[follows, 1] = codes[follows, 0] % values[1]
    centres = torch.randn(values[0], width, generator=generator, dtype=torch.float64)
    x = torch.randn(rows, width, generator=generator, dtype=torch.float64) + centres[codes[:, 0]]
    codes[torch.rand(codes.shape, generator=generator) > labelled] = -1
    return x, codes


def test_strata_worked_by_hand():
    # Kind 0 has colours 0, 0, 1 at 0, 0 and 90 degrees; kind 1 has them at 180, 0 and 0 degrees.
    rows = torch.tensor([[1.0, 0], [2, 0], [0, 1], [-1, 0], [1, 0], [3, 0]]).double()
    codes = torch.tensor([[0, 0], [0, 0], [1, 0], [0, 1], [0, 1], [1, 1]])
    found = partial_gap(rows, codes, [2, 2], center=False)
    # Kind 0: 1 - 0; kind 1: -1 - (-1 + 1) / 2; one pair to two in both, so equal weights.
    assert float(found[0]) == pytest.approx((1 - 1) / 2)
    # Colour 0: same kind 1, -1; others -1, 1, -1, 1. Colour 1 has no pair of one kind.
    assert float(found[1]) == pytest.approx(0.0)


def test_a_gap_that_another_attribute_makes_is_gone():
    generator = torch.Generator().manual_seed(0)
    kind = torch.arange(200) % 2
    colour = torch.where(torch.rand(200, generator=generator) < 0.85, kind, 1 - kind)
    rows = torch.randn(200, 16, generator=generator) + 3 * kind[:, None]
    codes = torch.stack([colour, kind], dim=1)
    gaps = attribute_similarity(rows, codes, [2, 2])
    assert gaps["gap"][0] > 0.3
    assert gaps["z"][0] > 10
    partial = partial_gap(rows, codes, [2, 2])
    assert abs(partial[0]) < 0.03
    assert partial[1] > 0.5


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(0, 40),
    values=st.sampled_from([(2,), (2, 3), (2, 2, 2), (3, 4, 1, 2)]),
    labelled=st.floats(0.3, 1.0),
    center=st.booleans(),
)
def test_any_case_agrees_with_loops_over_pairs(seed, rows, values, labelled, center):
    x, codes = made(seed, rows, values=values, labelled=labelled)
    if rows > 3:
        x[1], x[2, 0], codes[3] = 0, math.inf, codes[0]
    found = partial_gap(x, codes, values, center)
    expected = [
        oracles.partial_gap(x.numpy(), codes.tolist(), a, center) for a in range(len(values))
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_with_one_attribute_it_is_the_gap():
    x, codes = made(1, values=(4,))
    expected = attribute_similarity(x, codes, [4])["gap"]
    assert partial_gap(x, codes, [4]).tolist() == pytest.approx(expected.tolist(), abs=1e-12)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_order_scale_rotation_and_names_of_values_change_nothing(seed, scale):
    x, codes = made(seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    renamed = codes.clone()
    renamed[:, 2] = torch.where(codes[:, 2] >= 0, 3 - codes[:, 2], -1)
    expected = partial_gap(x, codes, [2, 3, 4])
    for other in (
        partial_gap(x[order], codes[order], [2, 3, 4]),
        partial_gap(scale * x, codes, [2, 3, 4]),
        partial_gap(x @ rotation, codes, [2, 3, 4]),
        partial_gap(x, renamed, [2, 3, 4]),
        partial_gap(x, codes.flip(1), [4, 3, 2]).flip(0),
    ):
        assert torch.allclose(other, expected, atol=1e-8, equal_nan=True)


def test_it_is_not_defined_where_all_combinations_are_single_or_too_many():
    x, _ = made(2, rows=64)
    grid = torch.cartesian_prod(torch.arange(2), torch.arange(4), torch.arange(8))
    assert partial_gap(x, grid, [2, 4, 8]).isnan().all()
    count = MAX_JOINT_VALUES + 1
    many = torch.stack([torch.arange(count), torch.arange(count) % 2], dim=1)
    assert joint_values(many) is None
    assert joint_values(many[:-1]) is not None
    assert partial_gap(torch.randn(count, 3), many, [count, 2]).isnan().all()


def test_joint_values_of_many_attributes_do_not_overflow():
    codes = torch.randint(0, 1000, (50, 40), generator=torch.Generator().manual_seed(0))
    joint = joint_values(torch.cat([codes, codes]))
    assert joint.codes.shape == (50, 40)
    assert torch.equal(joint.codes[joint.of_row[:50]], codes)
    assert torch.equal(joint.of_row[:50], joint.of_row[50:])


def tiny(seed):
    """Two strata of three and four rows for the first attribute, and what is left out."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    first = torch.tensor([0, 0, 1, 0, 1, 1, 2, -1, 0, 1])
    x[8] = 0
    return x, torch.stack([first, torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 1, 2])], dim=1)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_z_is_exact_over_all_relabellings_within_strata(seed, center):
    x, codes = tiny(seed)
    found = partial_gap(x, codes, [3, 3], center, null=True)
    drawn = [*oracles.all_partial_gaps(x.numpy(), codes.tolist(), 0, center)]
    assert len(drawn) == math.factorial(3) * math.factorial(4)
    observed = oracles.partial_gap(x.numpy(), codes.tolist(), 0, center)
    assert sum(drawn) / len(drawn) == pytest.approx(0, abs=1e-12)
    deviation = math.sqrt(sum(gap**2 for gap in drawn) / len(drawn))
    assert float(found["partial_z"][0]) == pytest.approx(observed / deviation, rel=1e-9)
    assert float(found["partial_gap"][0]) == pytest.approx(observed, rel=1e-9)


@pytest.mark.parametrize(("rows", "width"), [(150, 40), (400, 4)])
@pytest.mark.parametrize("labelled", [0.8, 1.0])
def test_z_is_that_of_20000_random_relabellings_within_strata(rows, width, labelled):
    x, codes = made(4, rows, width, labelled=labelled)
    found = partial_gap(x, codes, [2, 3, 4], null=True)
    for a in range(3):
        gap, drawn = oracles.drawn_partial_gaps(x.numpy(), codes.tolist(), a, 20_000, a)
        assert float(found["partial_gap"][a]) == pytest.approx(gap, abs=1e-9)
        # Sampling: the mean to sd / 141, the sd itself to about 0.7 %.
        assert abs(drawn.mean()) < 4 * drawn.std() / math.sqrt(len(drawn))
        assert float(found["partial_z"][a]) == pytest.approx(gap / drawn.std(), rel=0.03)


def test_an_attribute_that_only_goes_along_has_a_large_z_and_a_small_one_within_strata():
    generator = torch.Generator().manual_seed(0)
    kind = torch.arange(200) % 2
    colour = torch.where(torch.rand(200, generator=generator) < 0.85, kind, 1 - kind)
    rows = torch.randn(200, 16, generator=generator) + 3 * kind[:, None]
    codes = torch.stack([colour, kind], dim=1)
    z = partial_gap(rows, codes, [2, 2], null=True)["partial_z"]
    assert attribute_similarity(rows, codes, [2, 2])["z"][0] > 10
    assert abs(z[0]) < 3
    assert z[1] > 10


def test_z_within_strata_of_shuffled_labels_is_standard_on_average():
    x, codes = made(6, rows=90, labelled=1.0)
    generator, drawn = torch.Generator().manual_seed(1), []
    for _ in range(300):
        other = codes.clone()
        other[:, 0] = codes[torch.randperm(90, generator=generator), 0]
        drawn.append(partial_gap(x, other, [2, 3, 4], null=True)["partial_z"][0])
    drawn = torch.stack(drawn)
    assert abs(float(drawn.mean())) < 0.2
    assert 0.85 < float(drawn.std()) < 1.15


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("rows", "width"), [(30, 50), (90, 6)])
def test_with_one_attribute_its_z_is_the_z(rows, width, center):
    x, codes = made(1, rows, width, values=(4,))
    expected = attribute_similarity(x, codes, [4], center)["z"].tolist()
    found = partial_gap(x, codes, [4], center, null=True)["partial_z"]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
    narrow = partial_gap(x.float(), codes, [4], center, null=True)["partial_z"]
    assert narrow.tolist() == pytest.approx(expected, rel=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_order_scale_rotation_and_names_of_values_change_no_z(seed, scale):
    x, codes = made(seed, rows=60)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    renamed = codes.clone()
    renamed[:, 2] = torch.where(codes[:, 2] >= 0, 3 - codes[:, 2], -1)
    expected = partial_gap(x, codes, [2, 3, 4], null=True)["partial_z"]
    for rows, of_rows in (
        (x[order], codes[order]),
        (scale * x, codes),
        (x @ rotation, codes),
        (x, renamed),
    ):
        other = partial_gap(rows, of_rows, [2, 3, 4], null=True)["partial_z"]
        assert torch.allclose(other, expected, rtol=1e-6, equal_nan=True)
    turned = partial_gap(x, codes.flip(1), [4, 3, 2], null=True)["partial_z"].flip(0)
    assert torch.allclose(turned, expected, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("width", [6, 500])
def test_parts_of_a_large_stratum_add_up(monkeypatch, width):
    x, codes = made(7, 500, width, values=(2, 3))
    x[3], x[5, 1] = 0, math.nan
    expected = partial_gap(x, codes, [2, 3], null=True)["partial_z"]
    monkeypatch.setattr("lightning_semgeom.geometry.relabelled._ROWS_AT_ONCE", 100)
    monkeypatch.setattr("lightning_semgeom.geometry.blocks._BLOCK_BYTES", {"cpu": 1})  # 64 rows
    found = partial_gap(x, codes, [2, 3], null=True)["partial_z"]
    assert torch.allclose(found, expected, rtol=1e-10)
    valid = torch.isfinite(x).all(1) & (x != 0).any(1)
    alone = partial_gap(x[valid], codes[valid], [2, 3], null=True)["partial_z"]
    assert torch.allclose(alone, expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_z_is_not_defined_where_all_relabellings_are_alike(dtype):
    kind, colour = torch.arange(40) % 4, torch.arange(40) // 4 % 2
    centres = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    codes = torch.stack([colour, kind], dim=1)
    found = partial_gap(centres[kind], codes, [2, 4], null=True)  # alike within each kind
    assert float(found["partial_gap"][0]) == pytest.approx(0, abs=1e-6)
    assert found["partial_z"][0].isnan()
    assert found["partial_z"][1] > 3
    single = torch.cartesian_prod(torch.arange(2), torch.arange(4), torch.arange(8))
    x = torch.randn(64, 3, dtype=dtype)
    assert partial_gap(x, single, [2, 4, 8], null=True)["partial_z"].isnan().all()
    assert partial_gap(x[:0], single[:0], [2, 4, 8], null=True)["partial_z"].isnan().all()
    assert partial_gap(x, single[:, :0], [], null=True)["partial_z"].shape == (0,)
    count = MAX_JOINT_VALUES + 1
    many = torch.stack([torch.arange(count), torch.arange(count) % 2], dim=1)
    none = partial_gap(torch.randn(count, 3), many, [count, 2], null=True)
    assert {*none} == {"partial_gap", "partial_z"}
    assert all(figure.isnan().all() for figure in none.values())


def test_the_gap_is_the_same_tensor_with_the_null_and_without():
    x, codes = made(8)
    gap = partial_gap(x, codes, [2, 3, 4])
    assert isinstance(gap, torch.Tensor)
    assert torch.equal(partial_gap(x, codes, [2, 3, 4], null=True)["partial_gap"], gap)


def test_a_record_has_it():
    x, codes = made(3, rows=80)
    names, values = ("a", "b", "c"), (("0", "1"), ("0", "1", "2"), ("0", "1", "2", "3"))
    table = AttributeTable(codes, names, values)
    found = measure(x, plan_site(table, torch.arange(80), gram_size=10)).values
    expected = partial_gap(x, codes, [2, 3, 4]).tolist()
    of_record = [found[f"partial_gap/{name}"] for name in names]
    assert of_record == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert found["partial_gap"] == pytest.approx(torch.tensor(expected).nanmean().item())
    # The other figures are as they are without joint values.
    alone = attribute_similarity(x, codes, [2, 3, 4])
    for metric in ("gap", "z", "strength"):
        of_record = [found[f"{metric}/{name}"] for name in names]
        assert of_record == pytest.approx(alone[metric].tolist(), abs=1e-9), metric
