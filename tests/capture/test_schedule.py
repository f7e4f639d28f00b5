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


def test_gram_pictures_are_kept_early_and_then_ten_times_more_rarely():
    schedule = Schedule(10, 1.2)
    assert [s for s in due(schedule, 500) if schedule.is_gram_due(s)][-6:] == [
        40,
        48,
        100,
        200,
        300,
        400,
    ]
