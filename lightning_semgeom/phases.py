"""When structure appears, peaks and fades, told while the training runs.

The detector reads one curve, capture by capture: the gap (mean cosine of rows that share an
attribute's value minus that of rows that do not) and its z against relabelling. It smooths both
by an exponential moving average and needs `patience` captures in a row for every verdict, so
that one odd capture decides nothing. Made for captures spaced evenly in the logarithm of the step.

Legend: ema = smoothed value; low = smallest ema of the gap since the start (or, behind a peak,
since that peak was confirmed); top = largest ema of the gap since that low; best = largest raw gap
since that low. A step reported for a verdict is that of the first capture of the run that
confirmed it, but a peak's step is the one of `best`.
"""

import math
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import TypeAlias

State: TypeAlias = dict[str, int | float | None]


class Phase(IntEnum):
    """Where a curve stands; the integer is what goes to the loggers."""

    NONE = 0
    """No structure yet."""
    EMERGED = 1
    """The gap has risen, beyond chance, and has not been seen to fall."""
    PAST_PEAK = 2
    """The gap has fallen from its largest value."""
    COLLAPSED = 3
    """Little of the largest gap is left."""


@dataclass
class _State:
    """All that a detector remembers: Python scalars and None."""

    last_step: int | None = None
    phase: int = 0
    ema_gap: float = math.nan
    ema_z: float = math.nan
    low: float = math.inf
    top: float = -math.inf
    best_gap: float = -math.inf
    best_step: int | None = None
    rise_count: int = 0
    rise_step: int | None = None
    fall_count: int = 0
    collapse_count: int = 0
    collapse_began: int | None = None
    onset_step: int | None = None
    peak_step: int | None = None
    peak_gap: float | None = None
    first_peak_step: int | None = None
    collapse_step: int | None = None


class PhaseDetector:
    """Finds onset, peak and collapse of one gap curve online.

    - onset: ema of z >= `min_z` and ema of the gap >= its smallest value so far + `min_rise`;
    - peak: ema of the gap <= `peak_drop` x its largest value; the step reported is the argmax of
      the raw gap, which may lie before the onset was confirmed;
    - collapse: ema of the gap <= `collapse_share` x its largest value;
    - when the ema passes its largest value again, the curve has only now reached its real height:
      the phase goes back to `EMERGED`, peak and collapse are forgotten until confirmed anew
      (`first_peak_step` stays).

    Args:
        min_z: Smallest smoothed z that counts as more than chance.
        min_rise: How far the smoothed gap must have risen above its smallest value.
        peak_drop: Share of the largest smoothed gap below which a peak lies behind.
        collapse_share: Share of the largest smoothed gap below which the structure has collapsed.
        patience: Captures in a row that confirm a verdict.
        beta: Weight of the past in the moving average, `ema = beta * ema + (1 - beta) * new`.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> detector = PhaseDetector()
        >>> gaps = [0.0, 0.0, 0.1, 0.2, 0.3, 0.3, 0.2, 0.15, 0.1, 0.05, 0.03, 0.02, 0.02, 0.02]
        >>> for step, gap in enumerate(gaps):
        ...     phase = detector.update(step, gap, z=100 * gap)
        >>> phase, detector.onset_step, detector.peak_step, detector.collapse_step
        (<Phase.COLLAPSED: 3>, 2, 4, 10)
    """

    def __init__(
        self,
        min_z: float = 5.0,
        min_rise: float = 0.03,
        peak_drop: float = 0.9,
        collapse_share: float = 1 / 3,
        patience: int = 3,
        beta: float = 0.5,
    ) -> None:
        for name, value, ok, expected in (
            ("min_z", min_z, math.isfinite(min_z), "a finite number"),
            ("min_rise", min_rise, 0 <= min_rise < math.inf, "a finite number of at least 0"),
            ("peak_drop", peak_drop, 0 < peak_drop < 1, "between 0 and 1"),
            (
                "collapse_share",
                collapse_share,
                0 < collapse_share <= peak_drop,
                f"above 0 and at most peak_drop ({peak_drop})",
            ),
            ("patience", patience, patience == int(patience) >= 1, "an integer of at least 1"),
            ("beta", beta, 0 <= beta < 1, "at least 0 and below 1"),
        ):
            if not ok:
                raise ValueError(f"{name} must be {expected}, but is {value}.")
        self.min_z, self.min_rise = min_z, min_rise
        self.peak_drop, self.collapse_share = peak_drop, collapse_share
        self.patience, self.beta = int(patience), beta
        self._state = _State()

    def update(self, step: int, gap: float, z: float) -> Phase:
        """Takes one capture and tells the phase after it.

        A capture whose gap or z is not finite is left out: it neither continues nor breaks a run.

        Raises:
            ValueError: `step` is not larger than the one before.
        """
        state = self._state
        if state.last_step is not None and step <= state.last_step:
            raise ValueError(
                f"step must increase from capture to capture, but {step} came after "
                f"{state.last_step}; cut back with load_state_dict before going over steps again."
            )
        state.last_step = int(step)
        if math.isfinite(gap) and math.isfinite(z):
            self._smooth(float(gap), float(z))
            self._follow_rise(float(gap))
            if state.phase == Phase.NONE:
                self._look_for_onset()
            if state.phase != Phase.NONE:
                self._look_for_fall()
        return self.phase

    def _smooth(self, gap: float, z: float) -> None:
        state = self._state
        first = math.isnan(state.ema_gap)
        state.ema_gap = gap if first else self.beta * state.ema_gap + (1 - self.beta) * gap
        state.ema_z = z if first else self.beta * state.ema_z + (1 - self.beta) * z

    def _follow_rise(self, gap: float) -> None:
        """Keeps the largest raw gap since the last low.

        Counting from the low and not from the onset keeps the peak of a curve that rises faster
        than the onset is confirmed; not from the start, since a hidden state may begin with a gap
        that first goes away.
        """
        state = self._state
        if state.phase != Phase.EMERGED and state.ema_gap < state.low:
            state.low, state.best_gap = state.ema_gap, -math.inf
            if state.phase == Phase.NONE:
                state.top = -math.inf
        if gap > state.best_gap:
            state.best_gap, state.best_step = gap, state.last_step

        if state.phase in (Phase.PAST_PEAK, Phase.COLLAPSED) and state.ema_gap > state.top:
            state.phase = Phase.EMERGED
            state.peak_step = state.peak_gap = state.collapse_step = None
            state.fall_count = state.collapse_count = 0
        state.top = max(state.top, state.ema_gap)

    def _look_for_onset(self) -> None:
        state = self._state
        risen = state.ema_z >= self.min_z and state.ema_gap >= state.low + self.min_rise
        state.rise_count = state.rise_count + 1 if risen else 0
        if state.rise_count == 1:
            state.rise_step = state.last_step
        if state.rise_count >= self.patience:
            state.onset_step, state.phase = state.rise_step, Phase.EMERGED

    def _look_for_fall(self) -> None:
        state = self._state
        fallen = state.ema_gap <= self.peak_drop * state.top
        state.fall_count = state.fall_count + 1 if fallen else 0
        if state.phase == Phase.EMERGED and state.fall_count >= self.patience:
            state.phase = Phase.PAST_PEAK
            state.peak_step, state.peak_gap = state.best_step, state.best_gap
            if state.first_peak_step is None:
                state.first_peak_step = state.peak_step
            # from here on `best` belongs to a possible second rise
            state.low, state.best_gap = state.ema_gap, -math.inf

        collapsed = state.ema_gap <= self.collapse_share * state.top
        state.collapse_count = state.collapse_count + 1 if collapsed else 0
        if state.collapse_count == 1:
            state.collapse_began = state.last_step
        if state.phase == Phase.PAST_PEAK and state.collapse_count >= self.patience:
            state.collapse_step, state.phase = state.collapse_began, Phase.COLLAPSED

    @property
    def phase(self) -> Phase:
        """The phase after the last capture."""
        return Phase(self._state.phase)

    @property
    def onset_step(self) -> int | None:
        """First capture of the run that confirmed the onset."""
        return self._state.onset_step

    @property
    def peak_step(self) -> int | None:
        """Step of the largest raw gap, once the fall behind it is confirmed."""
        return self._state.peak_step

    @property
    def peak_gap(self) -> float | None:
        """Largest raw gap, once the fall behind it is confirmed."""
        return self._state.peak_gap

    @property
    def first_peak_step(self) -> int | None:
        """The first peak ever confirmed, kept when a later and higher rise replaces it."""
        return self._state.first_peak_step

    @property
    def collapse_step(self) -> int | None:
        """First capture of the run that confirmed the collapse."""
        return self._state.collapse_step

    def state_dict(self) -> State:
        """All that is remembered, as Python scalars and None; the thresholds are not in it."""
        return {**asdict(self._state), "phase": int(self._state.phase)}

    def load_state_dict(self, state: State) -> None:
        """Continues exactly where the detector that gave `state` was.

        Raises:
            ValueError: `state` is not from a `PhaseDetector`.
        """
        expected = {field.name for field in fields(_State)}
        if state.keys() != expected:
            raise ValueError(
                "state must come from PhaseDetector.state_dict, but these keys are missing or "
                f"unknown: {sorted(state.keys() ^ expected)}."
            )
        self._state = _State(**state)  # type: ignore[arg-type]
