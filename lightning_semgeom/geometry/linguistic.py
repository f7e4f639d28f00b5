"""Neural collapse where classes outnumber dimensions: how evenly class means lie on the sphere.

A figure over all pairs of classes that no sum gives: the logarithm of a distance is taken pair by
pair, tile by tile, so that time is quadratic in the classes and memory linear.

Legend: n classes with means m_c of width d; mu = mean of the m_c; v_c = (m_c - mu) / ||m_c - mu||;
w_c the classifier's row of class c at unit length, not centred.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import check_rows, unit_blocks
from lightning_semgeom.geometry.careful import mean_sums
from lightning_semgeom.geometry.full_precision import full_precision
from lightning_semgeom.geometry.pairs import pair_tiles, unit_rows
from lightning_semgeom.kinds import checked_kinds

_CLOSE = 1 / 64  # of 1 - cosine: below, the rounding of the cosine would show in the logarithm
_CLOSE_AT_ONCE = 1 << 12  # pairs of close rows whose differences are taken together


@checked_kinds
def linguistic_collapse(
    means: Tensor, classifier: Tensor | None = None, progress: bool = False
) -> dict[str, Tensor]:
    """How evenly class means lie on the sphere, and how evenly the classifier follows them.

    After Wu & Papyan, "Linguistic Collapse: Neural Collapse in (Large) Language Models" (arXiv
    2405.17767): a vocabulary has far more classes than the model has dimensions, so its class means
    cannot be a simplex ETF, and these two figures take the place of NC2 and NC3. With v_c the class
    means, less their mean, at unit length, and w_c the classifier's rows at unit length,

    - `gnc2`: the variance over all pairs of k(v_c, v_e) = log(1 / ||v_c - v_e||), the logarithmic
      kernel of hyperspherical uniformity; 0 where all are equally far apart;
    - `gnc2_mean`: the mean of k; -log(2) / 2 on average where directions are random and many;
    - `unc3`: the variance over classes of w_c . v_c, uniform duality; 0 where each class mean
      and its classifier are at the same angle; `unc3_mean`: the mean of it, 1 where they are one;
    - `classes`: how many class means counted; `coincident`: how many pairs of them are the same.

    The paper's text was not at hand; these are the definitions of the authors' own code:
    rhubarbwu/neural-collapse (`log_kernel`, `kernel_grid`, `similarities`) and what their
    rhubarbwu/linguistic-collapse saves of it (`log_kern_var`, over pairs, and `simcos_var`, over
    n - 1). Others report coefficients of variation, `gnc2.sqrt() / gnc2_mean.abs()`.

    A class without rows has no mean: give zeros or NaN, or leave it out together with its row of
    the classifier. Means that are zero, not finite or not to be told from mu are left out, and so
    are, of `unc3` alone, classes whose row of the classifier is zero or not finite. Two means that
    are the same have an infinite k: `gnc2` and `gnc2_mean` are NaN, and `coincident` tells why.
    With fewer than two classes all four are NaN.

    Time is quadratic in the classes, memory linear: beside a copy of the means at unit length there
    is never more than one tile of pairs. 50,257 means of width 768 in fp32 take 23 s and 190 MB on
    two CPU cores. Many means in one place take longer: near pairs are taken again one by one.

    Args:
        means: `[n, d]`, a row for each class, any floating point dtype: hidden states averaged by
            their next token, or any rows.
        classifier: `[n, d]`, for `unc3`: the unembedding.
        progress: whether to show a bar on standard error.

    Returns:
        fp64 tensors `[]`, on the device of `means` (on the CPU where that has no fp64).

    Raises:
        ValueError: if a shape or a dtype does not fit.

    Example:
        >>> import torch
        >>> found = linguistic_collapse(torch.eye(4), classifier=torch.eye(4))
        >>> round(found["gnc2"].item(), 6), round(found["unc3_mean"].item(), 3)
        (0.0, 0.866)
    """
    check_rows(means, name="means")
    if classifier is not None:
        check_rows(classifier, means.shape[1], "classifier")
        if len(classifier) != len(means):
            raise ValueError(
                f"classifier must have one row for each of the {len(means)} rows of means; got "
                f"{len(classifier)}. Leave the same classes out of both."
            )
    centre = mean_sums(means).mean
    unit, valid = unit_rows(means, centre)
    nan = centre.new_tensor(torch.nan)
    duality = {"unc3": nan, "unc3_mean": nan}
    if classifier is not None:
        cosines = _alignment(unit, valid, classifier)
        if len(cosines) > 1:
            duality = {"unc3": cosines.var(), "unc3_mean": cosines.mean()}
    if not valid.all():
        unit = unit[valid]
    return _uniformity(unit, progress) | duality | {"classes": valid.sum().to(centre)}


def _alignment(unit: Tensor, valid: Tensor, classifier: Tensor) -> Tensor:
    """w_c . v_c of the classes that have both, fp64 `[k]`."""
    both, cosines = valid.clone(), unit.new_empty(len(unit), dtype=torch.float64)
    for part, block, has_row in unit_blocks(classifier, None):
        cosines[part] = (block.to(cosines) * unit[part]).sum(1)
        if has_row is not None:
            both[part] &= has_row.to(both.device)
    return cosines[both]


def _uniformity(unit: Tensor, progress: bool) -> dict[str, Tensor]:
    """`gnc2`, `gnc2_mean` and `coincident` of `unit` `[n, d]`."""
    pairs = len(unit) * (len(unit) - 1) / 2
    total, squares, coincident, nan = torch.tensor(
        [0, 0, 0, torch.nan], dtype=torch.float64, device=unit.device
    )
    if not pairs:
        return {"gnc2": nan, "gnc2_mean": nan, "coincident": coincident}
    guess: Tensor | None = None
    for first, second in _shown(pair_tiles(unit), progress):
        a, of_itself = first.stop - first.start, first == second
        logarithms, same = _logarithms(unit[first], unit[second], of_itself)
        coincident = coincident + same
        # About a first guess of their mean, so that squares of what hardly varies keep digits.
        guess = logarithms.sum() / (a * (a - 1)) if guess is None else guess
        logarithms -= guess
        if of_itself:
            logarithms.triu_(1)
        total = total + logarithms.sum(1).sum(dtype=total.dtype)
        lengths = torch.linalg.vector_norm(logarithms, dim=1)
        squares = squares + lengths.to(total.dtype).square().sum()
    assert guess is not None  # for the type checker: there are pairs, so there is a tile
    mean = total / pairs
    figures = {
        "gnc2": (squares / pairs - mean.square()).clamp(min=0) / 4,
        "gnc2_mean": -(mean + guess + math.log(2)) / 2,
    }
    figures = {name: torch.where(coincident > 0, nan, of) for name, of in figures.items()}
    return figures | {"coincident": coincident}


def _logarithms(first: Tensor, second: Tensor, of_itself: bool) -> tuple[Tensor, Tensor]:
    """log(1 - c) of the cosines c of a tile, `[a, b]`, and the number of its equal pairs, `[]`.

    k = -log(2 - 2 c) / 2. Without the 2, small cosines keep all their digits.

    Args:
        first: `[a, d]` unit rows.
        second: `[b, d]`.
        of_itself: whether both are the same rows: 0 on the diagonal, and each pair counts once.
    """
    with full_precision(first.device):
        cosines = first @ second.T
    if of_itself:
        cosines.fill_diagonal_(0)
    coincident = torch.zeros((), dtype=torch.float64, device=first.device)
    close = (cosines > 1 - _CLOSE).nonzero() if cosines.amax() > 1 - _CLOSE else None
    logarithms = cosines.neg_().log1p_()
    if close is not None:
        smallest = (4 * torch.finfo(first.dtype).eps) ** 2
        for i, j in (pairs.T for pairs in torch.split(close, _CLOSE_AT_ONCE)):
            squared = (first[i] - second[j]).square().sum(1)
            coincident = coincident + (squared <= smallest).sum()
            logarithms[i, j] = (squared / 2).log()
    return logarithms, coincident / 2 if of_itself else coincident


def _shown(tiles: list[tuple[slice, slice]], progress: bool) -> Iterable[tuple[slice, slice]]:
    if not progress:
        return tiles
    from tqdm.auto import tqdm

    bar: Iterable[tuple[slice, slice]] = tqdm(tiles, desc="linguistic collapse", unit="tile")
    return bar
