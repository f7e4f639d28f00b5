"""The support of a corpus: which token ever follows which context.

Legend: V tokens, m contexts; S `[V, m]` with S_zj = how often token z follows context j.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_semgeom.extras import needs
from lightning_semgeom.kinds import checked_kinds

if TYPE_CHECKING:
    from scipy.sparse import csc_array

_PAIRS_AT_ONCE = 1 << 22  # counted together: 32 MB


@checked_kinds
def support_matrix(
    batches: Iterable[Any], vocab_size: int, contexts: int | Literal["tokens"] = "tokens"
) -> csc_array:
    """Count which token follows which context in a corpus.

    The support matrix of Zhao & Thrampoulidis, "Geometry of semantics in next-token prediction"
    (arXiv 2505.08348), says which tokens ever follow a context: here the entries above 0. Counts
    are kept, as they cost nothing. Only the paper's abstract was at hand, so what a context is are
    our two ways to say it:

    - a number k: the k tokens just before. Each different k tokens are a column; the first k tokens
      of a window follow no context.
    - `"tokens"`: each token that stands anywhere before in the same window, as a bag of words. Each
      different token is a column, and a pair of positions counts once. Contexts that share tokens
      share columns; so it says something where no two whole contexts are the same.

    Windows do not see each other: no context goes over the end of one. All tokens count, also those
    of padding: leave it out.

    Memory is that of the entries that are not 0: 16 bytes each at the end, 75 on the way, there 80
    MB or more. Three million tokens of 2048 kinds, in windows of 64, take 13 s as bags and 0.5 s
    with `contexts=1` on one CPU core.

    Args:
        batches: such as a list or a DataLoader, read once: whole numbers `[batch, length]`, or
            dicts that have them as `input_ids`.
        vocab_size: V, the rows of the unembedding.
        contexts: the length k of a context, 1 or more, or `"tokens"`.

    Returns:
        A `scipy.sparse.csc_array` int64 `[V, m]`. Its columns are the contexts that occur, in the
        order of their token ids.

    Raises:
        ValueError: if a batch is not whole numbers `[batch, length]`, an id lies outside 0..V-1, no
            token follows a context, or so many contexts of k tokens cannot be numbered.
        ModuleNotFoundError: if scipy is not installed.

    Example:
        >>> import torch
        >>> windows = torch.tensor([[0, 1, 2], [0, 1, 3]])
        >>> support_matrix([windows], vocab_size=4, contexts=1).toarray()
        array([[0, 0],
               [2, 0],
               [0, 1],
               [0, 1]])
    """
    with needs("corpus"):
        from scipy.sparse import csc_array

    vocab_size = int(vocab_size)  # of numpy, its powers would overflow
    _check_sizes(vocab_size, contexts)
    pairs = (
        pair for ids in _windows(batches, vocab_size) for pair in _pairs(ids, vocab_size, contexts)
    )
    numbers, counts = _counted(pairs)
    if not len(numbers):
        told = "2 tokens" if contexts == "tokens" else f"{contexts + 1} tokens"
        raise ValueError(
            f"batches have no token that follows a context: give windows of {told} or more."
        )
    contexts_found, starts = np.unique(numbers // vocab_size, return_index=True)
    ends = np.append(starts, len(numbers))
    shape = (vocab_size, len(contexts_found))
    return csc_array((counts, numbers % vocab_size, ends), shape=shape)


def _check_sizes(vocab_size: int, contexts: int | Literal["tokens"]) -> None:
    if vocab_size < 1:
        raise ValueError(f"vocab_size must be 1 or more; got {vocab_size}.")
    if contexts == "tokens":
        return
    if contexts < 1:
        raise ValueError(f"contexts must be a length of 1 or more, or 'tokens'; got {contexts}.")
    most = 1
    while vocab_size ** (most + 2) < 1 << 63 and most < contexts:
        most += 1
    if contexts > most:
        raise ValueError(
            f"contexts must be {most} or less with vocab_size={vocab_size}, so that each context "
            f"with its next token has a number of 63 bits; got {contexts}."
        )


def _windows(batches: Iterable[Any], vocab_size: int) -> Iterator[NDArray[np.int64]]:
    """The token ids of each batch, `[batch, length]`."""
    if not isinstance(batches, Iterable):
        raise ValueError(
            f"batches must be several, as a list or a DataLoader has them; got a "
            f"{type(batches).__name__}."
        )
    for number, batch in enumerate(batches):
        ids = batch.get("input_ids") if isinstance(batch, Mapping) else batch
        if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.dtype == torch.bool:
            raise ValueError(
                "each of batches must be whole numbers [batch, length], or a dict that has them as "
                f"'input_ids'; number {number} is a {type(batch).__name__}"
                f"{f' of {ids.dtype}' if isinstance(ids, Tensor) else ''}."
            )
        if ids.ndim != 2:
            raise ValueError(
                f"each of batches must have the shape [batch, length]; number {number} has "
                f"{list(ids.shape)}. One batch alone is given as [batch]."
            )
        found = ids.cpu().numpy().astype(np.int64)
        if found.size and (found.min() < 0 or found.max() >= vocab_size):
            raise ValueError(
                f"the ids in batches must lie in 0..{vocab_size - 1}, as vocab_size={vocab_size} "
                f"says; batch number {number} has {found.min()} to {found.max()}."
            )
        yield found


def _pairs(
    ids: NDArray[np.int64], vocab_size: int, contexts: int | Literal["tokens"]
) -> Iterator[NDArray[np.int64]]:
    """Each context with its next token, as one number: the tokens are its digits to the base V."""
    length = ids.shape[1]
    if contexts == "tokens":
        for before in range(1, length):
            yield (ids[:, :-before] * vocab_size + ids[:, before:]).ravel()
        return
    number = ids[:, : max(0, length - contexts)]
    for after in range(1, contexts + 1):
        number = number * vocab_size + ids[:, after : after + number.shape[1]]
    yield number.ravel()


def _counted(parts: Iterable[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different numbers of all parts, sorted, and how often each is there."""
    numbers = counts = np.zeros(0, dtype=np.int64)
    waiting: list[NDArray[np.int64]] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += part.size
        # As many as are known already, so that what is known is not sorted anew all the time.
        if size >= max(_PAIRS_AT_ONCE, len(numbers)):
            numbers, counts = _added(numbers, counts, waiting)
            waiting, size = [], 0
    return _added(numbers, counts, waiting)


def _added(
    numbers: NDArray[np.int64], counts: NDArray[np.int64], parts: list[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if not parts:
        return numbers, counts
    new, times = np.unique(np.concatenate(parts), return_counts=True)
    both, places = np.unique(np.concatenate([numbers, new]), return_inverse=True)
    # Two sorted parts without repeats: each place is met at most once in each.
    total = np.zeros(len(both), dtype=np.int64)
    total[places[: len(numbers)]] = counts
    total[places[len(numbers) :]] += times
    return both, total
