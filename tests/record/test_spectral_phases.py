"""When RankMe turns: on curves whose turns are known, and against a rule over the whole curve."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom import SpectralPhaseDetector, spectral_phase
from lightning_semgeom.capture.schedule import Schedule
from lightning_semgeom.record.spectral_phases import SpectralPhase, SpectralTurn

SCHEDULE = Schedule(every_n_steps=100, growth=1.1)
STEPS = [step for step in range(5000) if SCHEDULE.is_due(step)]
NONE, WARM_UP, RISES, FALLS = SpectralPhase


def through(*points):
    """RankMe at STEPS: straight in logarithms between points (step, RankMe)."""
    steps, values = zip(*points, strict=True)
    x = np.log1p(STEPS)
    return np.exp(np.interp(x, np.log1p(steps), np.log(values))).tolist()


ALL_PHASES = through((0, 80), (40, 4), (1000, 40), (4900, 20))


def noisy(curve, seed, spread):
    errors = spread * np.random.default_rng(seed).standard_normal(len(curve))
    return (np.asarray(curve) * np.exp(errors)).tolist()


def phases(turns):
    return [turn.phase for turn in turns]


def by_the_whole_curve(steps, rankme, share, patience, beta):
    """The rule, looked up anew at each capture over all captures before it.

    A leg is (sign, indices that its extremes may have, of x and of the level): those it began with
    and all since.
    """
    kept = [k for k, value in enumerate(rankme) if 0 < value < math.inf]
    x = [math.log(rankme[k]) for k in kept]
    middle = [sorted(x[max(k - 2, 0) : k + 1]) for k in range(len(x))]
    middle = [(m[(len(m) - 1) // 2] + m[len(m) // 2]) / 2 for m in middle]
    level = [
        beta**k * middle[0] + sum((1 - beta) * beta ** (k - i) * middle[i] for i in range(1, k + 1))
        for k in range(len(x))
    ]
    legs, turns, floor = [(1, [], [], 0), (-1, [], [], 0)], [], -math.inf

    def extreme(values, sign, indices):
        return max(indices, key=lambda i: (sign * values[i], -i))

    def holds(leg, k):
        sign, at_x, at_level, begin = leg
        top = extreme(x, sign, [*at_x, *range(begin, k + 1)])
        furthest = extreme(level, sign, [*at_level, *range(begin, k + 1)])
        back = sign * (level[furthest] - level[k])
        return back >= -math.log(share) and sign * x[k] < sign * x[top]

    for k in range(len(x)):
        for leg in legs:
            sign, at_x, at_level, begin = leg
            if k - begin + 1 < patience or not all(holds(leg, k - i) for i in range(patience)):
                continue
            top = extreme(x, sign, [*at_x, *range(begin, k + 1)])
            furthest = extreme(level, sign, [*at_level, *range(begin, k + 1)])
            phase = RISES if sign < 0 else FALLS if turns else WARM_UP
            if phase == RISES and phases(turns) == [WARM_UP]:
                floor = level[furthest]
            turns.append(SpectralTurn(phase, steps[kept[top]], rankme[kept[top]], steps[kept[k]]))
            next_x = extreme(x, -sign, range(max(top + 1, begin), k + 1))
            next_level = extreme(level, -sign, range(max(furthest + 1, begin), k + 1))
            legs = [(-sign, [next_x], [next_level], k + 1)]
            break
        if turns and turns[-1].phase == FALLS:
            _, _, at_level, begin = legs[0]
            if min(level[i] for i in [*at_level, *range(begin, k + 1)]) < floor:
                turns = turns[:1]
    return turns


def assert_same(found, expected):
    assert [(t.phase, t.step, t.confirmed_step) for t in found] == [
        (t.phase, t.step, t.confirmed_step) for t in expected
    ]
    assert [t.rankme for t in found] == pytest.approx([t.rankme for t in expected])


def followed(steps, curve, **options):
    detector = SpectralPhaseDetector(**options)
    return detector, [detector.update(s, v) for s, v in zip(steps, curve, strict=True)]


def test_a_curve_with_all_phases_passes_through_them_in_order():
    detector, told = followed(STEPS, ALL_PHASES)
    assert told == sorted(told)
    assert set(told) == set(SpectralPhase)
    assert phases(detector.turns) == [WARM_UP, RISES, FALLS]
    lowest, highest = (int(np.argmin(ALL_PHASES)), int(np.argmax(ALL_PHASES[20:])) + 20)
    assert [turn.step for turn in detector.turns] == [0, STEPS[lowest], STEPS[highest]]
    at_turns = [80, ALL_PHASES[lowest], ALL_PHASES[highest]]
    assert [turn.rankme for turn in detector.turns] == pytest.approx(at_turns)
    for turn in detector.turns:
        assert told[STEPS.index(turn.confirmed_step)] == turn.phase
        assert told[STEPS.index(turn.confirmed_step) - 1] < turn.phase
    assert spectral_phase(STEPS, ALL_PHASES) == detector.turns


def test_the_steps_of_a_curve_worked_by_hand():
    curve = [8, 9, 6, 4, 3, 5, 7, 12, 11, 10, 5, 6, 5]
    detector, told = followed(range(13), curve, share=0.5, patience=1, beta=0.0)
    # Medians of three: 8, 8.49, 8, 6, 4, 4, 5, 7, 11, 11, 10, 6, 5. Down to half of the largest at
    # step 4, up to twice 4 at step 8, down to half of 11 at step 12; from 9, 3 and 12 themselves.
    assert [int(phase) for phase in told] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert [(t.step, t.confirmed_step) for t in detector.turns] == [(1, 4), (4, 8), (7, 12)]


def test_averages_and_patience_delay_what_is_confirmed():
    # Medians in powers of two: 4, 4, 4, 2, 2, 2; averages: 4, 4, 4, 3, 2.5, 2.25.
    curve = [16, 16, 16, 4, 4, 4, 4]
    (turn,) = followed(range(7), curve, share=0.5, patience=3)[0].turns
    assert (turn.phase, turn.confirmed_step) == (WARM_UP, 6)
    assert followed(range(7), curve, share=0.5, patience=4)[0].turns == ()
    assert followed(range(7), curve, share=0.45, patience=3)[0].turns == ()


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 70),
    spread=st.sampled_from([0.02, 0.1, 0.3]),
    share=st.sampled_from([0.6, 0.8, 0.9]),
    patience=st.integers(1, 4),
    beta=st.sampled_from([0.0, 0.5, 0.8]),
)
def test_any_curve_agrees_with_the_rule_over_the_whole_of_it(
    seed, count, spread, share, patience, beta
):
    generator = np.random.default_rng(seed)
    walk = generator.standard_normal(count).cumsum() + generator.standard_normal(count)
    curve = np.exp(3 + spread * walk)
    curve[generator.random(count) < 0.1] = generator.choice([math.nan, math.inf, 0.0, -1.0])
    steps = generator.integers(1, 50, count).cumsum().tolist()
    detector, _ = followed(steps, curve.tolist(), share=share, patience=patience, beta=beta)
    expected = by_the_whole_curve(steps, curve.tolist(), share, patience, beta)
    assert_same(detector.turns, expected)


@given(seed=st.integers(0, 10**6), factor=st.sampled_from([1e-3, 0.7, 64.0, 1e6]))
def test_the_scale_of_rankme_does_not_matter(seed, factor):
    curve = noisy(ALL_PHASES, seed, 0.1)
    found = spectral_phase(STEPS, curve)
    scaled = spectral_phase(STEPS, [factor * value for value in curve])
    assert_same(
        scaled, [SpectralTurn(t.phase, t.step, factor * t.rankme, t.confirmed_step) for t in found]
    )


def test_turned_upside_down_falls_are_rises():
    found = spectral_phase(STEPS, ALL_PHASES)
    turned = spectral_phase(STEPS, [1 / value for value in ALL_PHASES])
    assert phases(turned) == [RISES, FALLS, RISES]
    for one, other in zip(found, turned, strict=True):
        assert (one.step, one.confirmed_step) == (other.step, other.confirmed_step)
        assert one.rankme == pytest.approx(1 / other.rankme)


def test_what_is_told_at_a_capture_does_not_depend_on_later_ones():
    curve = noisy(ALL_PHASES, 0, 0.1)
    detector = SpectralPhaseDetector()
    for k, (step, value) in enumerate(zip(STEPS, curve, strict=True)):
        assert detector.turns == spectral_phase(STEPS[:k], curve[:k])
        detector.update(step, value)


def test_a_detector_goes_on_from_its_state():
    curve = noisy(ALL_PHASES, 1, 0.1)
    whole, told = followed(STEPS, curve)
    for cut in range(0, len(STEPS), 7):
        first, _ = followed(STEPS[:cut], curve[:cut])
        state = json.loads(json.dumps(first.state_dict()))
        second = SpectralPhaseDetector()
        second.load_state_dict(state)
        assert second.turns == first.turns
        assert second.last_step == first.last_step
        rest = [second.update(s, v) for s, v in zip(STEPS[cut:], curve[cut:], strict=True)]
        assert rest == told[cut:]
        assert second.state_dict() == whole.state_dict()
        assert first.state_dict() == state  # going on has not changed what was saved


def test_a_curve_that_only_falls_or_only_rises_has_one_phase():
    falls = through((0, 80), (4900, 4))
    assert phases(spectral_phase(STEPS, falls)) == [WARM_UP]
    assert phases(spectral_phase(STEPS, falls[::-1])) == [RISES]
    for curve in (falls, falls[::-1]):
        for seed in range(100):
            assert len(spectral_phase(STEPS, noisy(curve, seed, 0.05))) == 1


def test_a_rise_without_a_fall_before_is_entropy_seeking_and_the_fall_after_it_compression():
    curve = through((0, 5), (5, 5), (300, 60), (4900, 25))
    assert phases(spectral_phase(STEPS, curve)) == [RISES, FALLS]


def test_a_curve_that_rises_again_is_entropy_seeking_once_more():
    curve = through((0, 80), (30, 4), (200, 40), (700, 20), (2000, 60), (4900, 30))
    found = spectral_phase(STEPS, curve)
    assert phases(found) == [WARM_UP, RISES, FALLS, RISES, FALLS]
    assert [turn.step for turn in found] == pytest.approx([0, 30, 200, 700, 2000], rel=0.1)


def test_warm_up_is_not_over_where_rankme_falls_below_its_lowest():
    points = ((0, 80), (30, 4), (100, 20), (1500, 1.5), (4900, 40))
    detector, told = followed(STEPS, through(*points))
    assert FALLS in told
    after = told[told.index(FALLS) :]
    assert WARM_UP in after
    assert phases(detector.turns) == [WARM_UP, RISES]
    assert detector.turns[0].step == 0
    assert detector.turns[1].step == pytest.approx(1500, rel=0.1)
    stays_above = through(*points[:3], (1500, 8), (4900, 40))
    assert phases(spectral_phase(STEPS, stays_above)) == [WARM_UP, RISES, FALLS, RISES]


def test_a_fall_below_the_lowest_of_warm_up_in_one_go_withdraws_the_rise_at_once():
    curve = [80, 60, 40, 20, 10, 8, 8, 10, 14, 20, 26, 30, 30] + 12 * [0.5]
    detector, told = followed(range(25), curve)
    assert RISES in told
    assert FALLS not in told
    assert phases(detector.turns) == [WARM_UP]


@pytest.mark.parametrize("factor", [0.01, 0.5, 3.0, 100.0])
def test_one_capture_that_goes_astray_is_no_turn(factor):
    curve = through((0, 80), (40, 4), (4900, 40))
    for place in range(25, len(curve)):
        astray = [*curve[:place], factor * curve[place], *curve[place + 1 :]]
        assert phases(spectral_phase(STEPS, astray)) == [WARM_UP, RISES]


def test_what_does_not_move_has_no_phase():
    assert spectral_phase([], []) == ()
    assert spectral_phase([3], [5.0]) == ()
    assert spectral_phase(STEPS, [20.0] * len(STEPS)) == ()
    assert SpectralPhaseDetector().phase == NONE
    assert SpectralPhaseDetector().last_step is None
    for seed in range(200):
        assert spectral_phase(STEPS, noisy([20.0] * len(STEPS), seed, 0.05)) == ()


def test_captures_without_a_value_are_left_out():
    detector = SpectralPhaseDetector()
    for step, value in zip(STEPS, ALL_PHASES, strict=True):
        detector.update(2 * step, value)
        for k, missing in enumerate((math.nan, math.inf, 0.0, -3.0)):
            assert detector.update(2 * step + (k + 1) / 5, missing) == detector.phase
    assert [t.step for t in detector.turns] == [
        2 * t.step for t in spectral_phase(STEPS, ALL_PHASES)
    ]
    nothing = [math.nan] * len(STEPS)
    assert spectral_phase(STEPS, nothing) == ()


def test_arrays_are_taken_and_turns_are_plain_numbers():
    found = spectral_phase(np.array(STEPS), np.array(ALL_PHASES, dtype=np.float32))
    assert phases(found) == [WARM_UP, RISES, FALLS]
    assert all(type(turn.step) is type(turn.confirmed_step) is int for turn in found)
    assert all(type(turn.rankme) is float for turn in found)


def test_steps_must_increase():
    with pytest.raises(ValueError, match="steps must increase: 5 came after 5"):
        spectral_phase([4, 5, 5], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="steps must increase: 3 came after 9"):
        spectral_phase([9, 3], [1.0, math.nan])


def test_curves_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match="as long as each other; got 3 and 2"):
        spectral_phase([1, 2, 3], [1.0, 2.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 1.0}, r"share must lie in \(0, 1\); got 1.0"),
        ({"share": 0.0}, r"share must lie in \(0, 1\); got 0.0"),
        ({"patience": 0}, "patience must be 1 capture or more; got 0"),
        ({"beta": 1.0}, r"beta must lie in \[0, 1\); got 1.0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpectralPhaseDetector(**arguments)
