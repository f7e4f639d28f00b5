"""What a fault of ours does to a run: bad input ends it before it began, nothing else ends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from lightning.pytorch.utilities import rank_zero_warn


class Faults:
    """Turns exceptions into warnings, each kind once a run.

    Args:
        on_error: "warn", or "raise" to let exceptions through.
    """

    def __init__(self, on_error: Literal["warn", "raise"]) -> None:
        self._raise = on_error == "raise"
        self._told: set[str] = set()

    @contextmanager
    def tolerated(self, what: str, step: int | None, input_proven: bool) -> Iterator[None]:
        """Run the block; warn that `what` if it fails.

        Args:
            what: what the user does without, in words.
            step: where the run is.
            input_proven: whether a capture has worked before. Where none has, the configuration
                may be wrong, and the exception goes through.
        """
        try:
            yield
        except Exception as fault:
            if self._raise or not input_proven:
                raise
            if what not in self._told:
                self._told.add(what)
                when = "" if step is None else f" at step {step}"
                rank_zero_warn(
                    f"SemanticGeometry: {what}{when}: {type(fault).__name__}: {fault}\n"
                    "Training goes on; this is said once."
                )
