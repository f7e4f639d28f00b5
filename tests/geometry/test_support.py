"""What follows what: counts against loops over windows, and batches in any form and order."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom import support_matrix
from lightning_semgeom.geometry import support
from tests import oracles

each_context = pytest.mark.parametrize("contexts", [1, 2, 3, "tokens"])


def drawn(seed, windows=20, length=9, vocabulary=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocabulary, (windows, length), generator=generator)


def assert_same(found, expected):
    assert found.shape == expected.shape
    assert (found != expected).nnz == 0


def test_a_case_worked_by_hand():
    windows = [torch.tensor([[0, 1, 0, 2], [1, 0, 2, 2]])]
    # Columns 0, 1, 2: 0 is followed by 1, 2, 2; 1 by 0, 0; 2 by 2.
    found = support_matrix(windows, 4, contexts=1)
    assert found.toarray().tolist() == [[0, 2, 0], [1, 0, 0], [2, 0, 1], [0, 0, 0]]
    # Columns 0 1, 0 2, 1 0.
    found = support_matrix(windows, 4, contexts=2)
    assert found.toarray().tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 2], [0, 0, 0]]
    # Before each 0: 0 once and 1 twice; before 1: 0; before 2: 0, 1, 0, then 1, 0, then 1, 0, 2.
    found = support_matrix(windows, 4, contexts="tokens")
    assert found.toarray().tolist() == [[1, 2, 0], [1, 0, 0], [4, 3, 1], [0, 0, 0]]


@given(
    seed=st.integers(0, 10**6),
    shapes=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=4),
    vocabulary=st.integers(1, 9),
    contexts=st.sampled_from([1, 2, 3, "tokens"]),
    at_once=st.sampled_from([1, 7, 1 << 22]),
)
def test_any_corpus_agrees_with_loops_over_its_windows(seed, shapes, vocabulary, contexts, at_once):
    batches = [drawn(seed + k, *shape, vocabulary) for k, shape in enumerate(shapes)]
    windows = [window for batch in batches for window in batch.tolist()]
    expected, columns = oracles.support_matrix(windows, vocabulary, contexts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(support, "_PAIRS_AT_ONCE", at_once)
        if not columns:
            with pytest.raises(ValueError, match="no token that follows a context"):
                support_matrix(batches, vocabulary, contexts)
            return
        found = support_matrix(batches, vocabulary, contexts)
    assert found.format == "csc"
    assert found.dtype == "int64"
    assert found.has_canonical_format
    assert found.toarray().tolist() == expected.tolist()


@each_context
def test_neither_the_order_of_windows_nor_their_batches_matter(contexts):
    ids = drawn(0)
    whole = support_matrix([ids], 6, contexts)
    turned = ids[torch.randperm(20, generator=torch.Generator().manual_seed(1))]
    assert_same(support_matrix([ids.to(torch.int16)], 6, contexts), whole)
    assert_same(support_matrix((part for part in turned.split(3)), 6, contexts), whole)
    dicts = [{"input_ids": part, "labels": -part} for part in ids.split(7)]
    assert_same(support_matrix(dicts, 6, contexts), whole)


@each_context
def test_other_ids_for_the_same_tokens_move_rows_and_columns(contexts):
    ids = drawn(2)
    permutation = torch.tensor([3, 0, 5, 1, 4, 2])
    before = support_matrix([ids], 6, contexts).toarray()
    after = support_matrix([permutation[ids]], 6, contexts).toarray()[permutation.numpy()]
    assert sorted(before.T.tolist()) == sorted(after.T.tolist())


@each_context
def test_a_context_does_not_go_over_the_end_of_a_window(contexts):
    ids = drawn(3, windows=1, length=12)
    halves = support_matrix([ids[:, :6], ids[:, 6:]], 6, contexts).sum()
    pairs = {1: 5, 2: 4, 3: 3, "tokens": 15}[contexts]
    assert halves == 2 * pairs
    assert halves < support_matrix([ids], 6, contexts).sum()


def test_ids_of_a_large_vocabulary_are_numbered_without_a_fault():
    ids = torch.tensor([[127_999, 0, 127_999, 127_998]])
    found = support_matrix([ids], 128_000, contexts=2)
    rows, columns = found.nonzero()
    assert (rows.tolist(), columns.tolist()) == ([127_998, 127_999], [0, 1])
    with pytest.raises(
        ValueError, match=r"contexts must be 2 or less with vocab_size=128000, .* 3"
    ):
        support_matrix([ids], np.int64(128_000), contexts=3)
    # 2^63 is the first number that is too large.
    assert support_matrix([torch.ones(1, 62).long()], 2, contexts=61).nnz == 1
    with pytest.raises(ValueError, match=r"must be 61 or less with vocab_size=2"):
        support_matrix([torch.ones(1, 70).long()], 2, contexts=62)
    assert support_matrix([torch.zeros(1, 90).long()], 1, contexts=80).toarray().tolist() == [[10]]


@pytest.mark.parametrize(
    ("batches", "options", "message"),
    [
        ([torch.ones(2, 3)], {}, r"as 'input_ids'; number 0 is a Tensor of torch.float32\."),
        ([torch.ones(2, 3) > 0], {}, r"number 0 is a Tensor of torch.bool\."),
        ([{"tokens": torch.ones(2, 3).long()}], {}, r"'input_ids'; number 0 is a dict\."),
        (torch.ones(2, 3).long(), {}, r"\[batch, length\]; number 0 has \[3\]. .* as \[batch\]"),
        ([torch.ones(2, 3).long(), torch.tensor([[1, -100]])], {},
         r"in 0\.\.3, as vocab_size=4 says; batch number 1 has -100 to 1\."),
        ([torch.tensor([[0, 4]])], {}, r"in 0\.\.3, as vocab_size=4 says; .* 0 has 0 to 4\."),
        ([], {}, r"no token that follows a context: give windows of 2 tokens or more"),
        ([torch.ones(2, 3).long()], {"contexts": 3}, r"give windows of 4 tokens or more"),
        ([torch.ones(2, 3).long()], {"contexts": 0}, r"1 or more, or 'tokens'; got 0"),
        ([torch.ones(2, 3).long()], {"contexts": "bag"}, r"number or 'tokens'; got a str, 'bag'"),
        ([torch.ones(2, 3).long()], {"vocab_size": 0}, r"vocab_size must be 1 or more; got 0"),
        (3, {}, r"batches must be several, as a list or a DataLoader has them; got a int"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(batches, options, message):
    with pytest.raises(ValueError, match=message):
        support_matrix(batches, **{"vocab_size": 4, **options})
