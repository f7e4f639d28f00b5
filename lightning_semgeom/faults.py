"""What a fault of ours does to a run: bad input ends it before it began, nothing else ends it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

Answer = TypeVar("Answer")


def attempted(function: Callable[..., Answer], *arguments: Any) -> Answer | Exception:
    """What `function` answers, or what went wrong: there, or before in one of its arguments."""
    for argument in arguments:
        if isinstance(argument, Exception):
            return argument
    try:
        return function(*arguments)
    except Exception as fault:
        return fault


class Faults:
    """Turns exceptions into warnings, each kind once a run.

    Args:
        on_error: "warn", or "raise" to let exceptions through.
    """

    def __init__(self, on_error: Literal["warn", "raise"]) -> None:
        self.raises = on_error == "raise"
        self._told: set[str] = set()

    @contextmanager
    def tolerated(self, what: str, step: int | None, input_proven: bool) -> Iterator[None]:
        """Run the block; tell of its fault as `tell` does."""
        try:
            yield
        except Exception as fault:
            self.tell(fault, what, step, input_proven)

    def tell(self, fault: Exception, what: str, step: int | None, input_proven: bool) -> None:
        """Warn that `what` happened, because of `fault`, or raise the fault.

        Args:
            fault: what went wrong.
            what: what the user does without, in words.
            step: where the run is.
            input_proven: whether a capture has worked before. Where none has, the configuration
                may be wrong, and the exception goes through.
        """
        if self.raises or not input_proven:
            raise fault
        if what not in self._told:
            self._told.add(what)
            when = "" if step is None else f" at step {step}"
            warnings.warn(
                f"SemanticGeometry: {what}{when}: {type(fault).__name__}: {fault}\n"
                "Training goes on; this is said once.",
                stacklevel=2,
            )
