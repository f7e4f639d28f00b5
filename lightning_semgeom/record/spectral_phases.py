"""Which phase a representation's spectrum is in: an online rule on the curve of RankMe.

A phase begins at a turn of the curve, and is told once the curve has gone far enough the other way.
The rule was frozen before it was tried on fresh seeds (`examples/spectral_phases.py`); captures are
expected to be log-spaced, as `SemanticGeometry` takes them.

Legend: x = log RankMe at a capture; its level, the moving average over captures of the median of
three x, this one's and those of the two captures before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from math import exp, inf, isfinite, log
from statistics import median
from typing import Any

from lightning_semgeom.kinds import checked_kinds
from lightning_semgeom.record.captures import check_increases, check_rule


class SpectralPhase(IntEnum):
    """Where the curve of RankMe stands."""

    NONE = 0
    """RankMe has not moved yet."""
    WARM_UP = 1
    """It falls, and has not risen before."""
    ENTROPY_SEEKING = 2
    """It rises."""
    COMPRESSION_SEEKING = 3
    """It falls, and has risen before."""


@dataclass(frozen=True)
class SpectralTurn:
    """Where a phase began."""

    phase: SpectralPhase
    """The phase that began."""
    step: int
    """The step of the largest RankMe before this fall, or of the smallest one before this rise."""
    rankme: float
    """RankMe at that step."""
    confirmed_step: int
    """The step of the capture that told it."""


@dataclass
class _Leg:
    """A stretch of the curve that goes one way, and how far it has been left since its top.

    All x are times `sign`, 1 for a rise and -1 for a fall, so that each leg rises.
    """

    sign: int
    level: float = -inf  # the highest level
    level_after: float = inf  # the lowest one since then
    top: float = -inf  # the highest x
    top_step: int = 0
    after: float = inf  # the lowest x since then
    after_step: int = 0
    in_a_row: int = 0

    def take(self, step: int, x: float, level: float, far: float) -> None:
        """The next capture; below the highest level by `far` it speaks for a turn."""
        x, level = self.sign * x, self.sign * level
        if level > self.level:
            self.level, self.level_after = level, inf
        else:
            self.level_after = min(self.level_after, level)
        if x > self.top:
            self.top, self.top_step, self.after = x, step, inf
        elif x < self.after:
            self.after, self.after_step = x, step
        # At its own top a curve does not turn, however far behind the average is.
        holds = level <= self.level - far and x < self.top
        self.in_a_row = self.in_a_row + 1 if holds else 0

    def turned(self) -> _Leg:
        """The leg that goes the other way: its top, so far, is the lowest since this one's."""
        return _Leg(-self.sign, level=-self.level_after, top=-self.after, top_step=self.after_step)


class SpectralPhaseDetector:
    """Follows one curve of RankMe, capture by capture.

    The phases are those of Li et al., "Tracing the representation geometry of language models from
    pretraining to post-training" (arXiv 2509.23024). The paper's text was not at hand, and neither
    its abstract nor the README of its code has a rule that tells them. This one is ours, made as
    that of `PhaseDetector` is:

    - log RankMe is averaged over captures, each the median of three, so that ratios of RankMe alone
      count, and one capture that goes astray does not.
    - A phase ends when the average has come back from the furthest that it got, by the factor
      `share`, for `patience` captures in a row. The next phase begins at the largest RankMe itself
      of a rise, or the smallest of a fall, which lies before that.
    - A rise is entropy-seeking. A fall is warm-up where it comes first, else compression-seeking. A
      curve that rises again is entropy-seeking once more, as continued pretraining may be.
    - When the average later falls below the lowest of warm-up, warm-up was not over: the phases
      after it are withdrawn until the next rise is confirmed.

    A curve without a fall at its start has no warm-up, and the first fall of one that is followed
    from a later step on is taken for warm-up. A capture whose RankMe is not positive and finite is
    left out.

    Args:
        share: RankMe after a fall over that before it, or before a rise over that after it, which
            counts as a turn. RankMe of the same rows at each capture is smooth enough for .9; that
            of whatever batch is trained on has a standard deviation of some 6 %.
        patience: captures in a row.
        beta: weight of the past in the moving average, in [0, 1).

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> detector = SpectralPhaseDetector()
        >>> curve = [40, 39, 30, 15, 9, 8, 10, 15, 20, 30, 40, 46, 45, 40, 36, 32, 29, 26, 24, 22]
        >>> for step, rankme in enumerate(curve):
        ...     phase = detector.update(10 * step, rankme)
        >>> phase.name, [turn.step for turn in detector.turns]
        ('COMPRESSION_SEEKING', [0, 50, 110])
    """

    @checked_kinds
    def __init__(self, share: float = 0.8, patience: int = 3, beta: float = 0.5) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share must lie in (0, 1); got {share}.")
        check_rule(patience, beta)
        self.share = share
        self.patience = patience
        self.beta = beta
        self._last_step: int | None = None
        self._recent: list[float] = []  # the last three x; replaced, never changed
        self._level: float | None = None
        # Which way the curve goes first is not known: the leg that is left first was not it.
        self._legs = [_Leg(1), _Leg(-1)]
        self._turns: list[SpectralTurn] = []
        self._floor = -inf  # the lowest level of warm-up

    @property
    def phase(self) -> SpectralPhase:
        """Where the curve stands now."""
        return self._turns[-1].phase if self._turns else SpectralPhase.NONE

    @property
    def turns(self) -> tuple[SpectralTurn, ...]:
        """Where each phase so far began, in order."""
        return tuple(self._turns)

    @property
    def last_step(self) -> int | None:
        """Step of the last capture."""
        return self._last_step

    def update(self, step: int, rankme: float) -> SpectralPhase:
        """Take the next capture and say where the curve stands.

        Args:
            step: optimizer steps; larger than at the last call.
            rankme: as `eigenspectrum` gives it.

        Raises:
            ValueError: if `step` is not larger than the one before.
        """
        check_increases(step, self._last_step)
        self._last_step = step
        if isfinite(rankme) and rankme > 0:
            x = log(rankme)
            self._recent = [*self._recent, x][-3:]
            middle = median(self._recent)  # one capture that goes astray moves nothing
            past = middle if self._level is None else self._level
            self._level = self.beta * past + (1 - self.beta) * middle
            self._advance(step, x, self._level)
        return self.phase

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered, as Python scalars, and lists of dicts of them."""
        return {
            "last_step": self._last_step,
            "recent": self._recent,
            "level": self._level,
            "floor": self._floor,
            "legs": [asdict(leg) for leg in self._legs],
            "turns": [asdict(turn) | {"phase": int(turn.phase)} for turn in self._turns],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was saved."""
        self._last_step, self._level = state["last_step"], state["level"]
        self._recent, self._floor = state["recent"], state["floor"]
        self._legs = [_Leg(**leg) for leg in state["legs"]]
        turns = (turn | {"phase": SpectralPhase(turn["phase"])} for turn in state["turns"])
        self._turns = [SpectralTurn(**turn) for turn in turns]

    def _advance(self, step: int, x: float, level: float) -> None:
        """One step of the rule."""
        for leg in self._legs:
            leg.take(step, x, level, far=-log(self.share))
        left = next((leg for leg in self._legs if leg.in_a_row >= self.patience), None)
        if left is not None:
            self._turn(left, step)
        is_compressing = self.phase == SpectralPhase.COMPRESSION_SEEKING
        if is_compressing and self._legs[0].level > -self._floor:
            self._turns = self._turns[:1]  # the leg at work is the fall that goes on

    def _turn(self, left: _Leg, step: int) -> None:
        """Enter the phase after that of `left`, the leg at work."""
        phase = SpectralPhase.ENTROPY_SEEKING
        if left.sign > 0:
            phase = SpectralPhase.COMPRESSION_SEEKING if self._turns else SpectralPhase.WARM_UP
        elif self.phase == SpectralPhase.WARM_UP:
            self._floor = -left.level
        self._turns.append(SpectralTurn(phase, left.top_step, exp(left.sign * left.top), step))
        self._legs = [left.turned()]


@checked_kinds
def spectral_phase(steps: Sequence[int], rankme: Sequence[float]) -> tuple[SpectralTurn, ...]:
    """Find where warm-up, entropy-seeking and compression-seeking began on a curve of RankMe.

    The curve is led through a `SpectralPhaseDetector`, which has the rule and its source: what is
    confirmed at a capture does not depend on later ones.

    Args:
        steps: a list or an array `[n]`: optimizer steps, each larger than the one before.
        rankme: a list or an array `[n]`: RankMe at each, as `eigenspectrum` gives it; what is not
            positive and finite is left out.

    Returns:
        The phases in order; the curve ends in the last one. Empty where RankMe hardly moves.

    Raises:
        ValueError: if the two are not as long as each other, or steps do not increase.

    Example:
        >>> rankme = [40, 39, 30, 15, 9, 8, 10, 15, 20, 30, 40, 41]
        >>> for turn in spectral_phase(range(0, 120, 10), rankme):
        ...     print(turn.phase.name, turn.step, turn.confirmed_step)
        WARM_UP 0 60
        ENTROPY_SEEKING 50 110
    """
    if len(steps) != len(rankme):
        raise ValueError(
            f"steps and rankme must be as long as each other; got {len(steps)} and {len(rankme)}."
        )
    detector = SpectralPhaseDetector()
    for step, value in zip(steps, rankme, strict=True):
        detector.update(int(step), float(value))
    return detector.turns
