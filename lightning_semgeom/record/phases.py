"""When structure appears, peaks and is gone: an online rule on the curve of one gap.

Both curves, gap and z, are smoothed by an exponential moving average over captures, and each step
of the rule must hold for several captures in a row. A peak is confirmed sooner where the curve is
so smooth that the gap itself can be trusted. The rule was frozen before it was tried on fresh seeds
(`examples/detector.py`); captures are expected to be log-spaced, as `SemanticGeometry` takes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from math import inf, isfinite, isnan, sqrt
from statistics import median
from typing import Any

from lightning_semgeom.kinds import checked_kinds
from lightning_semgeom.record.captures import check_increases, check_rule

_RECENT = 12  # captures that tell the noise
_NOISES = 4.0  # a fall is more than so many standard deviations of it
_QUICK_PATIENCE = 2
_SHORTEST_FALL = 8, 0.2  # optimizer steps; share of the peak's step


class Phase(IntEnum):
    """What a curve has been through."""

    NONE = 0
    """No structure yet."""
    EMERGED = 1
    """There is structure, and it has not fallen since its peak."""
    DECAYING = 2
    """Past a confirmed peak."""
    COLLAPSED = 3
    """Gone: past a confirmed peak and down to a small share of it."""


@dataclass
class _State:
    """All that the rule remembers; plain numbers, so that it goes into a checkpoint as it is."""

    phase: int = 0
    last_step: int | None = None
    gap: float | None = None  # moving averages
    z: float | None = None
    lowest: float | None = None  # of the moving average of the gap, before the onset
    highest: float | None = None  # of the same, since the lowest
    top_gap: float | None = None  # of the raw gap, since the lowest or the last peak
    top_step: int | None = None
    recent: list[float] = field(default_factory=list)  # raw gaps; replaced, never changed
    falls_in_a_row: int = 0
    in_a_row: int = 0
    row_began: int | None = None
    onset_step: int | None = None
    peak_step: int | None = None
    peak_gap: float | None = None
    collapse_step: int | None = None


class PhaseDetector:
    """Follows one curve of gaps, capture by capture.

    - Onset: the averaged z is at least `min_z` and the averaged gap at least `min_rise` above its
      lowest value so far.
    - Peak, confirmed: the averaged gap is at most `peak_share` of its highest value since the
      lowest. The peak's step is that of the largest gap itself. Sooner, where the curve is smooth:
      the gap itself is at most `quick_share` of its largest value, and below that by four standard
      deviations of its noise, for two captures in a row. The noise is read off the third
      differences of the last twelve gaps, which a smooth curve hardly has. Either way the fall has
      lasted for 8 optimizer steps and a fifth of the peak's step.
    - Gone, `collapse_step`: the averaged gap is at most `collapse_share` of its highest value.
    - When the averaged gap later passes its highest value, the curve is rising again: peak and
      `collapse_step` are withdrawn until the next peak is confirmed.

    Where nothing else is said each must hold for `patience` captures in a row; onset and the end
    are dated by the first of them. A capture whose gap or z is NaN is left out.

    Args:
        min_z: smallest z of structure, in standard deviations of the relabelled gap.
        min_rise: smallest rise of the gap.
        peak_share: share of the highest averaged gap below which a peak is past.
        quick_share: share of the largest gap below which a smooth curve's peak is past; None: wait
            for the average, however short the fall was.
        collapse_share: share of the highest gap below which structure is gone.
        patience: captures in a row.
        beta: weight of the past in the moving averages, in [0, 1).

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> detector = PhaseDetector()
        >>> for step, gap in enumerate([0.0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.35, 0.3, 0.2, 0.2]):
        ...     phase = detector.update(10 * step, gap, z=30 * gap)
        >>> phase.name, detector.peak_step
        ('DECAYING', 40)
    """

    @checked_kinds
    def __init__(
        self,
        min_z: float = 5.0,
        min_rise: float = 0.03,
        peak_share: float = 0.9,
        quick_share: float | None = 0.98,
        collapse_share: float = 1 / 3,
        patience: int = 3,
        beta: float = 0.5,
    ) -> None:
        if not 0 < collapse_share < peak_share < 1:
            raise ValueError(
                "expected 0 < collapse_share < peak_share < 1; got collapse_share="
                f"{collapse_share}, peak_share={peak_share}."
            )
        if quick_share is not None and not 0 < quick_share < 1:
            raise ValueError(f"quick_share must lie in (0, 1) or be None; got {quick_share}.")
        check_rule(patience, beta)
        self.min_z = min_z
        self.min_rise = min_rise
        self.peak_share = peak_share
        self.quick_share = quick_share
        self.collapse_share = collapse_share
        self.patience = patience
        self.beta = beta
        self._state = _State()

    @property
    def phase(self) -> Phase:
        """Where the curve stands now."""
        return Phase(self._state.phase)

    @property
    def onset_step(self) -> int | None:
        """Step at which structure appeared."""
        return self._state.onset_step

    @property
    def peak_step(self) -> int | None:
        """Step of the largest gap, once the peak is confirmed."""
        return self._state.peak_step

    @property
    def peak_gap(self) -> float | None:
        """The largest gap, once the peak is confirmed."""
        return self._state.peak_gap

    @property
    def collapse_step(self) -> int | None:
        """Step at which structure was gone."""
        return self._state.collapse_step

    @property
    def top_step(self) -> int | None:
        """Step of the largest gap of the rise at work: what a peak would be dated by."""
        return self._state.top_step

    @property
    def average_gap(self) -> float | None:
        """The averaged gap now."""
        return self._state.gap

    @property
    def last_step(self) -> int | None:
        """Step of the last capture."""
        return self._state.last_step

    def update(self, step: int, gap: float, z: float = inf) -> Phase:
        """Take the next capture and say where the curve stands.

        Args:
            step: optimizer steps; larger than at the last call.
            gap: within minus between.
            z: the gap against relabelling; left out where a curve has none: the rise alone counts.

        Raises:
            ValueError: if `step` is not larger than the one before.
        """
        state = self._state
        check_increases(step, state.last_step)
        state.last_step = step
        if isfinite(gap) and not isnan(z):
            self._smooth(gap, z)
            if state.onset_step is None and self._gap <= _or(state.lowest, self._gap):
                # What lies before the lowest point belongs to no rise: hidden states may begin
                # with a gap of their own that goes away first.
                state.lowest, state.highest, state.top_gap = self._gap, None, None
            if state.top_gap is None or gap > state.top_gap:
                state.top_gap, state.top_step = gap, step
            self._advance(step, gap)
            state.highest = max(_or(state.highest, self._gap), self._gap)
        return self.phase

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered, as Python scalars and a list of them."""
        return dict(vars(self._state))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was saved."""
        self._state = _State(**state)

    @property
    def _gap(self) -> float:
        return _or(self._state.gap, 0.0)

    def _smooth(self, gap: float, z: float) -> None:
        state = self._state
        state.gap = self.beta * _or(state.gap, gap) + (1 - self.beta) * gap
        state.z = self.beta * _or(state.z, z) + (1 - self.beta) * z
        state.recent = [*state.recent, gap][-_RECENT:]

    def _advance(self, step: int, gap: float) -> None:
        """One step of the rule, where it has held for long enough."""
        state = self._state
        highest = _or(state.highest, self._gap)
        if state.phase >= Phase.DECAYING and self._gap > highest:
            state.phase, state.in_a_row = Phase.EMERGED, 0
            state.peak_step = state.peak_gap = state.collapse_step = None
        holds = self._holds(highest)
        if holds and state.in_a_row == 0:
            state.row_began = step
        state.in_a_row = state.in_a_row + 1 if holds else 0
        has_held = state.in_a_row >= self.patience
        if state.phase == Phase.EMERGED and self.quick_share is not None:
            has_fallen = gap <= _or(state.top_gap, gap) - self._smallest_fall(self.quick_share)
            state.falls_in_a_row = state.falls_in_a_row + 1 if has_fallen else 0
            has_held = has_held or state.falls_in_a_row >= _QUICK_PATIENCE
            has_held = has_held and step >= _end_of_shortest_fall(_or(state.top_step, step))
        if has_held:
            self._enter_next_phase(highest)

    def _holds(self, highest: float) -> bool:
        """Whether the averages of this capture speak for the next phase."""
        state = self._state
        if state.phase == Phase.NONE:
            risen = self._gap >= _or(state.lowest, self._gap) + self.min_rise
            return _or(state.z, 0.0) >= self.min_z and risen
        if state.phase == Phase.EMERGED:
            return self._gap <= self.peak_share * highest
        return state.phase == Phase.DECAYING and self._gap <= self.collapse_share * highest

    def _smallest_fall(self, share: float) -> float:
        """How far below the largest gap the gap itself must lie."""
        top = _or(self._state.top_gap, 0.0)
        return max((1 - share) * top, _NOISES * _noise(self._state.recent))

    def _enter_next_phase(self, highest: float) -> None:
        state = self._state
        if state.falls_in_a_row >= _QUICK_PATIENCE and self.quick_share is not None:
            # The average lags behind: what it still gains from this peak is no second rise.
            state.highest = max(highest, self.quick_share * _or(state.top_gap, 0.0))
        state.in_a_row = state.falls_in_a_row = 0
        state.phase += 1
        if state.phase == Phase.EMERGED:
            state.onset_step = state.row_began
        elif state.phase == Phase.DECAYING:
            state.peak_step, state.peak_gap = state.top_step, state.top_gap
            state.top_gap = None  # from here on it belongs to a possible second rise
        else:
            state.collapse_step = state.row_began


def _end_of_shortest_fall(top_step: float) -> float:
    steps, share = _SHORTEST_FALL
    return top_step + max(steps, share * top_step)


def _noise(gaps: list[float]) -> float:
    """Standard deviation of what makes a curve rough; infinite where it is too short to tell.

    Noise of standard deviation s gives third differences of sqrt(1 + 9 + 9 + 1) s.
    """
    for _ in range(3):
        gaps = [after - before for before, after in pairwise(gaps)]
    if len(gaps) < 3:
        return inf
    # As a median, times 1.4826 for normal noise: one jump is not noise.
    return 1.4826 * median(map(abs, gaps)) / sqrt(20)


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
