"""In which order attributes should emerge, by the support of the corpus alone: no model is run.

Legend: S `[V, m]` the support, 1 where a token ever follows a context; J = I - 11^T/V;
J S = U Sigma V^T with left singular vectors u_k and singular values sigma_k, falling. Of an
attribute: n tokens that it labels and that occur, n_v of value v, M values; P the projection on the
M - 1 directions in which tokens of one value are alike, orthogonal to 1 over the n tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_semgeom.extras import needs
from lightning_semgeom.kinds import checked_kinds

if TYPE_CHECKING:
    from scipy.sparse import csc_array

    from lightning_semgeom.attributes.table import AttributeTable

_DENSE = 1 << 18  # entries of a matrix that is decomposed as a whole: sooner done, and all of it
_ROUNDING = 1e-7  # of the largest singular value: what is less is 0, as far as squares tell


@dataclass(frozen=True, eq=False, repr=False)
class PredictedOrder:
    """What the support matrix says of each attribute; printed, a line for each."""

    strength: Mapping[str, float]
    """The attributes' singular value, in the predicted order; NaN and last where not defined.
    Those that are equally strong stand as in the table."""
    by_chance: Mapping[str, float]
    """What it would be with the attribute's values shuffled among its tokens."""
    shares: Mapping[str, Tensor]
    """fp64 `[k]` for each attribute: how much of it lies along each direction, at most 1 in all."""
    singular_values: Tensor
    """fp64 `[k]`: sigma, falling."""
    directions: Tensor
    """fp64 `[V, k]`: u of each token. `directions * singular_values.sqrt()` is the unembedding to
    which training tends, as far as it goes with k directions."""

    def __repr__(self) -> str:
        tokens, k = self.directions.shape
        lines = [f"PredictedOrder of {len(self.strength)} attributes of {tokens} tokens"]
        for place, (name, strength) in enumerate(self.strength.items(), start=1):
            lines.append(
                f"  {place}. {name}: {strength:.2f}, by chance {self.by_chance[name]:.2f}; "
                f"{self.shares[name].sum():.0%} of it in {k} directions"
            )
        return "\n".join(lines)


@checked_kinds
def predicted_order(
    table: AttributeTable, support: Any, num_directions: int = 32
) -> PredictedOrder:
    """Say in which order attributes should emerge, by what follows what in the corpus.

    After Zhao & Thrampoulidis, "Geometry of semantics in next-token prediction" (arXiv 2505.08348):
    unembedding and context embeddings tend to U sqrt(Sigma) and sqrt(Sigma) V^T of the centred
    support matrix J S = U Sigma V^T, and learn its directions one after the other, that of the
    largest singular value first. Only the paper's abstract was at hand. What this means for an
    attribute is ours:

    - an attribute of M values lies in M - 1 directions of token space; `shares` says how much of
      them lies along u_k: ||P u_k||^2 / (M - 1) = sum_v n_v (mean_v u_k - mean u_k)^2 / (M - 1);
    - `strength` is the root mean square of sigma by these shares, over all directions, not the
      leading ones alone: ||P J S|| / sqrt(M - 1), for which no singular vector is needed. What is
      stronger should emerge earlier;
    - `by_chance` is its root mean square over all ways to shuffle the values among the n tokens:
      sqrt(sum of squares of their centred rows / (n - 1)). Only what is stronger than that says
      something of the attribute.

    A prediction of the order, not of steps: it knows neither the model nor the learning rate. It is
    as good as what `support_matrix` takes for a context; docs/results/predicted-order.md has
    what came out: in small settings the order of training, in real text little but frequency.

    Directions of the same singular value may turn among themselves, and their shares with them; the
    strengths do not. u_k has the sign that makes its largest entry, the first of equals, positive.

    Args:
        table: which token has which value; row i is token id i. Tokens past its end, and those that
            follow no context, are not labelled.
        support: of `support_matrix`, any scipy sparse matrix `[V, m]`; entries above 0 count as 1.
        num_directions: k; fewer where the centred matrix has a lower rank.

    Returns:
        `PredictedOrder`. An attribute with fewer than two values among tokens that occur has NaN.

    Raises:
        ValueError: if `support` is not a sparse matrix or has no entry above 0, the table has more
            rows, or `num_directions` is less than 1.
        ModuleNotFoundError: if scipy is not installed.

    Example:
        >>> import torch
        >>> from lightning_semgeom import AttributeTable, support_matrix
        >>> # Two tokens of a window say what is first, one says what is second, and then comes 0-3.
        >>> windows = [[4, 5, 8, 0], [4, 5, 9, 1], [6, 7, 8, 2], [6, 7, 9, 3]]
        >>> table = AttributeTable.from_dict({"second": [*"abab"], "first": [*"aabb"]})
        >>> predicted_order(table, support_matrix([torch.tensor(windows)], vocab_size=10))
        PredictedOrder of 2 attributes of 10 tokens
          1. first: 2.00, by chance 1.41; 100% of it in 6 directions
          2. second: 1.41, by chance 1.41; 100% of it in 6 directions
    """
    with needs("corpus"):
        from scipy.sparse import csc_array, issparse

    if num_directions < 1:
        raise ValueError(f"num_directions must be 1 or more; got {num_directions}.")
    if not issparse(support) or support.ndim != 2:
        raise ValueError(
            "support must be a sparse matrix [tokens, contexts], as support_matrix gives it; got a "
            f"{type(support).__name__}."
        )
    tokens = support.shape[0]
    if len(table) > tokens:
        raise ValueError(
            f"the table must have at most one row for each of the {tokens} rows of support; it has "
            f"{len(table)}. Was it made for another tokenizer, or is vocab_size too small?"
        )
    follows = csc_array(support > 0, dtype=np.float64)
    if not follows.nnz:
        raise ValueError(
            f"support has no entry above 0 among {tokens} tokens and {support.shape[1]} contexts: "
            "there is nothing to predict from."
        )
    directions, singular_values = _leading(follows, num_directions)
    codes = np.full((tokens, len(table.names)), -1)
    codes[: len(table)] = table.codes.cpu().numpy()
    codes[follows.sum(axis=1) == 0] = -1
    found = {
        name: _of_attribute(of, follows, directions)
        for name, of in zip(table.names, codes.T, strict=True)
    }
    order = sorted(found, key=lambda name: (np.isnan(found[name][0]), -found[name][0]))
    return PredictedOrder(
        {name: found[name][0] for name in order},
        {name: found[name][1] for name in order},
        {name: torch.from_numpy(found[name][2]) for name in order},
        torch.from_numpy(singular_values),
        torch.from_numpy(directions),
    )


def _leading(follows: csc_array, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """U `[V, k]` and Sigma `[k]` of the centred support; k at most its rank."""
    from scipy.sparse.linalg import LinearOperator, svds

    left: NDArray[np.float64]
    values: NDArray[np.float64]
    k = min(k, follows.shape[0] - 1, follows.shape[1])
    if np.prod(follows.shape) <= _DENSE or k == min(follows.shape):
        dense = follows.toarray()
        left, values, _ = np.linalg.svd(dense - dense.mean(axis=0), full_matrices=False)
    else:

        def centred(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            less: NDArray[np.float64] = rows - rows.mean(axis=0)
            return less

        operator = LinearOperator(
            follows.shape,
            matvec=lambda x: centred(follows @ x),
            rmatvec=lambda y: follows.T @ centred(y),
            matmat=lambda x: centred(follows @ x),
            dtype=np.float64,
        )
        # The same start each time, so that the answer is the same.
        start = np.random.default_rng(0).standard_normal(min(follows.shape))
        left, values, _ = svds(operator, k, v0=start, return_singular_vectors="u")
        falling = np.argsort(-values)
        left, values = left[:, falling], values[falling]
    k = min(k, int((values > _ROUNDING * values[:1]).sum()))
    left, values = left[:, :k], values[:k]
    sizes = np.abs(left)
    # The first of equals, of which rounding would make now one the largest and now another.
    first = (sizes >= (1 - 1e-6) * sizes.max(axis=0, initial=0)).argmax(axis=0)
    return left * np.where(left[first, np.arange(k)] < 0, -1.0, 1.0), values


def _of_attribute(
    codes: NDArray[np.int64], follows: csc_array, directions: NDArray[np.float64]
) -> tuple[float, float, NDArray[np.float64]]:
    """Strength, strength by chance and shares `[k]` of the attribute with `codes` `[V]`."""
    from scipy.sparse import csr_array

    (labelled,) = (codes >= 0).nonzero()
    values, places, sizes = np.unique(codes[labelled], return_inverse=True, return_counts=True)
    n, free = len(labelled), len(values) - 1
    if free < 1:
        return np.nan, np.nan, np.full(directions.shape[1], np.nan)
    members = csr_array((np.ones(n), (places, labelled)), shape=(len(values), len(codes)))
    # Sums of 0 and 1 are whole numbers: in fractions nothing is lost in the difference, and
    # attributes that are equally strong are so to the last digit.
    sums = members @ follows
    total = sums.sum(axis=0)
    of_all = Fraction(int(total @ total), n)
    of_values = map(int, sums.power(2).sum(axis=1))
    between = sum(map(Fraction, of_values, sizes.tolist())) - of_all
    strength = math.sqrt(between / free)
    by_chance = math.sqrt((int(total.sum()) - of_all) / (n - 1))
    means = members @ directions / sizes[:, None]
    from_mean = means - directions[labelled].mean(axis=0)
    return strength, by_chance, sizes @ from_mean**2 / free
