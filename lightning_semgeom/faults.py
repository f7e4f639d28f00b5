"""What a fault of ours does to a run: bad input ends it before it began, nothing else ends it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, TypeVar

Answer = TypeVar("Answer")


class PeerError(RuntimeError):
    """Another process failed at what this one could do."""


class UndefinedError(ValueError):
    """Rows that give no figure; all processes see the same ones.

    Args:
        kind: which of the ways that can be.
        text: all about it, in words.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class AwayError(OSError):
    """A store did not do what was asked; one that is away fails everything that goes there."""


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
    """Turns exceptions into warnings, each kind once a run; a store that is away is one kind.

    Args:
        on_error: "warn", or "raise" to let exceptions through.
        rank: which of the processes this is; the first one tells what others know too.
        size: how many there are.
    """

    def __init__(self, on_error: Literal["warn", "raise"], rank: int, size: int) -> None:
        self.raises = on_error == "raise"
        self.unwritten: Exception | None = None
        """Of one of several processes, to be raised when all have agreed."""
        self._is_first = rank == 0
        self._is_alone = size == 1
        self._known: set[tuple[str, str]] = set()
        self._untold: list[str] = []

    def add(self, where: str, fault: Exception) -> None:
        """Keep the fault of `where` for the next `tell`, or raise it with on_error="raise"."""
        if self.raises:
            raise fault
        kind = fault.kind if isinstance(fault, UndefinedError) else type(fault).__name__
        told = ("", kind) if isinstance(fault, AwayError) else (where, kind)
        if told in self._known:
            return
        self._known.add(told)
        if self._is_first or not isinstance(fault, UndefinedError | PeerError):
            self._untold.append(f"{where}: {type(fault).__name__}: {fault}")

    def write(self, where: str, step: int | None, write: Callable[[], Answer]) -> Answer | None:
        """Write to somewhere outside; only the first process does."""
        answer = attempted(write)
        if not isinstance(answer, Exception):
            return answer
        self.fail(where, step, answer)
        return None

    def fail(self, where: str, step: int | None, fault: Exception) -> None:
        """Tell what went wrong when something was written, or keep it to be raised."""
        if self.raises and not self._is_alone:
            self.unwritten = self.unwritten or fault
        else:
            self.add(where, fault)
            self.tell("a record is not written", step)

    def tell(self, what: str, step: int | None) -> None:
        """Warn of all faults that were added, in one warning; none where there are none.

        Args:
            what: what the user does without, in words.
            step: where the run is.
        """
        if not self._untold:
            return
        when = "" if step is None else f" at step {step}"
        faults = "".join(f"\n  {fault}" for fault in self._untold)
        self._untold = []
        warnings.warn(
            f"SemanticGeometry: {what}{when}.{faults}\nTraining goes on; this is said once.",
            stacklevel=2,
        )
