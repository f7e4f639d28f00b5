"""When the training loss slows down: a break of its curve, straight on both sides in log-log space.

Legend: losses L at steps t; x = log t, y = log L.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_semgeom.kinds import checked_kinds

_BINS_A_DECADE = 20  # so that the last decade, with most steps, counts no more than the others
_FEWEST_BINS = 10
_FEWEST_A_PART = 3
_ROUNDING = 1e-18  # mean squared error of a curve that is straight
_SHARE = 0.5  # of the squared error, which noise alone does not take away


@dataclass(frozen=True)
class LossDeceleration:
    """Where a loss curve breaks, and how fast it falls on both sides."""

    step: float
    """The optimizer step of the break, to a twentieth of a decade."""
    loss: float
    """The loss there, as fitted."""
    rate_before: float
    """-d log L / d log t before it."""
    rate_after: float
    """The same after it."""
    explained: float
    """The share of the squared error of one straight fall that the break takes away, 0.5 to 1."""


@checked_kinds
def loss_deceleration(steps: Sequence[float], losses: Sequence[float]) -> LossDeceleration | None:
    """Find the step at which the loss decelerates.

    Language models' losses fall fast, then abruptly slower: two straight lines in log-log space
    (Mircea et al., "Training dynamics underlying language model scaling laws: loss deceleration and
    zero-sum learning", arXiv 2506.05447). Here the curve is flat up to a step, falls as t^-r1 up to
    the break and as t^-r2 after it; all three parts are fitted at once by least squares to means of
    log L over twentieths of a decade. Whoever looks at phases wants to know whether structure peaks
    before the loss slows down or after.

    Args:
        steps: a list or an array `[n]`: optimizer steps in any order; those below 1 are left out.
        losses: a list or an array `[n]`: the training loss at each; those that are not positive and
            finite are left out.

    Returns:
        The break; None where there are fewer than ten different twentieths of a decade, where the
        curve does not fall before the break or falls faster after it, or where a break explains
        less than half of what one fall leaves. A loss that rises after the break has a negative
        `rate_after`.

    Raises:
        ValueError: if the two are not as long as each other.

    Example:
        >>> import numpy as np
        >>> steps = np.arange(1, 10_001)
        >>> found = loss_deceleration(steps, np.maximum(8 * steps**-0.4, 1.26781 * steps**-0.1))
        >>> round(found.step), round(found.rate_before, 2), round(found.rate_after, 2)
        (474, 0.4, 0.1)
    """
    t, values = np.asarray(steps, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if t.ndim != 1 or t.shape != values.shape:
        raise ValueError(
            f"steps and losses must be two rows of as many numbers; got shapes {list(t.shape)} and "
            f"{list(values.shape)}."
        )
    x, y = _binned(t, values)
    if len(x) < _FEWEST_BINS:
        return None
    breaks = _pairs(len(x))
    parts = np.stack([_one_fall(x, x[breaks[:, 0]]), _one_fall(x, x[breaks[:, 1]])], axis=2)
    parts[..., 0] -= parts[..., 1]  # what lies between the two
    errors, found = _fitted(parts, y)
    straight, _ = _fitted(_one_fall(x, x[:-_FEWEST_A_PART])[..., None], y)
    best = int(errors.argmin())
    level, before, after = found[best].tolist()
    left = straight.min()
    if left < _ROUNDING * len(x) or errors[best] > (1 - _SHARE) * left or before >= min(after, 0):
        return None
    begin, end = x[breaks[best]]
    loss = float(np.exp(level + before * (end - begin)))
    return LossDeceleration(
        float(np.exp(end)), loss, -before, -after, float(1 - errors[best] / left)
    )


def _binned(t: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of log t and log L over twentieths of a decade, `[k]` each, in order."""
    known = np.isfinite(t) & np.isfinite(losses) & (losses > 0) & (t >= 1)
    x, y = np.log(t[known]), np.log(losses[known])
    _, place = np.unique(np.floor(x / np.log(10) * _BINS_A_DECADE), return_inverse=True)
    counts = np.bincount(place)
    return np.bincount(place, x) / counts, np.bincount(place, y) / counts


def _pairs(bins: int) -> np.ndarray:
    """Where the fall may begin and break, int64 `[p, 2]`: each part has a few bins."""
    begin, end = np.meshgrid(np.arange(bins), np.arange(bins), indexing="ij")
    fits = (end - begin >= _FEWEST_A_PART) & (bins - 1 - end >= _FEWEST_A_PART)
    return np.stack([begin[fits], end[fits]], axis=1)


def _one_fall(x: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """How far each x lies past each of `begins` `[p]`, `[p, k]`."""
    past: np.ndarray = np.maximum(x - begins[:, None], 0)
    return past


def _fitted(parts: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared errors `[p]` and coefficients `[p, 1 + m]` of a level and `parts` `[p, k, m]`."""
    design = np.concatenate([np.ones((*parts.shape[:2], 1)), parts], axis=2)
    turned = design.transpose(0, 2, 1)
    found = np.linalg.solve(turned @ design, (turned @ y)[..., None])
    return np.square(y - (design @ found)[..., 0]).sum(1), found[..., 0]
