"""Sums of parts, packed as processes exchange them, are the sums of the whole."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_semgeom.geometry.careful import mean_sums, row_sums
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.similarity import similarity_from_sums
from lightning_semgeom.geometry.sums import MeanSums, RowSums

NUM_VALUES = [2, 3, 4]


def made(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(-1, m, (rows,), generator=generator) for m in NUM_VALUES], 1)
    codes[:, 2] = codes[:, 2].abs()  # one attribute labels every row
    return torch.randn(rows, 5, generator=generator) + 3, codes


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 40), max_size=4), seed=st.integers(0, 99))
def test_packed_parts_add_up_to_the_whole(cuts, seed):
    rows, codes = made(40, seed)
    rows[seed % 40] = torch.nan
    ends = [0, *sorted(cuts), 40]
    parts = [slice(a, b) for a, b in pairwise(ends)]
    plan = CodePlan(codes, NUM_VALUES)
    mean = MeanSums.unpacked(sum(mean_sums(rows[part]).packed() for part in parts)).mean
    assert mean == pytest.approx(mean_sums(rows).mean, abs=1e-6)
    packed = sum(row_sums(rows[part], plan.part(part), mean).packed() for part in parts)
    assert packed.numel() == RowSums.packed_size(plan, 5)
    found = similarity_from_sums(RowSums.unpacked(packed, plan, 5), NUM_VALUES)
    expected = similarity_from_sums(row_sums(rows, plan, mean), NUM_VALUES)
    for name, figure in expected.items():
        assert found[name] == pytest.approx(figure, rel=1e-5, abs=1e-6, nan_ok=True)


def test_sums_without_rows_are_zeros():
    rows, codes = made(4, 0)
    plan = CodePlan(codes, NUM_VALUES).part(slice(0, 0))
    assert not mean_sums(rows[:0]).packed().any()
    assert not row_sums(rows[:0], plan, torch.zeros(5)).packed().any()


@settings(max_examples=30)
@given(cut=st.integers(0, 40), seed=st.integers(0, 99), unlabelled=st.booleans())
def test_an_attribute_that_follows_from_another_has_the_same_sums(cut, seed, unlabelled):
    rows, codes = made(40, seed)
    coarse = torch.where(codes[:, 2] > 1, -1 if unlabelled else 1, 0)
    plan = CodePlan(torch.cat([codes, coarse[:, None]], dim=1), [*NUM_VALUES, 2])
    assert any({2, 3} <= set(cells.values) for cells in plan.cells)  # none of its own
    parts = [slice(0, cut), slice(cut, 40)]
    found = sum(row_sums(rows[part], plan.part(part), None).value_sums for part in parts)[-2:]
    unit = torch.nn.functional.normalize(rows.double())
    expected = [unit[coarse == value].sum(0).tolist() for value in range(2)]
    assert found == pytest.approx(torch.tensor(expected, dtype=torch.float64), abs=1e-5)
