"""The three losses against loops over pairs, their gradients, draws and degenerate inputs."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_semgeom import AttributeAlignment, AttributeTable, GramAnchor, GramDispersion
from lightning_semgeom.training.pairs import RowDraw
from tests import oracles


def rows_of(seed, count=9, width=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=dtype)


def table_of(seed, count=9):
    generator = torch.Generator().manual_seed(seed)
    columns = {}
    for name, values in (("colour", 3), ("size", 2)):
        codes = torch.randint(-1, values, (count,), generator=generator).tolist()
        codes[:values] = range(values)
        columns[name] = [None if code < 0 else f"{name}{code}" for code in codes]
    return AttributeTable.from_dict(columns)


def anchored(kept, hidden=None, labels=None, **options):
    """An anchor that holds the geometry of `kept`."""
    anchor = GramAnchor(warm_up=0, min_drop=1e-9, **options)
    anchor(kept, hidden, labels)
    # More than there can be, so that the next call is past it.
    top = torch.tensor(2.0, dtype=torch.float64).view(torch.int64)
    anchor.load_state_dict(anchor.state_dict() | {"_state.top": top})
    anchor(kept, hidden, labels)
    assert anchor.holds
    return anchor


def mean_over_pairs(values):
    return sum(values) / len(values) if values else 0.0


def slow_anchor(rows, kept):
    """Loops over pairs of rows that are valid now and were valid then."""
    now = dict(zip(*reversed(oracles.unit_rows(rows)), strict=True))
    then = dict(zip(*reversed(oracles.unit_rows(kept)), strict=True))
    both = [i for i in now if i in then]
    return mean_over_pairs(
        [
            (float(now[i] @ now[j]) - float(then[i] @ then[j])) ** 2
            for i, j in itertools.combinations(both, 2)
        ]
    )


def slow_dispersion(rows):
    units, _ = oracles.unit_rows(rows)
    total = sum(bool(np.any(np.asarray(row) != 0)) for row in rows)
    return mean_over_pairs(
        [(float(u @ v) + 1 / (total - 1)) ** 2 for u, v in itertools.combinations(units, 2)]
    )


def slow_alignment(rows, codes, num_values):
    """Indicator vectors made value by value."""
    vectors = []
    for row in codes:
        vector = []
        for a, values in enumerate(num_values):
            labelled = [c[a] for c in codes if c[a] >= 0]
            for value in range(values):
                share = labelled.count(value) / max(len(labelled), 1)
                vector.append((float(row[a] == value) - share) if row[a] >= 0 else 0.0)
        vectors.append(vector)
    units = dict(zip(*reversed(oracles.unit_rows(rows)), strict=True))
    found = []
    for i, j in itertools.combinations(units, 2):
        lengths = [math.sqrt(sum(x * x for x in vectors[k])) for k in (i, j)]
        if min(lengths) > 1e-9:
            inner = sum(x * y for x, y in zip(vectors[i], vectors[j], strict=True))
            found.append((float(units[i] @ units[j]) - inner / (lengths[0] * lengths[1])) ** 2)
    return mean_over_pairs(found)


SHAPES = st.tuples(st.integers(0, 10_000), st.integers(4, 14), st.integers(3, 6))


@settings(max_examples=40)
@given(SHAPES)
def test_the_losses_are_those_of_loops_over_pairs(shape):
    seed, count, width = shape
    rows, kept = rows_of(seed, count, width), rows_of(seed + 1, count, width)
    table = table_of(seed, count)
    assert float(GramDispersion()(rows)) == pytest.approx(slow_dispersion(rows), abs=1e-9)
    found = AttributeAlignment(table)(rows)
    expected = slow_alignment(rows, table.codes.tolist(), table.num_values)
    assert float(found) == pytest.approx(expected, abs=1e-9)
    assert float(anchored(kept)(rows)) == pytest.approx(slow_anchor(rows, kept), abs=1e-9)


def test_where_all_rows_are_labelled_the_target_is_the_centred_attribute_kernel():
    codes = np.stack([np.arange(12) % 3, np.arange(12) // 5], axis=1)
    table = AttributeTable.from_dict({"a": codes[:, 0].tolist(), "b": codes[:, 1].tolist()})
    kernel = (codes[:, None] == codes[None]).mean(2)
    centring = np.eye(12) - 1 / 12
    kernel = centring @ kernel @ centring
    lengths = np.sqrt(np.diag(kernel))
    target = kernel / lengths / lengths[:, None]
    rows = rows_of(3, 12)
    units, _ = oracles.unit_rows(rows)
    squares = (units @ units.T - target)[~np.eye(12, dtype=bool)] ** 2
    assert float(AttributeAlignment(table)(rows)) == pytest.approx(squares.mean(), abs=1e-12)


@pytest.mark.parametrize("count", [5, 40])  # fewer rows and more than dimensions
def test_in_fp32_the_losses_are_right_to_a_few_digits(count):
    rows, kept = rows_of(0, count, 8, torch.float32), rows_of(1, count, 8, torch.float32)
    table = table_of(0, count)
    for found, expected in (
        (GramDispersion()(rows), slow_dispersion(rows)),
        (anchored(kept)(rows), slow_anchor(rows, kept)),
        (AttributeAlignment(table)(rows), slow_alignment(rows, table.codes.tolist(), (3, 2))),
    ):
        assert found.dtype == torch.float32
        assert float(found) == pytest.approx(expected, rel=1e-4)


def losses(count=9, **options):
    return {
        "anchor": anchored(rows_of(5, count), **options),
        "alignment": AttributeAlignment(table_of(0, count), **options),
        "dispersion": GramDispersion(**options),
    }


@pytest.mark.parametrize("name", losses())
@pytest.mark.parametrize("count", [6, 12])
def test_gradients_are_those_of_finite_differences(name, count):
    loss, rows = losses(count)[name], rows_of(3, count).requires_grad_()
    assert torch.autograd.gradcheck(loss, (rows,))
    if name == "anchor":
        loss = anchored(rows_of(5, count), rows_of(6, 7), torch.arange(7) % 5)

    def of_hidden(hidden):
        labels = torch.tensor([0, 2, 2, 1, -1, 4, 3])
        if name == "anchor":
            return loss(rows.detach(), hidden, labels)
        return loss(hidden=hidden, labels=labels)

    assert torch.autograd.gradcheck(of_hidden, (rows_of(4, 7, 3).requires_grad_(),))


@pytest.mark.parametrize("name", losses())
def test_scale_shift_and_rotation_of_the_rows_change_nothing(name):
    loss, rows = losses()[name], rows_of(3)
    rotation, _ = torch.linalg.qr(rows_of(8, 4, 4))
    for changed in (3.7 * rows, rows + rows_of(9, 1), rows @ rotation):
        assert float(loss(changed)) == pytest.approx(float(loss(rows)), abs=1e-12)


@pytest.mark.parametrize("name", ["alignment", "dispersion"])
def test_the_loss_of_hidden_states_is_that_of_their_labels_means(name):
    loss = losses()[name]
    hidden, labels = rows_of(1, 30), torch.arange(30) % 11 - 1  # -1: left out; 9: past the table
    means = torch.stack([hidden[labels == label].mean(0) for label in range(10)])
    expected = loss(hidden=means) if name == "dispersion" else loss(hidden=means[:9])
    assert float(loss(hidden=hidden, labels=labels)) == pytest.approx(float(expected), abs=1e-12)
    both = loss(means[:9], hidden, labels)
    assert float(both) == pytest.approx(float(loss(means[:9]) + expected), abs=1e-12)


def test_an_anchor_compares_the_labels_that_were_there_when_it_took_hold():
    kept, now = rows_of(1, 6), rows_of(2, 7)
    anchor = anchored(rows_of(5), kept, torch.tensor([7, 1, 5, 3, 20, 2]))
    labels = torch.tensor([1, 4, 2, 3, 6, 20, 9])
    units = dict(zip(*reversed(oracles.unit_rows(now)), strict=True))
    then = dict(zip(*reversed(oracles.unit_rows(kept)), strict=True))
    common = [(0, 1), (2, 5), (3, 3), (5, 4)]  # places of labels 1, 2, 3 and 20, now and then
    expected = mean_over_pairs(
        [
            (float(units[i] @ units[j]) - float(then[k] @ then[m])) ** 2
            for (i, k), (j, m) in itertools.combinations(common, 2)
        ]
    )
    found = anchor(rows_of(5), now, labels)  # the unembedding has not moved
    assert float(found) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", losses())
def test_over_all_draws_the_mean_is_the_loss_and_its_gradient(monkeypatch, name):
    count, drawn = 8, 5
    rows = rows_of(3, count).requires_grad_()
    whole = losses(count)[name](rows)
    (expected,) = torch.autograd.grad(whole, rows)
    loss = losses(count, max_rows=drawn)[name]
    values, gradients = [], []
    for order in itertools.combinations(range(count), drawn):
        monkeypatch.setattr(torch, "randperm", lambda *_, order=order, **__: torch.tensor(order))
        value = loss(rows)
        values.append(value.item())
        gradients.append(torch.autograd.grad(value, rows)[0])
    assert sum(values) / len(values) == pytest.approx(whole.item(), rel=1e-12)
    torch.testing.assert_close(torch.stack(gradients).mean(0), expected, rtol=1e-9, atol=1e-12)


def test_each_row_is_drawn_as_often_as_any_other():
    draw, times, draws = RowDraw(max_rows=5, seed=0), torch.zeros(14), 4000
    for _ in range(draws):
        times[draw(14, torch.device("cpu"))] += 1
    error = math.sqrt(draws * 5 / 14 * 9 / 14)
    assert ((times - draws * 5 / 14).abs() < 4 * error).all()


def test_the_variance_of_drawn_rows_is_what_the_docstring_says():
    count, drawn, draws = 200, 50, 500
    rows = rows_of(3, count, 3)
    units, _ = oracles.unit_rows(rows)
    departures = (units @ units.T + 1 / (count - 1)) ** 2
    np.fill_diagonal(departures, 0)
    told = 4 * (1 / drawn - 1 / count) * (departures.sum(1) / (count - 1)).var()
    loss = GramDispersion(max_rows=drawn)
    measured = np.var([float(loss(rows)) for _ in range(draws)])
    # The rest is of pairs, of the order 1/b^2.
    pairs = 2 * departures[np.triu_indices(count, 1)].var() / drawn**2
    assert told * 0.9 < measured < told + 1.3 * pairs


def test_draws_go_on_where_a_state_was_saved_and_leave_the_global_generator_alone():
    rows, loss = rows_of(3, 40), GramDispersion(max_rows=5)
    before = torch.get_rng_state()
    loss(rows)
    saved = loss.state_dict()
    following = [float(loss(rows)) for _ in range(3)]
    other = GramDispersion(max_rows=5, seed=9)
    other.load_state_dict(saved)
    assert [float(other(rows)) for _ in range(3)] == following
    assert len(set(following)) == 3
    assert torch.equal(torch.get_rng_state(), before)


def spread_along(amount):
    """Rows that lie in the plane of two axes the more, the larger `amount`."""
    rows = rows_of(0, 30, 6)
    rows[:, :2] *= 1 + amount
    return rows


def test_an_anchor_holds_the_rows_of_the_largest_asymmetry_from_the_fall_on():
    anchor, values = GramAnchor(warm_up=2), []
    for amount in (9.0, 0.0, 1.0, 2.0, 3.0, 2.9, 1.0, 0.5):
        values.append(float(anchor(spread_along(amount))))
    # 9 was too early; at 2.9 it has not fallen by enough; at 1 it has.
    assert values[:6] == [0.0] * 6
    assert values[6] == pytest.approx(slow_anchor(spread_along(1.0), spread_along(3.0)))
    assert values[7] == pytest.approx(slow_anchor(spread_along(0.5), spread_along(3.0)))
    assert values[7] > values[6] > 0


def test_an_anchor_follows_the_asymmetry_without_the_leading_direction():
    anchor = GramAnchor(warm_up=0)
    for seed in range(5):
        rows = rows_of(seed, 30, 7) * torch.tensor([9.0, 2, 2, 1, 1, 1, 1])
        units, _ = oracles.unit_rows(rows)
        rest = np.linalg.eigvalsh(units.T @ units)[:-1]
        expected = ((rest**2).sum() / rest.sum() ** 2 - 1 / 6) / (1 - 1 / 6)
        assert anchor._asymmetry(rows) == pytest.approx(expected, rel=1e-6)


def test_an_anchor_of_the_kept_rows_themselves_is_zero_and_has_no_gradient():
    rows = spread_along(3.0).requires_grad_()
    loss = anchored(spread_along(3.0))(rows)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert rows.grad.abs().max() < 1e-8


def test_in_eval_mode_an_anchor_does_not_follow():
    anchor = GramAnchor(warm_up=0).eval()
    for amount in (3.0, 0.0, 0.0):
        assert float(anchor(spread_along(amount))) == 0
    assert not anchor.holds


def test_an_anchor_keeps_what_it_knows_in_its_state(tmp_path):
    def calls(anchor, amounts):
        return [float(anchor(spread_along(a), spread_along(2 * a))) for a in amounts]

    amounts = [0.0, 1.0, 3.0, 1.0, 0.5, 0.7]
    expected = calls(GramAnchor(warm_up=0, max_rows=10), amounts)
    for cut in range(1, len(amounts)):
        first, second = GramAnchor(warm_up=0, max_rows=10), GramAnchor(warm_up=0, max_rows=10)
        found = calls(first, amounts[:cut])
        torch.save(first.state_dict(), tmp_path / "state.pt")
        second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert found + calls(second, amounts[cut:]) == expected


@pytest.mark.parametrize("name", losses())
def test_rows_past_what_counts_are_left_out(name):
    padded = torch.cat([rows_of(3), 100 + rows_of(7, 5)])
    expected = float(losses()[name](rows_of(3)))
    options = {} if name == "alignment" else {"num_rows": 9}
    if name == "anchor":
        loss = anchored(torch.cat([rows_of(5), rows_of(11, 5)]), **options)
    else:
        loss = AttributeAlignment(table_of(0)) if name == "alignment" else GramDispersion(9)
    assert float(loss(padded)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", losses(4))
@pytest.mark.parametrize("rows", [torch.zeros(4, 3), torch.ones(4, 3), torch.eye(4, 3)])
def test_rows_that_are_zero_or_all_equal_give_a_finite_loss_and_gradient(name, rows):
    rows = rows.double().clone().requires_grad_()
    loss = anchored(rows_of(5, 4, 3)) if name == "anchor" else losses(4)[name]
    value = loss(rows)
    value.backward()
    assert value >= 0
    assert torch.isfinite(rows.grad).all()
    if name == "dispersion":
        assert value.item() == pytest.approx(slow_dispersion(rows.tolist()), abs=1e-12)


def test_labels_of_which_none_is_known_give_zero():
    hidden = rows_of(1, 5).requires_grad_()
    for loss in (AttributeAlignment(table_of(0)), GramDispersion()):
        value = loss(hidden=hidden, labels=torch.full((5,), -1))
        value.backward()
        assert value.item() == 0


def test_an_anchor_without_a_common_label_holds_the_unembedding_alone():
    for kept, now in ((-1, 0), (0, -1), (1, 2)):
        anchor = anchored(rows_of(5), rows_of(1), torch.full((9,), kept))
        value = anchor(rows_of(5), rows_of(2), torch.full((9,), now))
        assert float(value) == pytest.approx(0, abs=1e-12)


def test_under_autocast_and_in_bf16_the_loss_is_taken_in_fp32():
    rows = rows_of(3, 40, 8, torch.float32)
    for name, loss in losses(40).items():
        loss = anchored(rows_of(5, 40, 8, torch.float32)) if name == "anchor" else loss
        expected = loss(rows)
        with torch.autocast("cpu", torch.bfloat16):
            assert float(loss(rows)) == pytest.approx(float(expected), rel=1e-4)
        rounded = loss(rows.bfloat16())
        assert rounded.dtype == torch.float32
        assert float(rounded) == pytest.approx(float(loss(rows.bfloat16().float())), rel=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GramAnchor(min_drop=0.0), "min_drop must lie in"),
        (lambda: GramAnchor(num_rows=1), "num_rows must be 2 or more"),
        (lambda: GramAnchor(warm_up=-1), "warm_up must be 0 calls or more"),
        (lambda: GramDispersion(num_rows=1), "num_rows must be 2 or more"),
        (lambda: GramDispersion(max_rows=1), "max_rows must be 2 or more"),
        (lambda: GramDispersion()(), "give unembedding, hidden or both"),
        (lambda: AttributeAlignment(table_of(0))(), "give unembedding, hidden or both"),
        (lambda: AttributeAlignment(table_of(0))(rows_of(0, 8)), "9 rows, but unembedding .* 8"),
        (lambda: GramDispersion()(torch.ones(3)), r"unembedding must be .*\[rows, d\]"),
        (lambda: GramDispersion()(hidden=torch.ones(3, 2).long()), "hidden must be a floating"),
        (
            lambda: GramDispersion()(hidden=rows_of(0), labels=torch.arange(3)),
            r"labels must be integers \[9\]",
        ),
        (lambda: anchored(rows_of(0))(rows_of(0, 8)), r"must be \[9, 4\], as it was"),
        (lambda: anchored(rows_of(0))(rows_of(0), rows_of(0)), "in each call or in none"),
    ],
)
def test_bad_input_is_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()
