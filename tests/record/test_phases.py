import math

import numpy as np
import pytest

from lightning_semgeom import PhaseDetector
from lightning_semgeom.capture.schedule import Schedule
from lightning_semgeom.record.phases import Phase

SCHEDULE = Schedule(every_n_steps=100, growth=1.1)
STEPS = [step for step in range(3000) if SCHEDULE.is_due(step)]


def bump(step, height=0.3, centre=60, width=0.8):
    """A rise and decay in log steps, as real runs show them."""
    return height * math.exp(-((math.log((step + 1) / centre) / width) ** 2))


def followed(gaps, zs=None, detector=None):
    detector = detector or PhaseDetector()
    zs = [60 * gap for gap in gaps] if zs is None else zs
    phases = [detector.update(s, g, z) for s, g, z in zip(STEPS, gaps, zs, strict=False)]
    return detector, phases


def test_a_rise_and_decay_passes_through_all_phases_in_order():
    gaps = [bump(step) for step in STEPS]
    detector, phases = followed(gaps)
    assert phases == sorted(phases)
    assert set(phases) == set(Phase)
    assert detector.onset_step < detector.peak_step < detector.collapse_step
    assert detector.peak_step == STEPS[int(np.argmax(gaps))]
    assert detector.peak_gap == max(gaps)


def test_the_steps_of_a_curve_worked_by_hand():
    detector = PhaseDetector(patience=1, beta=0.0, quick_share=None)
    gaps = [0.0, 0.02, 0.2, 0.4, 0.37, 0.35, 0.2, 0.13, 0.05]
    phases = [detector.update(step, gap, 100 * gap) for step, gap in enumerate(gaps)]
    assert [int(phase) for phase in phases] == [0, 0, 1, 1, 1, 2, 2, 3, 3]
    assert (detector.onset_step, detector.peak_step, detector.collapse_step) == (2, 3, 7)


def test_averages_and_patience_delay_what_is_confirmed():
    detector = PhaseDetector(patience=3, beta=0.5)
    for step, gap in enumerate([0.0, 0.4, 0.4, 0.4]):
        detector.update(step, gap, z=10.0)
    # The averages of the gap are 0, .2, .3, .35: risen at steps 1, 2 and 3.
    assert detector.phase == Phase.EMERGED
    assert detector.onset_step == 1


def test_a_rise_that_never_falls_has_no_peak():
    detector, _ = followed([0.1 * math.log(step + 1) for step in STEPS])
    assert detector.phase == Phase.EMERGED
    assert detector.peak_step is None
    assert detector.peak_gap is None


def test_a_second_larger_rise_withdraws_the_first_peak():
    gaps = [bump(s, 0.2, 20, 0.5) + bump(s, 0.5, 1000, 0.5) for s in STEPS]
    detector, phases = followed(gaps)
    assert Phase.COLLAPSED in phases[: len(phases) // 2]
    assert Phase.EMERGED in phases[len(phases) // 2 :]
    early, _ = followed(gaps[: len(gaps) // 2])
    assert early.peak_step < 40
    assert 800 <= detector.peak_step <= 1200


def test_a_gap_that_goes_away_before_the_rise_is_not_its_peak():
    gaps = [math.exp(-step / 3) + bump(step, 0.4) for step in STEPS]
    detector, _ = followed(gaps, zs=[60 * bump(step, 0.4) for step in STEPS])
    assert 50 <= detector.peak_step <= 65
    assert detector.peak_gap == pytest.approx(0.4, abs=0.01)
    assert detector.collapse_step > 100


def test_a_second_rise_with_a_lower_spike_has_its_own_peak():
    gaps = [0.0, 0.0, 0.5, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.4, 0.4, 0.42, 0.4, 0.4, 0.1, 0.1, 0.1]
    detector = PhaseDetector()
    for step, gap in enumerate(gaps):
        detector.update(10 * step, gap, 100 * gap)
    assert detector.peak_step == 110


def confirmed(gaps, steps=None, **options):
    """Each (step of confirmation, step of the peak) on the way."""
    detector, before, found = PhaseDetector(**options), None, []
    for step, gap in zip(steps or STEPS, gaps, strict=False):
        detector.update(step, gap, 60 * gap)
        if before is None and detector.peak_step is not None:
            found.append((step, detector.peak_step))
        before = detector.peak_step
    return found


def parabola(steps, top):
    """.4 at index `top`, less .01 times the square of the distance: no third differences."""
    return [0.0] * 3 + [0.4 - 0.01 * (k - top) ** 2 for k in range(3, len(steps))]


def test_a_smooth_curve_is_confirmed_by_two_captures_below_98_percent():
    steps = [round(10 * 1.3**k) for k in range(25)]
    gaps = parabola(steps, top=10)
    assert max(gaps[:10]) < 0.4 > 0.392 > gaps[11]
    assert confirmed(gaps, steps) == [(steps[12], steps[10])]
    assert confirmed(gaps, steps, quick_share=None)[0][0] > steps[13]


def test_a_fall_has_to_last_for_a_fifth_of_the_peaks_step():
    steps = [1000 + 50 * k for k in range(25)]
    assert confirmed(parabola(steps, top=10), steps) == [(1800, 1500)]


def test_a_peak_in_log_steps_is_confirmed_within_1_4_of_its_step():
    for centre in (30, 60, 150, 400):
        gaps = [bump(step, centre=centre) for step in STEPS]
        ((quick, peak),) = confirmed(gaps)
        ((slow, same),) = confirmed(gaps, quick_share=None)
        assert peak == same
        assert quick <= 1.4 * peak < slow


def test_noise_delays_a_peak_and_does_not_date_it_too_early():
    generator = np.random.default_rng(0)
    good, delays = 0, []
    for _ in range(100):
        noise = 0.015 * generator.standard_normal(len(STEPS))
        gaps = [bump(step, centre=200) + error for step, error in zip(STEPS, noise, strict=True)]
        step, peak = confirmed(gaps)[0]
        good += abs(peak - 200) <= 60
        delays.append(step / peak)
    assert good >= 95
    assert np.median(delays) > 1.4


def test_a_dip_of_a_few_steps_is_no_peak():
    gaps = [0.0, 0.1, 0.2, 0.3, 0.35, 0.36, 0.34, 0.31, 0.3, 0.3, 0.31, 0.36]
    rest = [0.4, 0.44, 0.45, 0.44, 0.41, 0.36, 0.3, 0.25, 0.2, 0.15, 0.1, 0.08, 0.05]
    found = confirmed(gaps + rest, list(range(25)))
    assert [peak for _, peak in found] == [14]


def test_what_the_average_still_gains_after_a_quick_peak_is_no_second_rise():
    # From 0 to the top at once: the average is behind it for the whole plateau.
    gaps = [0.0] * 6 + [0.4 - 0.004 * k for k in range(12)]
    steps = [10 * k for k in range(len(gaps))]
    assert [peak for _, peak in confirmed(gaps, steps)] == [60]


def test_without_a_high_z_there_is_no_onset():
    gaps = [bump(step) for step in STEPS]
    detector, _ = followed(gaps, zs=[3.0] * len(gaps))
    assert detector.phase == Phase.NONE


def test_any_curve_will_do_without_a_z():
    gaps = [5 + 100 * bump(step, centre=100) for step in STEPS]
    detector = PhaseDetector(min_rise=3)
    for step, gap in zip(STEPS, gaps, strict=True):
        detector.update(step, gap)
    assert detector.peak_step == STEPS[int(np.argmax(gaps))]
    flat = PhaseDetector(min_rise=3)
    assert {flat.update(step, 5 + 0.01 * step) for step in range(200)} == {Phase.NONE}


def test_noise_gives_no_onset_in_200_control_curves():
    generator = np.random.default_rng(0)
    for _ in range(200):
        zs = generator.standard_normal(len(STEPS))
        detector, _ = followed(list(0.03 * zs), zs=list(zs))
        assert detector.phase == Phase.NONE


def test_captures_without_a_value_are_left_out():
    gaps = [bump(step) for step in STEPS]
    expected, _ = followed(gaps)
    detector = PhaseDetector()
    for step, gap in zip(STEPS, gaps, strict=True):
        detector.update(2 * step, gap, 60 * gap)
        assert detector.update(2 * step + 1, math.nan, math.nan) == detector.phase
    assert detector.peak_step == 2 * expected.peak_step


def test_a_detector_goes_on_from_its_state():
    gaps = [bump(step) for step in STEPS]
    whole, phases = followed(gaps)
    for cut in (1, len(gaps) // 3, len(gaps) // 2):
        first = PhaseDetector()
        for step, gap in zip(STEPS[:cut], gaps[:cut], strict=True):
            first.update(step, gap, 60 * gap)
        state = first.state_dict()
        recent = state["recent"]
        assert all(isinstance(value, float) for value in recent)
        assert all(isinstance(v, int | float | None) for v in state.values() if v is not recent)
        second = PhaseDetector()
        second.load_state_dict(state)
        rest = [second.update(s, g, 60 * g) for s, g in zip(STEPS[cut:], gaps[cut:], strict=True)]
        assert rest == phases[cut:]
        assert second.state_dict() == whole.state_dict()


def test_steps_must_increase():
    detector = PhaseDetector()
    detector.update(5, 0.1, 1.0)
    with pytest.raises(ValueError, match="steps must increase: 5 came after 5"):
        detector.update(5, 0.1, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"peak_share": 0.3}, "0 < collapse_share < peak_share < 1"),
        ({"quick_share": 1.0}, r"quick_share must lie in \(0, 1\) or be None; got 1.0"),
        ({"patience": 0}, "patience must be 1 capture or more; got 0"),
        ({"beta": 1.0}, r"beta must lie in \[0, 1\); got 1.0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PhaseDetector(**arguments)
