"""The quick way gives what the careful way gives, or says that it is not fit."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_semgeom import attribute_similarity, spectrum
from lightning_semgeom.geometry.careful import mean_sums, row_sums
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.quick import quick_mean, quick_sums, sums_of
from lightning_semgeom.geometry.sums import RowSums
from tests import oracles

NUM_VALUES = (3, 2, 5)


def case(seed, rows=60, width=6, dtype=torch.float32, labelled=0.8, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator, dtype=torch.float64) + offset
    codes = torch.stack([torch.randint(0, m, (rows,), generator=generator) for m in NUM_VALUES], 1)
    left_out = torch.rand(rows, 2, generator=generator) > labelled
    codes[:, 1:][left_out] = -1
    return x.to(dtype), codes


def quick(rows, plan, second=True):
    return quick_sums(rows, plan, quick_mean(rows).mean, second)


def assert_same(found, expected, tolerance):
    assert not found.unsound
    for name in ("count", "skipped", "value_counts"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    for name in ("value_sums", "second"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    assert found.second_index == expected.second_index


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(2, 200),
    width=st.integers(1, 9),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    labelled=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_sums_are_those_of_the_careful_way(seed, rows, width, dtype, labelled):
    x, codes = case(seed, rows, width, dtype, labelled)
    plan = CodePlan(codes, NUM_VALUES)
    found = quick(x, plan)
    if found.unsound:  # two rows that are all but equal, or one at the mean
        return
    tolerance = 1e-9 if dtype == torch.float64 else 2e-3 if width == 1 else 1e-4
    assert_same(found, row_sums(x, plan, mean_sums(x).mean), tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_ordinary_rows_are_fit_also_in_columns_and_in_blocks(dtype):
    x, codes = case(0, 5000, 300, dtype)
    plan = CodePlan(codes, NUM_VALUES)
    expected = row_sums(x, plan, mean_sums(x).mean)
    tolerance = 1e-9 if dtype == torch.float64 else 2e-4
    assert_same(quick(x, plan), expected, tolerance)
    assert_same(quick(x.T.contiguous().T, plan), expected, tolerance)


def with_row(row):
    def change(rows):
        rows[7] = row
        return rows

    return change


UNFIT = {
    "a zero row": with_row(0.0),
    "NaN": with_row(math.nan),
    "infinite": with_row(math.inf),
    "equal rows": lambda rows: rows[:1].expand_as(rows).clone(),
}


@pytest.mark.parametrize("what", UNFIT)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_is_not_fit_is_told_and_taken_carefully(what, dtype):
    x, codes = case(1, dtype=dtype)
    x, plan = UNFIT[what](x), CodePlan(codes, NUM_VALUES)
    assert quick(x, plan).unsound
    found, expected = sums_of(x, plan), row_sums(x, plan, mean_sums(x).mean)
    assert torch.equal(found.packed(), expected.packed())


@pytest.mark.parametrize(("rows", "offset"), [(60, 400.0), (5000, 30.0)])
def test_a_long_mean_is_not_fit_the_sooner_the_more_rows_are_added_up_at_once(rows, offset):
    x, codes = case(1, rows)
    plan = CodePlan(codes, NUM_VALUES)
    assert not quick(x + offset / 30, plan).unsound
    x = x + offset
    assert quick(x, plan).unsound
    expected = row_sums(x, plan, mean_sums(x).mean)
    assert torch.equal(sums_of(x, plan).packed(), expected.packed())


def test_a_row_at_the_mean_is_not_fit():
    x, codes = case(2, rows=41)
    x[40] = x[:40].mean(0) * (1 + 1e-6)
    assert quick(x + 2, CodePlan(codes, NUM_VALUES)).unsound


@pytest.mark.parametrize("labelled", [1.0, 0.7])
def test_figures_are_those_of_loops(labelled):
    x, codes = case(3, labelled=labelled, offset=0.5)
    found = attribute_similarity(x, codes, NUM_VALUES)
    for a in range(len(NUM_VALUES)):
        within, between = oracles.within_between(x.double().numpy(), codes[:, a].tolist())
        assert float(found["gap"][a]) == pytest.approx(within - between, abs=1e-5)
    for name, value in oracles.spectrum(x.double().numpy(), True).items():
        assert float(spectrum(x)[name]) == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_five_calls_give_the_same_bits():
    x, codes = case(4, 3000, 64)
    plan = CodePlan(codes, NUM_VALUES)
    first, *others = (quick(x, plan).packed() for _ in range(5))
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_packed_sums_come_back_and_take_half_a_matrix(width):
    x, codes = case(5, width=width)
    plan = CodePlan(codes, NUM_VALUES)
    sums = row_sums(x.double(), plan, mean_sums(x).mean)
    packed = sums.packed()
    found = RowSums.unpacked(packed, plan, width)
    matrices, d, h = len(sums.second), width, -(-width // 2)
    assert len(packed) == RowSums.packed_size(plan, width)
    assert len(packed) == 3 + sum(NUM_VALUES) * (1 + d) + matrices * h * (d + 1)
    torch.testing.assert_close(found.second, sums.second, rtol=1e-12, atol=1e-12)
    assert torch.equal(found.value_sums, sums.value_sums)


class Work(TorchDispatchMode):
    """Operators by name, the multiplications of products, and what asks the host."""

    ASKING = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "unique")

    def __init__(self):
        super().__init__()
        self.operators, self.multiplied, self.asked = 0, 0, []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function.__name__.split(".")[0]
        self.operators += 1
        if any(name.startswith(asking) for asking in self.ASKING):
            self.asked.append(name)
        answer = function(*arguments, **(keywords or {}))
        if name in ("addmm_", "mm", "addmm"):
            first, second = [a for a in arguments if isinstance(a, torch.Tensor)][-2:]
            self.multiplied += first.shape[0] * first.shape[1] * second.shape[1]
        return answer


def work_of(rows, labelled=0.7, second=True, width=384, num_values=NUM_VALUES):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width, generator=generator)
    codes = torch.stack([torch.randint(0, m, (rows,), generator=generator) for m in num_values], 1)
    codes[torch.rand(codes.shape, generator=generator) > labelled] = -1
    plan = CodePlan(codes, num_values)
    quick(x, plan, second)  # what the plan prepares is prepared
    with Work() as work:
        quick(x, plan, second)
    return work


@pytest.mark.parametrize("second", [True, False])
def test_a_block_takes_few_operators_and_nothing_asks_the_host(second):
    few, many = work_of(8192, second=second), work_of(2 * 8192, second=second)
    assert (many.operators - few.operators) / 4 <= 36  # blocks of 2048 rows
    assert many.asked == few.asked == []
    values, doubled = ((300, 200, 500), (600, 400, 1000))
    less, more = (work_of(8192, second=second, num_values=m) for m in (values, doubled))
    assert more.operators == less.operators
    assert less.asked == []


def test_each_row_is_multiplied_once_however_many_attributes_lack_others():
    rows, width = 4096, 256
    for labelled in (1.0, 0.7):
        assert work_of(rows, labelled, width=width).multiplied < 0.7 * rows * width**2
