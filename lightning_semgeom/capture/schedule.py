"""When a capture is due: densely at first, where structure forms, then at a regular distance."""

from __future__ import annotations

from math import ceil, isfinite

import lightning.pytorch as pl


class Schedule:
    """Capture steps as a function of the step alone, so that a resumed run keeps them.

    With `growth` the steps are 0, 1, 2, ... and each at least `growth` times the one before, until
    their distance reaches `every_n_steps`; from there on they are its multiples.

    Args:
        every_n_steps: distance of the regular captures, in optimizer steps.
        growth: ratio of successive early steps, above 1; None for regular captures alone.
        last_steps: the ends of the run, which are captured too.
    """

    def __init__(
        self, every_n_steps: int, growth: float | None, last_steps: tuple[int, ...] = ()
    ) -> None:
        self.every_n_steps = every_n_steps
        self.last_steps = last_steps
        early = {0}
        last = 0
        while growth is not None:
            following = max(last + 1, ceil(last * growth))
            if following - last >= every_n_steps:
                break
            early.add(following)
            last = following
        self._early = frozenset(early)
        self._early_end = last

    def is_due(self, step: int) -> bool:
        """Whether the weights after `step` updates are to be captured."""
        if step in self.last_steps:
            return True
        if step <= self._early_end:
            return step in self._early
        return step % self.every_n_steps == 0

    def is_due_within(self, before: int, step: int) -> bool:
        """Whether a capture came due in the updates after `before`, up to `step`."""
        return any(map(self.is_due, range(before + 1, step + 1)))

    def is_picture_kept(self, step: int, number: int) -> bool:
        """Whether capture `number`, of `step`, keeps its pictures: all early ones, every tenth."""
        return step <= self._early_end or self.is_picture_logged(step, number)

    def is_picture_logged(self, step: int, number: int) -> bool:
        """Whether its pictures go to the loggers too: every tenth, and the last."""
        return number % 10 == 0 or step in self.last_steps


def schedule_of(
    trainer: pl.Trainer,
    every_n_steps: int,
    every_n_epochs: int | None,
    growth: float | None,
    before_end: int,
) -> Schedule:
    """The captures of a fit that begins.

    Args:
        trainer: whose fit it is.
        every_n_steps: distance of the regular captures in optimizer steps.
        every_n_epochs: the same in epochs, instead.
        growth: as in `Schedule`.
        before_end: how many steps before the last one there is to be a capture besides.

    Raises:
        ValueError: if the length of an epoch is not known, and captures are counted in epochs.
    """
    if every_n_epochs is not None:
        batches = trainer.num_training_batches
        if not isfinite(batches):
            raise ValueError(
                "SemanticGeometry: every_n_epochs needs a training loader of known length, and "
                "this one has none; give every_n_steps instead."
            )
        every_n_steps = max(ceil(batches / trainer.accumulate_grad_batches) * every_n_epochs, 1)
    end = trainer.estimated_stepping_batches
    ends = (int(end) - before_end, int(end)) if isfinite(end) and end > 0 else ()
    return Schedule(every_n_steps, growth, ends)
