"""The eigenvalues of the covariance: how many directions are in use, and how fast they fall.

Legend: n rows x_i of width d; lambda_k the eigenvalues of their covariance, the largest first, k =
1, 2, ...; p_k = lambda_k / sum of lambda.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import check_rows
from lightning_semgeom.geometry.covariance import scatter_of
from lightning_semgeom.kinds import checked_kinds

_EPSILON = 1e-7  # theirs, beside each p: with few eigenvalues in use it shows in the third digit
_FIRST, _LAST = 12, 100  # ranks of the fit


@checked_kinds
def eigenspectrum(rows: Tensor) -> dict[str, Tensor]:
    """RankMe, and the exponent of the power law by which the eigenvalues of the covariance fall.

    After Li et al., "Tracing the representation geometry of language models from pretraining to
    post-training" (arXiv 2509.23024), who follow both through training: RankMe falls in warm-up,
    rises while the model memorises n-grams, and falls again. Of rows that are centred, and neither
    scaled to unit length nor averaged by label,

    - `rankme` = exp(-sum_k q_k log q_k), q_k = p_k + 1e-7, over the min(n, d) largest eigenvalues;
    - `alpha_req` = -slope of log lambda_k on log k, over the ranks k = 12 to 100, by least squares
      with weights 1 / k (Stringer et al., 2019; alpha-ReQ of Agrawal et al., 2022).

    The paper's text was not at hand; these are the definitions of the authors' own code (`rankme`,
    and `stringer_get_powerlaw` with `np.arange(11, 100)`). There a row is the last hidden state of
    a text's last token, and 2048 eigenvalues at most are kept; here all count.

    Three figures go by like names. This `rankme` takes the eigenvalues of the covariance, which
    are the squares of singular values. The first one (Garrido et al., "RankMe", 2023) takes the
    singular values themselves, of rows that are not centred. `effective_rank` of `spectrum` takes
    eigenvalues too, but those of rows at unit length, and adds no 1e-7: long rows count no more in
    it than short ones. Where a few rows are far longer than the rest, as the first positions of
    many language models are, `rankme` is about these.

    Rows that are zero or not finite are left out. What is not defined is NaN: `rankme` where rows
    do not differ, and `alpha_req` with fewer than 100 eigenvalues that are more than rounding, for
    which more than 100 rows are needed, and a width of 100 or more. An `alpha_req` of few rows is
    that of chance: take several times as many as d.

    Args:
        rows: `[n, d]`, any floating point dtype; time is linear in n, and of the third power in d.

    Returns:
        fp64 tensors `[]`, on the rows' device (on the CPU where that has no fp64).

    Raises:
        ValueError: if `rows` is not a floating point matrix.

    Example:
        >>> import torch
        >>> sizes = torch.arange(1, 129) ** -0.5  # so that their squares fall as 1 / k
        >>> rows = torch.cat([torch.diag(sizes), -torch.diag(sizes)])
        >>> {name: round(of.item(), 2) for name, of in eigenspectrum(rows).items()}
        {'rankme': 46.96, 'alpha_req': 1.0}
    """
    check_rows(rows)
    scatter = scatter_of(rows)
    values = scatter.eigenvalues()
    return {"rankme": _rankme(values, scatter.count), "alpha_req": _exponent(values)}


def _rankme(values: Tensor, count: Tensor) -> Tensor:
    total = values.sum()
    shares = values / total + _EPSILON
    places = torch.arange(len(values), device=values.device)
    shares = torch.where(places < count, shares, 0.0)
    rank = torch.special.entr(shares).sum().exp()
    return torch.where(total > 0, rank, torch.nan)


def _exponent(values: Tensor) -> Tensor:
    if len(values) < _LAST:
        return values.new_tensor(torch.nan)
    ranks = torch.arange(_FIRST, _LAST + 1, device=values.device).to(values)
    of_ranks = values[_FIRST - 1 : _LAST]
    weights = (1 / ranks) / (1 / ranks).sum()
    x, y = ranks.log(), of_ranks.log()
    x = x - (weights * x).sum()
    slope = (weights * x * y).sum() / (weights * x.square()).sum()
    return torch.where(of_ranks[-1] > 0, -slope, torch.nan)
