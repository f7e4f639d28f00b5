"""Plans against what plain loops find, and the work that they take with many attributes."""

from itertools import pairwise
from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_semgeom import AttributeTable, attribute_similarity
from lightning_semgeom.geometry.careful import mean_sums, row_sums
from lightning_semgeom.geometry.partial import joint_values, partial_gap
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.similarity import similarity_from_sums
from lightning_semgeom.geometry.sums import RowSums
from lightning_semgeom.measure.plan import plan_site
from lightning_semgeom.measure.site import measure
from tests import oracles


def made(rows, num_values, seed, labelled=0.8):
    """Random codes; some attributes follow from the one before, or label the same rows."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack(
        [torch.randint(0, m, (rows,), generator=generator) for m in num_values], dim=1
    )
    codes[torch.rand(codes.shape, generator=generator) > labelled] = -1
    for a in range(1, len(num_values)):
        kind = int(torch.randint(0, 4, (), generator=generator))
        if kind == 0:
            code_of = torch.randint(
                -1, num_values[a], (num_values[a - 1] + 1,), generator=generator
            )
            codes[:, a] = code_of[codes[:, a - 1] + 1]
        elif kind == 1:
            codes[:, a] = torch.where(codes[:, a - 1] < 0, -1, codes[:, a].clamp(min=0))
    return codes


cases = given(
    rows=st.integers(1, 200),
    num_values=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    seed=st.integers(0, 10**6),
)


@cases
def test_label_sets_are_the_attributes_that_label_the_same_rows(rows, num_values, seed):
    codes = made(rows, num_values, seed)
    found = {}
    for a, column in enumerate(codes.T.tolist()):
        found.setdefault(tuple(code >= 0 for code in column), []).append(a)
    plan = CodePlan(codes, num_values)
    assert [(s.attributes, s.everywhere) for s in plan.label_sets] == [
        (tuple(attributes), all(mask)) for mask, attributes in found.items()
    ]


@cases
def test_each_attribute_goes_to_the_first_group_that_has_room(rows, num_values, seed):
    codes = made(rows * 30, num_values, seed)
    plan = CodePlan(codes, num_values)
    everywhere = (codes >= 0).all(0).tolist()
    radix = [m if full else m + 1 for m, full in zip(num_values, everywhere, strict=True)]

    def follows(a, b):
        pairs = set(zip(codes[:, b].tolist(), codes[:, a].tolist(), strict=True))
        return len(pairs) == len({leader for leader, _ in pairs})

    leaders = []
    for a in sorted(range(len(num_values)), key=lambda a: -num_values[a]):
        if not any(follows(a, b) for b in leaders):
            leaders.append(a)
    groups = []
    for a in sorted(sorted(leaders), key=lambda a: -radix[a]):
        room = codes.shape[0] // 32
        roomy = [g for g in groups if prod(radix[b] for b in (*g, a)) <= room]
        if roomy:
            roomy[0].append(a)
        else:
            groups.append([a])
    own = [[a for a in sorted(cells.values) if a in leaders] for cells in plan.cells]
    assert own == [sorted(group) for group in groups]
    assert sorted(a for cells in plan.cells for a in cells.values) == list(range(len(num_values)))


@cases
def test_strata_are_numbered_by_the_values_of_all_other_attributes_in_order(rows, num_values, seed):
    codes = made(rows, num_values, seed)
    joint = joint_values(codes)
    known = sorted({tuple(row) for row in codes.tolist()})
    assert joint.codes.tolist() == [list(row) for row in known]
    assert joint.of_row.tolist() == [known.index(tuple(row)) for row in codes.tolist()]
    for a in range(len(num_values)):
        others = [row[:a] + row[a + 1 :] for row in known]
        strata = sorted(set(others))
        members = [
            [k for k, row in enumerate(others) if row == stratum and known[k][a] >= 0]
            for stratum in strata
        ]
        order, starts = (found.tolist() for found in vars(joint.strata[a]).values())
        assert [order[i:j] for i, j in pairwise(starts)] == members


def test_the_sums_of_more_attributes_than_are_asked_what_follows_are_those_of_loops():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 4, generator=generator)
    codes = torch.randint(-1, 2, (50, 50), generator=generator)
    codes[:, 45] = codes[:, 40]
    plan = CodePlan(codes, [2] * 50)
    assert sorted(a for cells in plan.cells for a in cells.values) == list(range(50))
    table = AttributeTable(codes, tuple(map(str, range(50))), (("n", "y"),) * 50)
    found = measure(rows, plan_site(table, torch.arange(50), 8)).values
    for a in (0, 31, 32, 40, 45, 49):
        within, between = oracles.within_between(rows.double().numpy(), codes[:, a].tolist())
        assert found[f"within/{a}"] == pytest.approx(within, abs=1e-5)
        assert found[f"between/{a}"] == pytest.approx(between, abs=1e-5)


def test_z_is_the_same_where_many_attributes_lack_other_rows():
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(80, 4, generator=generator, dtype=torch.float64)
    codes = torch.randint(0, 2, (80, 20), generator=generator)
    share = torch.linspace(0, 0.9, 20)  # few rows and most of them
    codes[torch.rand(80, 20, generator=generator) < share] = -1
    rows[3] = torch.nan
    found = attribute_similarity(rows, codes, [2] * 20)["z"]
    alone = [attribute_similarity(rows, codes[:, [a]], [2])["z"].item() for a in range(20)]
    assert found.tolist() == pytest.approx(alone, rel=1e-9)
    plan = CodePlan(codes, [2] * 20)
    mean = mean_sums(rows).mean
    parts = [slice(0, 10), slice(10, 10), slice(10, 80)]
    packed = sum(row_sums(rows[part], plan.part(part), mean).packed() for part in parts)
    added = similarity_from_sums(RowSums.unpacked(packed, plan, 4), [2] * 20)["z"]
    assert added.tolist() == pytest.approx(alone, rel=1e-9)


def test_the_partial_gap_of_many_attributes_is_that_of_loops():
    generator = torch.Generator().manual_seed(1)
    kind = torch.randint(0, 3, (40,), generator=generator)
    codes = torch.stack([kind == 1, kind == 2, *[kind == 0] * 8], dim=1).long()
    codes[:5, 0] = 1 - codes[:5, 0]
    rows = torch.randn(40, 3, generator=generator)
    found = partial_gap(rows, codes, [2] * 10)
    for a in range(10):
        expected = oracles.partial_gap(rows.double().numpy(), codes.numpy(), a)
        assert float(found[a]) == pytest.approx(expected, abs=1e-6, nan_ok=True)


class Work(TorchDispatchMode):
    """Counts the operators called, and the entries of what they made."""

    def __init__(self):
        super().__init__()
        self.calls = self.entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        self.calls += 1
        made = found if isinstance(found, (tuple, list)) else [found]
        if function.is_view:
            made = []
        self.entries += sum(x.numel() for x in made if isinstance(x, torch.Tensor))
        return found


def work_of(attributes, rows, own_patterns):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 2, (rows, attributes), generator=generator)
    if own_patterns:
        codes[torch.rand(codes.shape, generator=generator) < 0.05] = -1
    names = tuple(f"f{a}" for a in range(attributes))
    table = AttributeTable(codes, names, (("no", "yes"),) * attributes)
    x = torch.randn(rows, 8, generator=generator)
    with Work() as work:
        measure(x, plan_site(table, torch.arange(rows), 32)).picture()
    return work.calls, work.entries


@pytest.mark.parametrize("own_patterns", [False, True], ids=["all rows", "own rows"])
@pytest.mark.parametrize("rows", [300, 1500], ids=["with partial gap", "without"])
def test_the_work_is_linear_in_the_number_of_attributes(rows, own_patterns):
    # All more than are asked what follows. 8 more take what 8 more took before.
    counts = (work_of(attributes, rows, own_patterns) for attributes in (36, 44, 52))
    for few, some, many in zip(*counts, strict=True):
        assert 0 < many - some < 1.04 * (some - few)
