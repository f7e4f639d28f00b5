"""Asking a store in a thread of its own, for which the one that trains waits so long and no longer.

A store that takes connections and never answers holds whoever asks as long as its client likes:
with the defaults of AWS more than 14 minutes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from lightning_semgeom.faults import Answer, AwayError, attempted
from lightning_semgeom.stores import is_in_store

LONGEST = 20.0
"""Seconds that training waits for a store; and at its end for what is still under way."""


class Beside:
    """Does one thing at a time in a thread, which ends with the process even where it hangs.

    What hangs is let be: nothing else is begun before it is over, so that writes keep their order.
    After a failure the next thing is begun and not waited for, until one has gone well.
    """

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_over = threading.Event()
        self._is_over.set()
        self._outcome: object = None

    def do(self, path: Path | None, work: Callable[[], Answer]) -> Answer:
        """Do `work`, which reads or writes at `path`: here and now where that is in no store.

        Raises:
            AwayError: if it is not done in time, the last one is not over, or the last one failed.
            Exception: what `work` raises.
        """
        if path is None or not is_in_store(path):
            return work()
        if not self._is_over.is_set():
            raise AwayError(f"'{path}': it has not yet answered what it was asked before.")
        failed = self._outcome if isinstance(self._outcome, Exception) else None
        self._begin(work)
        if failed is not None:
            raise failed
        answer: Answer = self._awaited(path)
        return answer

    def do_at_last(self, path: Path | None, work: Callable[[], object]) -> None:
        """Do `work`, which brings what was missed, after what is under way; wait for both.

        Raises:
            AwayError: if one of them is not done in time.
            Exception: what `work` raises.
        """
        if path is None or not is_in_store(path):
            return
        self._wait(path)
        self._begin(work)
        self._awaited(path)

    def stop(self) -> None:
        """End the thread, once what it does is over."""
        self._tasks.put(None)
        self._thread = None

    def _begin(self, work: Callable[[], Any]) -> None:
        if self._thread is None:
            # One for all: clients of stores are made for each thread.
            self._thread = threading.Thread(target=self._serve, name="semgeom store", daemon=True)
            self._thread.start()
        self._is_over.clear()
        self._tasks.put(partial(copy_context().run, work))

    def _awaited(self, path: Path) -> Any:
        self._wait(path)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def _wait(self, path: Path) -> None:
        if not self._is_over.wait(LONGEST):
            raise AwayError(f"'{path}': it has not answered for {LONGEST:g} seconds.")

    def _serve(self) -> None:
        while (work := self._tasks.get()) is not None:
            self._outcome = attempted(work)
            self._is_over.set()
