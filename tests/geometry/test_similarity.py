"""AttributeSimilarity and its function against loops over pairs."""

import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import MetricCollection

from lightning_semgeom import AttributeSimilarity, Spectrum, attribute_similarity
from tests import oracles

FIGURES = ("within", "between", "gap", "z", "strength")


def random_case(seed, rows=60, width=8, values=(2, 5), labelled=0.8, shift=0.0, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(0, m, (rows,), generator=generator) for m in values], dim=1)
    centres = torch.randn(max(values), width, generator=generator)
    x = torch.randn(rows, width, generator=generator) + 0.5 * centres[codes[:, 0]]
    codes[torch.rand(codes.shape, generator=generator) > labelled] = -1
    return spread * x + shift, codes


def assert_like_oracle(rows, codes, num_values, center=True, tolerance=1e-5):
    found = attribute_similarity(rows, codes, num_values, center=center)
    reference = rows.double().numpy()
    for a in range(len(num_values)):
        column = codes[:, a].tolist()
        within, between = oracles.within_between(reference, column, center)
        expected = {
            "within": within,
            "between": between,
            "gap": within - between,
            "strength": oracles.strength(reference, column, center),
        }
        for name, value in expected.items():
            assert float(found[name][a]) == pytest.approx(value, abs=tolerance, nan_ok=True), name


def test_two_orthogonal_pairs_have_a_gap_of_one():
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    codes = torch.tensor([[0], [0], [1], [1]])
    found = attribute_similarity(rows, codes, [2], center=False)
    assert float(found["within"]) == pytest.approx(1.0)
    assert float(found["between"]) == pytest.approx(0.0)
    assert float(found["gap"]) == pytest.approx(1.0)
    assert float(found["strength"]) == pytest.approx(1.0)
    assert found["within_value"].tolist() == pytest.approx([1.0, 1.0])
    # Of the three ways to pair four rows one is the given one: T is 4 once and 0 twice.
    assert float(found["z"]) == pytest.approx((4 - 4 / 3) / math.sqrt(32 / 9))


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("shape", [(60, 8), (12, 40), (400, 3), (5, 5), (2, 4)])
def test_random_rows_agree_with_loops_over_pairs(shape, center):
    for seed in range(3):
        rows, codes = random_case(seed, *shape)
        assert_like_oracle(rows, codes, [2, 5], center)


def test_rows_longer_than_a_block_agree_with_loops_over_pairs():
    rows, codes = random_case(0, rows=600, width=1500, labelled=0.3)
    assert_like_oracle(rows, codes, [2, 5])


@pytest.mark.parametrize("center", [True, False])
def test_a_mean_of_100_times_the_spread_costs_no_accuracy(center):
    rows, codes = random_case(1, rows=200, width=16, shift=100.0)
    assert_like_oracle(rows, codes, [2, 5], center)


def test_bf16_rows_agree_to_5e_3_with_loops_over_the_rounded_rows_and_the_exact_ones():
    exact, codes = random_case(2, rows=150, width=32)
    rounded = exact.bfloat16()
    assert_like_oracle(rounded, codes, [2, 5], tolerance=1e-5)
    found = attribute_similarity(rounded, codes, [2, 5])
    for a in range(2):
        within, between = oracles.within_between(exact.numpy(), codes[:, a].tolist())
        assert float(found["within"][a]) == pytest.approx(within, abs=5e-3)
        assert float(found["between"][a]) == pytest.approx(between, abs=5e-3)


def test_fp64_rows_agree_to_1e_12():
    rows, codes = random_case(3)
    assert_like_oracle(rows.double(), codes, [2, 5], tolerance=1e-12)


def test_zero_nan_and_inf_rows_are_left_out():
    rows, codes = random_case(4)
    rows[3], rows[10, 2], rows[20, 0], rows[30, 1] = 0, math.nan, math.inf, -math.inf
    assert_like_oracle(rows, codes, [2, 5])
    keep = [i for i in range(60) if i not in (3, 10, 20, 30)]
    found = attribute_similarity(rows, codes, [2, 5])
    without = attribute_similarity(rows[keep], codes[keep], [2, 5])
    for name in FIGURES:
        assert torch.allclose(found[name], without[name], atol=1e-6)


def test_a_value_with_one_row_has_no_pair_of_its_own():
    rows, codes = random_case(5, values=(3,), labelled=1.0)
    codes[codes == 2] = 1
    codes[7] = 2
    assert_like_oracle(rows, codes, [3])
    found = attribute_similarity(rows, codes, [3])
    assert found["within_value"].isnan().tolist() == [False, False, True]


def test_what_is_not_defined_is_nan():
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    one_value = attribute_similarity(rows, torch.zeros(4, 1, dtype=torch.int64), [2])
    assert one_value["between"].isnan().all()
    assert one_value["gap"].isnan().all()
    assert one_value["z"].isnan().all()
    all_different = attribute_similarity(rows, torch.arange(4)[:, None], [4])
    assert all_different["within"].isnan().all()
    assert all_different["strength"].isnan().all()
    assert all_different["z"].isnan().all()
    nothing = attribute_similarity(rows, torch.full((4, 1), -1), [2])
    equal = attribute_similarity(torch.full((6, 3), 0.1), torch.arange(6)[:, None] % 2, [2])
    empty = attribute_similarity(torch.zeros(0, 3), torch.zeros(0, 1, dtype=torch.int64), [2])
    for found in (nothing, equal, empty):
        for name in FIGURES:
            assert found[name].isnan().all(), name


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_z_uses_the_mean_and_spread_of_4000_sampled_permutations(center, shift):
    for seed in range(2):
        rows, codes = random_case(seed, rows=40, values=(3,), shift=shift)
        statistic, mean, deviation = oracles.permutation_moments(
            rows.numpy(), codes[:, 0].numpy(), 4000, seed, center
        )
        z = float(attribute_similarity(rows, codes, [3], center=center)["z"])
        # Sampling error: the mean to sd / sqrt(4000), the sd itself to about 1.1 %.
        assert z == pytest.approx((statistic - mean) / deviation, rel=0.05, abs=0.06)


@pytest.mark.parametrize("rows", [3, 4, 5, 6])
def test_z_is_exact_over_all_permutations_of_a_few_rows(rows):
    x, _ = random_case(rows, rows=rows, width=4)
    codes = (torch.arange(rows) >= rows // 2).long()
    statistic, mean, deviation = oracles.all_permutation_moments(x.double().numpy(), codes.numpy())
    z = float(attribute_similarity(x.double(), codes[:, None], [2])["z"])
    assert z == pytest.approx((statistic - mean) / deviation, rel=1e-9)


def test_z_of_shuffled_codes_is_standard_normal_on_average():
    rows, codes = random_case(0, rows=80, values=(4,), labelled=1.0)
    generator = torch.Generator().manual_seed(1)
    shuffled = [codes[torch.randperm(80, generator=generator), 0] for _ in range(400)]
    drawn = attribute_similarity(rows, torch.stack(shuffled, dim=1), [4] * 400)["z"]
    one = attribute_similarity(rows, shuffled[399][:, None], [4])["z"]  # as it is by itself
    assert float(drawn[399]) == pytest.approx(float(one), rel=1e-5)
    assert abs(float(drawn.mean())) < 0.2
    assert 0.85 < float(drawn.std()) < 1.15


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(2, 40),
    width=st.integers(1, 12),
    labelled=st.floats(0.2, 1.0),
)
def test_any_small_case_agrees_with_loops_over_pairs(seed, rows, width, labelled):
    x, codes = random_case(seed, rows, width, labelled=labelled)
    assert_like_oracle(x.double(), codes, [2, 5], tolerance=1e-9)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_order_scale_and_rotation_change_nothing(seed, scale):
    rows, codes = random_case(seed, rows=30, width=6)
    rows = rows.double()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(30, generator=generator)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    expected = attribute_similarity(rows, codes, [2, 5])
    for other in (
        attribute_similarity(rows[order], codes[order], [2, 5]),
        attribute_similarity(rows * scale, codes, [2, 5]),
        attribute_similarity(rows @ rotation, codes, [2, 5]),
    ):
        for name in FIGURES:
            assert torch.allclose(other[name], expected[name], atol=1e-8, equal_nan=True), name


def test_unlabelled_rows_leave_other_attributes_unchanged():
    rows, codes = random_case(6, labelled=1.0)
    fewer = codes.clone()
    fewer[:30, 1] = -1
    all_labelled = attribute_similarity(rows, codes, [2, 5])
    part_labelled = attribute_similarity(rows, fewer, [2, 5])
    for name in FIGURES:
        assert float(all_labelled[name][0]) == pytest.approx(
            float(part_labelled[name][0]), abs=1e-6
        )
        assert float(all_labelled[name][1]) != pytest.approx(
            float(part_labelled[name][1]), abs=1e-6
        )


def test_splitting_the_rows_over_updates_changes_nothing_given_the_mean():
    rows, codes = random_case(7, rows=100)
    mean = rows.double().mean(0)
    whole, split = AttributeSimilarity([2, 5], dim=8), AttributeSimilarity([2, 5], dim=8)
    whole.update(rows, codes, mean=mean)
    for part in (slice(0, 1), slice(1, 60), slice(60, 60), slice(60, 100)):
        split.update(rows[part], codes[part], mean=mean)
    expected = attribute_similarity(rows, codes, [2, 5])
    for name, figure in expected.items():
        assert torch.allclose(whole.compute()[name], figure, atol=1e-6, equal_nan=True), name
        assert torch.allclose(split.compute()[name], figure, atol=1e-6, equal_nan=True), name


def test_the_metric_behaves_as_a_torchmetrics_metric():
    rows, codes = random_case(8)
    metric = AttributeSimilarity([2, 5], dim=8)
    forward = metric(rows, codes)
    assert torch.allclose(forward["gap"], attribute_similarity(rows, codes, [2, 5])["gap"])
    copied = pickle.loads(pickle.dumps(metric))
    assert torch.equal(copied.compute()["gap"], metric.compute()["gap"])
    metric.reset()
    assert float(metric.count) == 0
    metric = metric.to("cpu").half()  # torchmetrics keeps states in their dtype
    assert metric.value_sums.dtype == torch.float64


def test_metrics_work_in_a_collection():
    rows, codes = random_case(9)
    collection = MetricCollection({"similar": AttributeSimilarity([2, 5], 8), "shape": Spectrum(8)})
    collection.update(rows=rows, codes=codes)
    found = collection.compute()
    assert torch.allclose(found["gap"], attribute_similarity(rows, codes, [2, 5])["gap"])
    assert "asymmetry" in found


def test_without_the_null_z_is_nan_and_no_matrix_is_kept():
    rows, codes = random_case(10)
    metric = AttributeSimilarity([2, 5], dim=8, null=False)
    metric.update(rows, codes)
    assert metric.compute()["z"].isnan().all()
    assert metric.second.numel() == 0


@pytest.mark.parametrize(
    ("rows", "codes", "message"),
    [
        (torch.randn(3), torch.zeros(3, 1).long(), r"rows must be .*got torch.float32 \[3\]"),
        (torch.ones(3, 2).long(), torch.zeros(3, 1).long(), "rows must be a floating point"),
        (torch.randn(3, 2), torch.zeros(3, 2).long(), r"codes must be int64 \[n, 1\]"),
        (torch.randn(3, 2), torch.zeros(3, 1), "codes must be int64"),
        (torch.randn(3, 2), torch.full((3, 1), 2), r"must lie in -1..1 .*found 2..2"),
        (torch.randn(3, 2), torch.full((3, 1), -2), "found -2..-2"),
        (torch.randn(3, 2), torch.zeros(4, 1).long(), "codes has 4 rows, but rows has 3"),
    ],
)
def test_input_that_does_not_fit_is_refused(rows, codes, message):
    with pytest.raises(ValueError, match=message):
        attribute_similarity(rows, codes, [2])


def test_a_row_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"\[n, 8\]; got torch.float32 \[3, 2\]"):
        AttributeSimilarity([2], dim=8).update(torch.randn(3, 2), torch.zeros(3, 1).long())


def test_rows_in_a_graph_are_read_without_it():
    rows, codes = random_case(11)
    parameter = torch.nn.Parameter(rows)
    found = attribute_similarity(parameter, codes, [2, 5])
    assert not found["gap"].requires_grad
    assert torch.equal(found["gap"], attribute_similarity(rows, codes, [2, 5])["gap"])
