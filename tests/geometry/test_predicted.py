"""Which attribute should emerge first: against an SVD by projections, and in the settings."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse

from lightning_semgeom import AttributeTable, attribute_similarity, predicted_order, support_matrix
from lightning_semgeom.geometry import predicted
from lightning_semgeom.settings import factored, latent
from tests import oracles


def random_support(seed, tokens, contexts, share=0.2):
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 5, (tokens, contexts))
    return counts * (generator.random((tokens, contexts)) < share)


def random_table(seed, tokens, values=(2, 5)):
    generator = torch.Generator().manual_seed(seed)
    codes = [torch.randint(-1, count, (tokens,), generator=generator) for count in values]
    codes = torch.stack(codes, 1)
    codes[:2] = torch.tensor([[0], [1]])
    names = tuple("abcdef"[: len(values)])
    return AttributeTable(codes, names, tuple(tuple(map(str, range(count))) for count in values))


def of_setting(tokens, table, vocabulary, contexts):
    """The label is the next token of its context."""
    windows = torch.cat([tokens, torch.arange(len(tokens))[:, None]], 1)
    return predicted_order(table, support_matrix([windows], vocabulary, contexts))


def assert_like_oracle(table, counts, found, k):
    for a, name in enumerate(table.names):
        codes = table.codes[:, a].tolist() + [-1] * (len(counts) - len(table))
        strength, by_chance, shares, values = oracles.predicted_order(codes, counts)
        close = {"rel": 1e-9, "abs": 1e-7, "nan_ok": True}
        assert found.strength[name] == pytest.approx(strength, **close)
        assert found.by_chance[name] == pytest.approx(by_chance, **close)
        assert found.singular_values.tolist() == pytest.approx(values[:k].tolist())
        # Singular values that are nearly one may share their directions in any way.
        if np.diff(values[: k + 1]).max(initial=-1) < -1e-3:
            assert found.shares[name].tolist() == pytest.approx(shares[:k].tolist(), **close)


@given(
    seed=st.integers(0, 10**6),
    tokens=st.integers(3, 30),
    contexts=st.integers(1, 30),
    left_out=st.integers(0, 1),
    share=st.sampled_from([0.05, 0.3, 0.9]),
)
def test_any_support_agrees_with_projections(seed, tokens, contexts, left_out, share):
    counts = random_support(seed, tokens, contexts, share)
    assume(counts.any())
    table = random_table(seed, tokens - left_out)
    found = predicted_order(table, sparse.csr_array(counts), num_directions=50)
    assert_like_oracle(table, counts, found, len(found.singular_values))
    assert len(found.singular_values) == np.linalg.matrix_rank(
        (counts > 0) - (counts > 0).mean(0), tol=1e-6
    )


@pytest.mark.parametrize(("tokens", "contexts"), [(60, 90), (90, 60)])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_the_leading_directions_of_a_large_matrix_are_those_of_the_whole(
    tokens, contexts, k, monkeypatch
):
    counts, table = random_support(1, tokens, contexts), random_table(1, tokens)
    whole = predicted_order(table, sparse.coo_array(counts), k)
    monkeypatch.setattr(predicted, "_DENSE", 0)
    found = predicted_order(table, sparse.coo_array(counts), k)
    assert_like_oracle(table, counts, found, k)
    assert torch.allclose(found.directions, whole.directions, atol=1e-7)
    assert [*found.strength] == [*whole.strength]
    again = predicted_order(table, sparse.coo_array(counts), k)
    assert torch.equal(found.directions, again.directions)


def test_a_large_matrix_of_low_rank_has_no_more_directions_than_that(monkeypatch):
    monkeypatch.setattr(predicted, "_DENSE", 0)
    groups = np.arange(60) % 4
    table = AttributeTable.from_dict({"group": groups.tolist(), "half": (groups > 1).tolist()})
    support = sparse.csc_array((groups[:, None] == np.arange(80) % 4).astype(int))
    found = predicted_order(table, support, num_directions=20)
    # 15 tokens with the 20 contexts of their group, in 3 directions without the mean.
    assert found.singular_values.tolist() == pytest.approx([math.sqrt(300)] * 3)
    assert found.strength["group"] == pytest.approx(math.sqrt(300))
    assert found.shares["group"].sum().item() == pytest.approx(1)
    assert found.shares["half"].sum().item() == pytest.approx(1)


def test_the_coarse_comes_before_the_fine_where_a_context_spells_out_all_attributes():
    found = of_setting(
        factored.factored_tokens(), factored.factored_attributes(), factored.VOCABULARY, "tokens"
    )
    # 64 / M labels share each value, and each label has an id of its own.
    assert list(found.strength.items()) == [
        ("a", pytest.approx(math.sqrt(33))),
        ("b", pytest.approx(math.sqrt(17))),
        ("c", pytest.approx(3)),
    ]
    assert all(found.strength[name] > 1.5 * found.by_chance[name] for name in "abc")


def test_contexts_that_are_all_different_predict_nothing():
    given = factored.factored_tokens(), factored.factored_attributes(), factored.VOCABULARY
    found = of_setting(*given, contexts=4)
    assert found.strength == found.by_chance == {"a": 1, "b": 1, "c": 1}
    # The query token alone: all labels follow it.
    assert of_setting(*given, contexts=1).strength == {"a": 0, "b": 0, "c": 0}
    # The last two tokens: c and the query.
    assert of_setting(*given, contexts=2).strength["c"] == pytest.approx(math.sqrt(8))


@pytest.mark.parametrize("seed", range(5))
def test_an_attribute_that_is_hinted_at_more_often_comes_first_though_it_is_finer(seed):
    found = of_setting(
        latent.latent_tokens(seed), latent.latent_attributes(), latent.VOCABULARY, "tokens"
    )
    # As in training: b has twice as many tokens in a context as a.
    assert [*found.strength] == ["b", "a"]
    assert found.strength["b"] > 1.1 * found.strength["a"]


def test_by_chance_is_what_shuffled_values_have():
    counts, table = random_support(3, 300, 200), random_table(3, 300, values=(2, 5, 40))
    support = sparse.csr_array(counts)
    found = predicted_order(table, support)
    squares = {name: [] for name in table.names}
    for seed in range(200):
        for name, strength in predicted_order(table.shuffled(seed), support, 1).strength.items():
            squares[name].append(strength**2)
    for name, of in squares.items():
        error = np.std(of) / math.sqrt(len(of))
        assert np.mean(of) == pytest.approx(found.by_chance[name] ** 2, abs=4 * error)


def test_the_order_of_tokens_and_contexts_does_not_matter():
    counts, table = random_support(4, 40, 30), random_table(4, 40)
    found = predicted_order(table, sparse.csr_array(counts))
    generator = np.random.default_rng(5)
    rows, columns = generator.permutation(40), generator.permutation(30)
    turned = AttributeTable(table.codes[rows], table.names, table.values)
    other = predicted_order(turned, sparse.csr_array(counts[rows][:, columns]))
    for name in table.names:
        assert other.strength[name] == pytest.approx(found.strength[name])
        assert torch.allclose(other.shares[name], found.shares[name])
    assert torch.allclose(other.directions, found.directions[rows])


def test_attributes_that_are_equally_strong_stand_as_in_the_table():
    # Seven and eleven tokens of a value, where quotients are not exact.
    codes = [*"x" * 7, *"y" * 11]
    table = AttributeTable.from_dict({"z": codes, "a": codes, "k": codes[::-1]})
    counts = random_support(8, 18, 23)
    counts = counts | counts[::-1]
    for k in (1, 5):
        found = predicted_order(table, sparse.csr_array(counts), k)
        assert [*found.strength] == ["z", "a", "k"]
        assert len({*found.strength.values()}) == 1


def test_how_often_a_token_follows_does_not_matter_but_that_it_does():
    counts, table = random_support(6, 40, 30), random_table(6, 40)
    once = predicted_order(table, sparse.csr_array((counts > 0).astype(int)))
    often = sparse.csr_array(counts)
    often.data[:3] = 0  # is there, and says nothing
    assert predicted_order(table, sparse.csr_array(counts)).strength == once.strength
    assert_like_oracle(table, often.toarray(), predicted_order(table, often, 30), 30)


def test_tokens_that_do_not_occur_are_not_labelled():
    counts, table = random_support(7, 40, 30), random_table(7, 40)
    counts[20:] = 0
    codes = table.codes.clone()
    codes[20:] = -1
    less = AttributeTable(codes, table.names, table.values)
    support = sparse.csr_array(counts)
    assert (
        predicted_order(table, support).strength
        == predicted_order(less, support).strength
        == predicted_order(table.first(20), support).strength
    )


def test_an_attribute_with_one_value_among_tokens_that_occur_has_none_and_comes_last():
    table = AttributeTable.from_dict({"alone": [*"xxxy"], "both": [*"xyxy"]})
    support = sparse.csr_array([[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0]])
    found = predicted_order(table, support)
    assert [*found.strength] == ["both", "alone"]
    assert math.isnan(found.strength["alone"])
    assert math.isnan(found.by_chance["alone"])
    assert found.shares["alone"].isnan().all()
    assert "2. alone: nan" in repr(found)


def test_contexts_that_all_tokens_follow_leave_no_direction():
    table = AttributeTable.from_dict({"side": [*"xyxy"]})
    found = predicted_order(table, sparse.csr_array(np.ones((4, 3))))
    assert found.directions.shape == (4, 0)
    assert found.strength == found.by_chance == {"side": 0.0}


def test_the_unembedding_that_is_told_has_one_attribute_after_the_other():
    tokens, table = factored.factored_tokens(), factored.factored_attributes()
    found = of_setting(tokens, table, factored.VOCABULARY, "tokens")
    first = {
        name: int((shares.cumsum(0) > 0.01).int().argmax()) for name, shares in found.shares.items()
    }
    assert first["a"] < first["b"] < first["c"]
    rows = found.directions * found.singular_values.sqrt()
    for name, others in (("a", "bc"), ("b", "c")):
        until = attribute_similarity(rows[:64, : first[others[0]]], table)["gap"]
        assert until["abc".index(name)] > 0.1
        assert all(until["abc".index(other)] < 0 for other in others)
    assert attribute_similarity(rows[:64], table)["gap"].min() > 0.1
    assert attribute_similarity(rows[:64], table.shuffled(0))["gap"].abs().max() < 0.1


@pytest.mark.parametrize(
    ("support", "options", "message"),
    [
        (torch.ones(4, 3), {}, r"sparse matrix \[tokens, contexts\], .* got a Tensor\."),
        (np.ones((4, 3)), {}, r"as support_matrix gives it; got a ndarray\."),
        (sparse.csr_array(np.ones((3, 3))), {}, r"each of the 3 rows of support; it has 4\. Was"),
        (sparse.csr_array((4, 3)), {}, r"no entry above 0 among 4 tokens and 3 contexts"),
        (sparse.csr_array(-np.ones((4, 3))), {}, r"no entry above 0 among 4 tokens"),
        (sparse.csr_array(np.ones((4, 3))), {"num_directions": 0}, r"1 or more; got 0\."),
    ],
)
def test_what_does_not_fit_is_told(support, options, message):
    table = AttributeTable.from_dict({"side": [*"xyxy"]})
    with pytest.raises(ValueError, match=message):
        predicted_order(table, support, **options)
