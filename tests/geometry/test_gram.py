import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom.geometry.careful import mean_sums, row_sums
from lightning_semgeom.geometry.gram import MIXED, cell_gram, picture_cells
from lightning_semgeom.geometry.plan import CodePlan
from tests import oracles


def test_each_row_is_a_cell_in_attribute_order_where_there_is_room():
    codes = torch.tensor([[1, 0], [-1, 1], [0, 1], [1, -1], [0, 0]])
    found = picture_cells(codes, 96)
    assert found.of_row.tolist() == [3, -1, 1, 2, 0]
    assert found.codes.tolist() == [[0, 0], [0, 1], [1, -1], [1, 0]]


def test_no_cell_where_no_row_is_labelled():
    found = picture_cells(torch.full((4, 2), -1), 96)
    assert found.of_row.tolist() == [-1] * 4
    assert found.codes.shape == (0, 2)
    assert picture_cells(torch.zeros(0, 1, dtype=torch.int64), 4).codes.shape == (0, 1)


def test_values_get_equal_shares_and_rare_ones_give_what_they_do_not_need():
    codes = torch.tensor([1] * 50 + [0] * 40 + [2] * 3 + [-1] * 5)[:, None]
    found = picture_cells(codes, 43)
    assert found.codes[:, 0].tolist() == [0] * 20 + [1] * 20 + [2] * 3
    assert torch.bincount(found.of_row[:50])[20:].unique().tolist() == [2, 3]
    assert torch.bincount(found.of_row[50:90]).tolist() == [2] * 20


def test_more_values_than_cells_share_them_in_order():
    codes = torch.arange(10)[:, None]
    found = picture_cells(codes, 4)
    assert found.of_row.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert found.codes[:, 0].tolist() == [MIXED] * 4


@given(
    rows=st.lists(
        st.tuples(st.integers(-1, 3), st.integers(-1, 4), st.integers(0, 1)), max_size=60
    ),
    size=st.integers(2, 30),
)
def test_cells_are_full_ordered_and_as_pure_as_there_is_room(rows, size):
    codes = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
    found = picture_cells(codes, size)
    labelled = [i for i, row in enumerate(rows) if row[0] >= 0]
    cells = len(found.codes)
    assert cells == min(len(labelled), size)
    assert [i for i, c in enumerate(found.of_row.tolist()) if c >= 0] == labelled
    members = [[rows[i] for i in labelled if found.of_row[i] == c] for c in range(cells)]
    assert all(members)
    flat = [row for cell in members for row in sorted(cell)]
    assert flat == sorted(rows[i] for i in labelled)
    for a in range(3):
        joint = len({rows[i][: a + 1] for i in labelled})
        for cell, code in zip(members, found.codes[:, a].tolist(), strict=True):
            seen = {row[a] for row in cell}
            assert code == (seen.pop() if len(seen) == 1 else MIXED)
            assert code != MIXED or joint > size


@pytest.mark.parametrize("size", [96, 7, 2])
def test_the_gram_of_cells_is_the_mean_cosine_over_their_pairs(size):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(30, 5, generator=generator) + 2
    codes = torch.randint(-1, 4, (30, 2), generator=generator)
    units, _ = oracles.unit_rows(rows.numpy())
    cells = picture_cells(codes, size)
    plan = CodePlan(cells.of_row[:, None], (len(cells.codes),))
    sums = row_sums(rows, plan, mean_sums(rows).mean)
    found = cell_gram(sums.value_counts, sums.value_sums @ sums.value_sums.T)
    rows_of = [(cells.of_row == cell).nonzero()[:, 0].tolist() for cell in range(len(cells.codes))]
    for c, of_c in enumerate(rows_of):
        for e, of_e in enumerate(rows_of):
            pairs = [float(units[i] @ units[j]) for i in of_c for j in of_e]
            assert found[c, e] == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)


def test_a_cell_without_a_row_is_nan():
    found = cell_gram(torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert found[0, 0] == 1
    assert math.isnan(found[0, 1])
    assert math.isnan(found[1, 1])
