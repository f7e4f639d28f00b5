"""Singular directions against numpy's, orthants against loops, planted ones found again."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score

from lightning_semgeom import AttributeTable, concepts
from tests import oracles


def planted(seed, each=12, width=16, noise=0.05):
    """Rows in the eight corners of a box with unequal sides, turned and moved; and their table."""
    generator = torch.Generator().manual_seed(seed)
    corners = list(itertools.product((1, -1), repeat=3)) * each
    box = torch.zeros(len(corners), width, dtype=torch.float64)
    box[:, :3] = torch.tensor(corners) * torch.tensor([4.0, 2.0, 1.0])
    box += noise * torch.randn(box.shape, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]
    shift = torch.randn(width, generator=generator, dtype=torch.float64)
    columns = dict(zip("abc", zip(*corners, strict=True), strict=True))
    table = AttributeTable.from_dict({**columns, "corner": [str(c) for c in corners]})
    return box @ turn + shift, table, turn


def test_a_case_worked_by_hand():
    # Centred already; the second moment is diag(40, 10).
    rows = torch.tensor([[4.0, 1], [2, -2], [-4, -1], [-2, 2]])
    found = concepts(rows, 2, names=["owl", "finch", "trout", "shark"])
    assert found.singular_values.tolist() == pytest.approx([math.sqrt(40), math.sqrt(10)])
    assert found.explained.tolist() == pytest.approx([0.8, 0.2])
    assert found.directions[0].abs().tolist() == pytest.approx([1, 0], abs=1e-12)
    assert found.directions[1].abs().tolist() == pytest.approx([0, 1], abs=1e-12)
    # Each row is alone in its quadrant.
    assert sorted(orthant.signs for orthant in found.orthants) == [
        (-1, -1),
        (-1, 1),
        (1, -1),
        (1, 1),
    ]
    assert [orthant.size for orthant in found.orthants] == [1, 1, 1, 1]
    named = [found.orthants[place].top[0] for place in found.of_row.tolist()]
    assert named == ["owl", "finch", "trout", "shark"]
    assert found.agreement == {}


def test_top_rows_are_those_farthest_along_the_diagonal():
    rows = torch.tensor([[3.0, 1], [3, 2], [1, 3], [-3, -1], [-3, -2], [-1, -3]])
    largest, smallest = concepts(rows, 1, top=2).orthants
    assert largest.size == smallest.size == 3
    # Along (1, 1), nearly: 5 of 1 and 4, then 4 of 0 and 3.
    assert {largest.top[0], smallest.top[0]} == {"1", "4"}
    assert len(largest.top) == 2


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(4, 40),
    width=st.integers(1, 12),
    share=st.floats(0, 1),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
def test_any_case_agrees_with_the_svd_of_numpy(seed, n, width, share, dtype):
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(0, -1, width, dtype=torch.float64)  # no two singular values alike
    x = torch.randn(n, width, generator=generator, dtype=torch.float64) * scales
    x[1, 0] = math.nan
    x[2] = 0
    x = x.to(dtype)
    k = 1 + int(share * (min(width, n - 3) - 1))
    found = concepts(x, k, top=3)
    slow = oracles.concepts(x.double().numpy(), k)
    assert found.singular_values.tolist() == pytest.approx(slow["values"].tolist(), rel=1e-6)
    assert found.explained.tolist() == pytest.approx(slow["explained"].tolist(), rel=1e-6)
    assert found.of_row.tolist()[1:3] == [-1, -1]
    if slow["certain"]:
        assert np.allclose(found.directions.numpy(), slow["directions"], atol=1e-3)
        assert {i: found.orthants[found.of_row[i]].signs for i in slow["signs"]} == slow["signs"]
        for place, orthant in enumerate(found.orthants):
            members = [i for i, signs in slow["signs"].items() if signs == orthant.signs]
            assert orthant.size == len(members) == int((found.of_row == place).sum())
            order = sorted(members, key=lambda i: -slow["distance"][i])
            assert orthant.top == tuple(map(str, order[:3]))
    sizes = [orthant.size for orthant in found.orthants]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_planted_orthants_are_found(dtype):
    rows, table, turn = planted(0)
    found = concepts(rows.to(dtype), 3, table)
    assert [orthant.size for orthant in found.orthants] == [12] * 8
    for j, name in enumerate("abc"):
        assert abs(float(found.directions[j] @ turn[j])) > 0.99
        expected = [1.0 if i == j else found.agreement[name].directions[i].item() for i in range(3)]
        assert found.agreement[name].directions.tolist() == pytest.approx(expected)
        others = [value for i, value in enumerate(expected) if i != j]
        assert max(map(abs, others)) < 0.02
    assert found.agreement["corner"].orthants == pytest.approx(1)
    for orthant in found.orthants:
        corners = {table.codes[int(name), 3].item() for name in orthant.top}
        assert len(corners) == 1
        assert len(orthant.top) == 8


def test_shuffled_attributes_agree_by_chance_alone():
    rows, table, _ = planted(1, each=25)
    found = [concepts(rows, 3, table.shuffled(seed)).agreement for seed in range(10)]
    for name in table.names:
        assert abs(np.mean([agreement[name].orthants for agreement in found])) < 0.02
        assert abs(np.mean([agreement[name].directions.mean() for agreement in found])) < 0.02


def test_agreement_is_over_the_rows_that_an_attribute_labels():
    rows, table, _ = planted(2, noise=1.5)
    codes = table.codes.clone()
    codes[::3, 0] = -1
    rows[1] = math.inf
    part = AttributeTable(codes, table.names, table.values)
    found = concepts(rows, 2, part)
    kept = [i for i in range(len(rows)) if i % 3 and i != 1]
    labels = [codes[i, 0].item() for i in kept]
    orthants = [found.of_row[i].item() for i in kept]
    first = [found.orthants[place].signs[0] for place in orthants]
    agreement = found.agreement["a"]
    assert agreement.orthants == pytest.approx(adjusted_mutual_info_score(labels, orthants))
    score = adjusted_mutual_info_score(labels, first)
    assert agreement.directions[0].item() == pytest.approx(score)


def test_order_scale_rotation_and_shift_change_no_orthant():
    rows, table, _ = planted(3, noise=0.8)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(rows), generator=generator)
    turn = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64))[0]
    names = [str(i) for i in order.tolist()]
    expected = concepts(rows, 3, table)
    permuted = AttributeTable(table.codes[order], table.names, table.values)
    for other, directions in (
        (concepts(rows[order], 3, permuted, names), expected.directions),
        (concepts(100 * rows, 3, table), expected.directions),
        (concepts(rows @ turn, 3, table), expected.directions @ turn),
        (concepts(rows + 50, 3, table), expected.directions),
    ):
        assert torch.allclose(other.directions, directions, atol=1e-8)
        assert other.orthants == expected.orthants
        for name, agreement in expected.agreement.items():
            assert other.agreement[name].orthants == pytest.approx(agreement.orthants)


def test_rows_past_the_end_of_the_table_are_left_out():
    rows, table, _ = planted(4)
    padded = torch.cat([rows, torch.full((3, 16), 9.0, dtype=torch.float64)])
    found, expected = concepts(padded, 3, table), concepts(rows, 3, table)
    assert found.orthants == expected.orthants
    assert torch.equal(found.directions, expected.directions)
    assert found.of_row.tolist() == [*expected.of_row.tolist(), -1, -1, -1]


def test_directions_that_the_rows_do_not_have_are_nan():
    generator = torch.Generator().manual_seed(0)
    table = AttributeTable.from_dict({"a": ["x", "y"] * 10})
    for dtype in (torch.float64, torch.float32):
        plane = torch.randn(20, 2, generator=generator, dtype=torch.float64)
        rows = torch.cat([plane, 3 * plane[:, :1], torch.ones(20, 1)], dim=1).to(dtype)
        found = concepts(rows, 4, table)
        assert found.directions.isnan().all(1).tolist() == [False, False, True, True]
        assert found.singular_values[2:].tolist() == found.explained[2:].tolist() == [0, 0]
        assert {orthant.signs[2:] for orthant in found.orthants} == {(0, 0)}
        assert found.agreement["a"].directions.isnan().tolist() == [False, False, True, True]
        assert not math.isnan(found.agreement["a"].orthants)


@pytest.mark.parametrize("filling", [0.0, 0.1, math.nan, 1e4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rows_without_any_spread_have_no_directions(filling, dtype):
    table = AttributeTable.from_dict({"a": ["x", "y"] * 20})
    found = concepts(torch.full((40, 3), filling, dtype=dtype), 2, table)
    assert found.directions.isnan().all()
    assert found.singular_values.tolist() == [0, 0]
    assert found.orthants == ()
    assert found.of_row.tolist() == [-1] * 40
    assert found.agreement["a"].directions.isnan().all()
    assert math.isnan(found.agreement["a"].orthants)


def test_two_rows_are_enough_and_a_row_at_the_mean_has_no_orthant():
    found = concepts(torch.tensor([[1.0, 2], [3, 2]]), 1)
    assert [orthant.size for orthant in found.orthants] == [1, 1]
    assert found.explained.tolist() == [1]
    middle = concepts(torch.tensor([[1.0, 2], [3, 2], [2, 2]]), 1)
    assert middle.of_row.tolist()[2] == -1


def test_many_directions_and_many_values_of_few_rows_give_no_warning():
    rows = torch.randn(80, 80, generator=torch.Generator().manual_seed(0))
    table = AttributeTable.from_dict({"pair": [i // 2 for i in range(80)]})
    found = concepts(rows, 70, table)
    assert len(found.orthants) == 80
    assert len(found.agreement["pair"].directions) == 70


def test_an_attribute_with_one_value_left_has_no_agreement():
    rows = planted(5, each=2)[0]
    codes = torch.full((16, 1), -1)
    codes[:4] = 0
    found = concepts(rows, 2, AttributeTable(codes, ("a",), (("x", "y"),)))
    assert found.agreement["a"].directions.isnan().all()
    assert math.isnan(found.agreement["a"].orthants)


def test_wrong_arguments_are_refused():
    rows, table, _ = planted(0, each=1)
    with pytest.raises(ValueError, match=r"rows must be a floating point tensor \[n, d\]"):
        concepts(rows.long(), 1)
    for k in (0, 8):
        with pytest.raises(ValueError, match=rf"1\.\.7, .* that 8 centred rows of width 16 .*{k}"):
            concepts(rows, k)
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.2"):
        concepts(rows[:, :2], 3)
    with pytest.raises(ValueError, match=r"it has 8, but rows has 5"):
        concepts(rows[:5], 1, table)
    with pytest.raises(ValueError, match="one entry for each row, 8; got 1"):
        concepts(rows, 1, names=["king"])
    with pytest.raises(ValueError, match="one entry for each row of the table, 8; got 1"):
        concepts(rows, 1, table, ["king"])
    with pytest.raises(ValueError, match="number of rows to name, 0 or more; got -1"):
        concepts(rows, 1, top=-1)


def test_without_scikit_learn_a_table_is_refused_and_all_else_works(monkeypatch):
    rows, table, _ = planted(0)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning-semgeom\[concepts\]'"):
        concepts(rows, 3, table)
    assert len(concepts(rows, 3).orthants) == 8
