from itertools import pairwise

import pytest

from lightning_semgeom.capture.schedule import Schedule


def due(schedule, until):
    return [step for step in range(until) if schedule.is_due(step)]


def test_early_steps_grow_until_their_distance_is_the_regular_one():
    expected = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 48, 50, 60, 70, 80, 90]
    assert due(Schedule(10, 1.2), 100) == expected


def test_without_growth_only_multiples_are_due():
    assert due(Schedule(25, None), 101) == [0, 25, 50, 75, 100]
    assert due(Schedule(1, 1.2), 5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("growth", [1.05, 1.2, 2.0])
def test_the_distance_never_shrinks_in_the_early_part_nor_exceeds_the_regular_one(growth):
    steps = due(Schedule(100, growth), 6000)
    distances = [b - a for a, b in pairwise(steps)]
    assert max(distances) <= 100
    assert distances[-5:] == [100] * 5
    assert steps[0] == 0


def test_the_ends_are_due_and_show_their_pictures():
    schedule = Schedule(25, None, last_steps=(59, 60))
    assert due(schedule, 80) == [0, 25, 50, 59, 60, 75]
    assert schedule.is_picture_kept(60, number=4)
    assert schedule.is_picture_logged(60, number=4)
    assert not schedule.is_picture_logged(75, number=5)


def test_pictures_are_logged_ten_times_more_rarely_and_kept_early_as_well():
    schedule = Schedule(10, 1.2)
    numbered = list(enumerate(due(schedule, 500)))
    logged = [step for number, step in numbered if schedule.is_picture_logged(step, number)]
    kept = [step for number, step in numbered if schedule.is_picture_kept(step, number)]
    assert logged == [step for _, step in numbered[::10]]
    assert kept == [step for _, step in numbered if step <= 48] + [s for s in logged if s > 48]
