"""Neural collapse: how near class features and classifier are to the symmetric end state.

Legend: K classes, d width; class k has n_k rows with mean mu_k and variance var_k = mean of
||h - mu_k||^2; mu = mean of the class means; m_k = mu_k - mu; v_k = m_k / ||m_k||;
Sigma_W = mean over rows of (h - mu_k)(h - mu_k)^T; Sigma_B = mean over classes of m_k m_k^T; W `[K,
d]` the classifier, b `[K]` its bias.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import block_slices, check_rows
from lightning_semgeom.geometry.classes import ClassSums, centre_agreement, class_sums
from lightning_semgeom.kinds import checked_kinds

FIGURES = (
    "nc1_trace",
    "nc1_pinv",
    "cdnv",
    "equinorm",
    "equiangularity",
    "etf_distance",
    "nc3",
    "nc4",
)


def collapse_from_sums(sums: ClassSums, classifier: Tensor | None = None) -> dict[str, Tensor]:
    """The figures of `neural_collapse` that sums can give: all but `nc4`."""
    seen = sums.counts > 0
    n_k = sums.counts[seen]
    k, n = seen.sum().to(n_k), n_k.sum()
    figures = {name: n.new_tensor(torch.nan) for name in FIGURES}
    if k < 2:
        return figures
    centred = _centred(sums.means[seen])
    within = sums.scatter / n
    between = centred.T @ centred / k
    spread = between.trace()
    figures["nc1_trace"] = torch.where(spread > 0, within.trace() / spread, torch.nan)
    figures["cdnv"] = _cdnv(centred, sums.squares[seen] / n_k)
    if spread > 0 and bool(torch.isfinite(between).all()):
        inverse = torch.linalg.pinv(between, hermitian=True)
        figures["nc1_pinv"] = (within * inverse).sum() / k
    length = torch.linalg.vector_norm(centred, dim=1)
    figures["equinorm"] = length.std(correction=0) / length.mean()
    unit = centred / length[:, None]
    total, squared = unit.sum(0).square().sum(), (unit.T @ unit).square().sum()
    pairs = k * (k - 1)
    average = (total - k) / pairs
    figures["equiangularity"] = ((squared - k) / pairs - average.square()).clamp(min=0).sqrt()
    figures["etf_distance"] = etf_distance(k, total, squared)
    if classifier is not None and bool(seen.all()):
        weight = classifier.detach().to(centred)
        direction = centred / torch.linalg.matrix_norm(centred)
        figures["nc3"] = (weight / torch.linalg.matrix_norm(weight) - direction).square().sum()
    return figures


def _centred(means: Tensor) -> Tensor:
    """The class means `[k, d]` less their mean; moved to the first one before they are added."""
    shifted = means - means[0]
    return shifted - shifted.mean(0)


def etf_distance(count: Tensor, total_squared: Tensor, gram_squared: Tensor) -> Tensor:
    """||G/||G||_F - E/||E||_F||_F of the Gram G of n unit vectors to the simplex ETF's Gram E.

    E = (n I - 11^T) / (n - 1), so <G, E> = (n tr G - 1^T G 1) / (n - 1) and no n x n matrix is
    needed.

    Args:
        count: n `[]`.
        total_squared: ||sum of the unit vectors||^2 = 1^T G 1 `[]`.
        gram_squared: ||G||_F^2 = ||C||_F^2 `[]`.
    """
    inner = (count.square() - total_squared) / (count - 1)
    etf_norm = count / (count - 1).sqrt()
    cosine = inner / (gram_squared.sqrt() * etf_norm)
    return (2 - 2 * cosine).clamp(min=0).sqrt()


def _cdnv(means: Tensor, variance: Tensor) -> Tensor:
    """Mean over class pairs, a block of classes at a time: quadratic in K, linear in memory."""
    total = means.new_zeros(())
    k = means.shape[0]
    for part in block_slices(means.new_empty(k, k)):
        squared = torch.cdist(
            means[part], means, compute_mode="donot_use_mm_for_euclid_dist"
        ).square()
        ratio = (variance[part, None] + variance[None]) / (2 * squared)
        ratio = torch.where(squared > 0, ratio, torch.nan)
        own = torch.arange(part.start, part.stop, device=means.device)
        ratio[torch.arange(ratio.shape[0], device=means.device), own] = 0
        total = total + ratio.sum()
    return total / (k * (k - 1))


@checked_kinds
def neural_collapse(
    rows: Tensor,
    labels: Tensor,
    num_classes: int,
    classifier: Tensor | None = None,
    bias: Tensor | None = None,
) -> dict[str, Tensor]:
    """How far features and classifier have collapsed to the symmetric end state.

    - `nc1_trace` = tr Sigma_W / tr Sigma_B; `nc1_pinv` = tr(Sigma_W Sigma_B^+) / K (Papyan, Han &
      Donoho, "Prevalence of neural collapse", 2020);
    - `cdnv`: mean over class pairs of (var_k + var_l) / (2 ||mu_k - mu_l||^2) (Galanti, Gyorgy &
      Hutter, 2021), quadratic in the classes, linear in memory;
    - `equinorm`: standard deviation / mean of ||m_k||; `equiangularity`: standard deviation of the
      cosines between m_k and m_l (NC2 of Papyan et al.);
    - `etf_distance`: ||G/||G||_F - E/||E||_F||_F, G the cosines of the m_k, E those of a
      simplex ETF;
    - `nc3` = ||W/||W||_F - M/||M||_F||_F^2 with rows m_k in M: self-duality of the classifier;
    - `nc4`: share of rows for which the classifier picks the class with the nearest mean.

    All are 0 in the end state but `nc4`, which is 1. The centre is the mean of the class means, so
    frequent classes count no more than rare ones. Classes without rows are left out; `nc3` is then
    NaN, as are `nc3` and `nc4` without a classifier, and all with fewer than two classes. A mean
    that is long beside the spread costs no digits but those that the rows themselves have lost: in
    fp32 their entries are rounded to 6e-8 of what they are.

    Args:
        rows: `[n, d]` features, any floating point dtype.
        labels: int64 `[n]`, the class of each row; negative: left out.
        num_classes: K.
        classifier: `[K, d]`.
        bias: `[K]`, used by `nc4` alone.

    Returns:
        fp64 tensors `[]`.

    Raises:
        ValueError: if shapes do not fit or a label is K or more.

    Example:
        >>> rows = torch.tensor([[1.0, 0], [3, 0], [0, 1], [0, 3]])
        >>> found = neural_collapse(rows, torch.tensor([0, 0, 1, 1]), num_classes=2)
        >>> round(found["nc1_trace"].item(), 3)  # within a class 1, between them 2
        0.5
    """
    check_labels(rows, labels, num_classes)
    check_classifier(classifier, bias, num_classes, rows.shape[1])
    sums = class_sums(rows, labels, num_classes)
    figures = collapse_from_sums(sums, classifier)
    if classifier is not None:
        means = torch.where((sums.counts > 0)[:, None], sums.means, torch.nan)
        agreed, looked_at = centre_agreement(rows, labels, means, classifier, bias)
        figures["nc4"] = agreed / looked_at
    return figures


def check_labels(rows: Tensor, labels: Tensor, num_classes: int) -> None:
    """Raise a ValueError unless `labels` are one class below `num_classes` for each row."""
    check_rows(rows)
    if labels.shape != rows.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"labels must be integers [{rows.shape[0]}], one a row; got {labels.dtype} "
            f"{list(labels.shape)}."
        )
    if labels.numel() and int(labels.max()) >= num_classes:
        raise ValueError(
            f"labels must be below num_classes = {num_classes}; found {int(labels.max())}."
        )


def check_classifier(
    classifier: Tensor | None, bias: Tensor | None, num_classes: int, width: int
) -> None:
    """Raise a ValueError unless `classifier` is `[K, d]` and `bias` `[K]`, where they are given."""
    for name, given, expected in (
        ("classifier", classifier, (num_classes, width)),
        ("bias", bias, (num_classes,)),
    ):
        if given is not None and tuple(given.shape) != expected:
            raise ValueError(f"{name} must be {list(expected)}; got {list(given.shape)}.")
    if bias is not None and classifier is None:
        raise ValueError("bias was given without a classifier; give both or neither.")
