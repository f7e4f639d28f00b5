"""Where a loss decelerates: on curves whose break is known, and on those that have none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom import loss_deceleration

STEPS = np.arange(1, 20_001)


def broken(begin=15, at=600, before=0.5, after=0.05, start=9.0):
    """Flat, then two power laws that meet."""
    fall = start * (np.maximum(STEPS, begin) / begin) ** -before
    slow = start * (at / begin) ** -before * (STEPS / at) ** -after
    return np.where(at > STEPS, fall, slow)


def noisy(losses, seed, spread=0.05):
    return losses * np.exp(spread * np.random.default_rng(seed).standard_normal(len(losses)))


@given(
    begin=st.sampled_from([1, 10, 40]),
    at=st.integers(200, 4000),
    before=st.floats(0.2, 1.0),
    share=st.floats(0.0, 0.4),
    seed=st.integers(0, 1000),
)
def test_a_break_is_found_where_it_is(begin, at, before, share, seed):
    found = loss_deceleration(STEPS, noisy(broken(begin, at, before, share * before), seed))
    assert abs(np.log10(found.step / at)) < 0.12  # two twentieths of a decade, and noise
    assert found.rate_before == pytest.approx(before, rel=0.25)
    assert found.rate_after == pytest.approx(share * before, abs=0.1 * before + 0.01)
    assert found.loss == pytest.approx(9 * (at / begin) ** -before, rel=0.2)
    assert 0.5 <= found.explained <= 1


@pytest.mark.parametrize("seed", range(5))
def test_one_fall_with_or_without_a_plateau_has_no_break(seed):
    for begin in (1, 30):
        plain = 9.0 * (np.maximum(STEPS, begin) / begin) ** -0.3
        assert loss_deceleration(STEPS, noisy(plain, seed)) is None
        assert loss_deceleration(STEPS, plain) is None


def test_what_falls_faster_later_stays_flat_or_rises_has_none():
    assert loss_deceleration(STEPS, broken(1, 600, 0.05, 0.5)) is None
    assert loss_deceleration(STEPS, np.full(len(STEPS), 2.0)) is None
    assert loss_deceleration(STEPS, broken()[::-1]) is None
    slowly_then_faster = np.where(STEPS < 300, STEPS**0.05, 300**0.05 * (STEPS / 300) ** 0.6)
    assert loss_deceleration(STEPS, slowly_then_faster) is None
    diverges = np.where(STEPS < 300, STEPS**-0.4, 300**-0.4 * (STEPS / 300) ** 0.6)
    assert loss_deceleration(STEPS, diverges).rate_after == pytest.approx(-0.6, rel=0.1)


def test_the_answer_moves_with_the_scales_of_loss_and_steps():
    losses = noisy(broken(), 0)
    found = loss_deceleration(STEPS, losses)
    scaled = loss_deceleration(STEPS, 100 * losses)
    assert scaled.step == pytest.approx(found.step)
    assert scaled.loss == pytest.approx(100 * found.loss)
    assert scaled.rate_before == pytest.approx(found.rate_before)
    later = loss_deceleration(STEPS * 10, losses)  # a decade has as many twentieths
    assert later.step == pytest.approx(10 * found.step)
    assert later.explained == pytest.approx(found.explained, abs=1e-3)


def test_order_and_what_is_not_known_do_not_matter():
    losses = noisy(broken(), 1)
    found = loss_deceleration(STEPS, losses)
    order = np.random.default_rng(0).permutation(len(STEPS))
    assert loss_deceleration(STEPS[order], losses[order]).step == pytest.approx(found.step)
    steps = [0, *STEPS.tolist(), 7, 8, 9]
    steps.append(float("inf"))
    more = [50.0, *losses.tolist(), float("nan"), float("inf"), -1.0, 1.0]
    assert loss_deceleration(steps, more).step == pytest.approx(found.step)


def test_few_steps_say_nothing_and_rows_that_do_not_fit_are_refused():
    assert loss_deceleration([], []) is None
    assert loss_deceleration(STEPS[:9], broken()[:9]) is None
    with pytest.raises(ValueError, match=r"as many numbers; got shapes \[3\] and \[2\]"):
        loss_deceleration([1, 2, 3], [1.0, 2.0])
