"""A process that draws beside the one that trains, as this one sees it.

It is a program of its own, and not a child of `multiprocessing`: how processes of data and of
training are started, whether they are daemons and what guards a script has do not matter, and no
torch is imported. A process, since a thread that draws takes the interpreter from the training.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from lightning_semgeom.faults import attempted
from lightning_semgeom.show.sheets import Drawn, Sheet
from lightning_semgeom.show.worker import PROGRAM

MOST_WAITING = 16
"""Sheets, of 1 MB each where they have eight sites."""
MOST_READY = 64
"""Pictures, of 30 kB each."""
LONGEST = 120.0
"""Seconds to a picture, at the end of a run. To see all fonts for the first time takes a while."""


Sender: TypeAlias = Callable[[str, Drawn, int], object]
"""Takes key and picture of a step."""


class DrawingError(RuntimeError):
    """A picture could not be drawn."""


class SendingError(RuntimeError):
    """A picture was drawn, and somebody did not take it."""


@dataclass(frozen=True)
class Ready:
    """A picture of a record; after the last one of them, all together."""

    step: int
    """The record's."""
    pictures: Mapping[str, Drawn]
    """By key."""
    is_whole: bool
    """Whether these are all pictures of the record."""


class DrawingProcess:
    """Draws sheets in their order.

    A thread gives it one sheet at a time and takes the pictures. Where sheets come faster than they
    are drawn, or pictures faster than they are taken, sheets wait, and the oldest are given up.

    Args:
        senders: by name, who gets each picture as soon as it is drawn, from that thread.

    Raises:
        OSError: if it cannot be started.
    """

    def __init__(self, senders: Sequence[tuple[str, Sender]] = ()) -> None:
        self._senders = senders
        # One thread for algebra: cores are for training.
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process is)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env={**os.environ, **threads},
                start_new_session=True,  # Ctrl-C in a terminal goes to all processes of a session
            )
        except BaseException:
            self._said.close()
            raise
        self._changed = threading.Condition()
        self._is_open = True
        self._waiting: deque[Sheet] = deque()
        self._undrawn = 0  # of the sheet at work, its end too
        self._ready: deque[Ready | Exception] = deque()
        self._thread = threading.Thread(target=self._serve, name="semgeom pictures", daemon=True)
        self._thread.start()

    @property
    def has_ready(self) -> bool:
        """Whether something can be taken at once."""
        return bool(self._ready)

    @property
    def number_due(self) -> int:
        """How many times there will be something to take."""
        with self._changed:
            waiting = sum(len(sheet) + 1 for sheet in self._waiting)
            return len(self._ready) + self._undrawn + waiting

    def order(self, sheet: Sheet) -> Sheet | None:
        """Have it drawn; answers with the one that is given up for it, where too many wait."""
        with self._changed:
            if not self._is_open:
                return None
            given_up = self._waiting.popleft() if len(self._waiting) >= MOST_WAITING else None
            self._waiting.append(sheet)
            self._changed.notify_all()
        return given_up

    def take(self) -> Ready | Exception | None:
        """What comes next, or what was wrong with it, once it is there; None after all."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ready or self._is_idle, LONGEST):
                self._stop()
                return TimeoutError(f"the drawing process said nothing for {LONGEST:.0f} seconds")
            found = self._ready.popleft() if self._ready else None
            self._changed.notify_all()
        return found

    def close(self) -> None:
        """End the process, whatever it does; what is ready is still there."""
        with self._changed:
            self._stop()
        self._process.kill()
        self._process.wait()
        self._thread.join(5)  # it reads and writes in vain
        files = (self._process.stdin, self._process.stdout, self._said)
        for file in files if not self._thread.is_alive() else ():
            with suppress(OSError):  # what was not written yet
                file.close()  # type: ignore[union-attr]

    @property
    def _is_idle(self) -> bool:
        return not (self._is_open and (self._undrawn or self._waiting))

    def _stop(self) -> None:
        self._is_open, self._undrawn = False, 0
        self._waiting.clear()
        self._changed.notify_all()

    def _serve(self) -> None:
        """What the thread does: it waits, writes and reads, and calls nobody else."""
        while (sheet := self._next_sheet()) is not None:
            fault = attempted(self._draw, sheet)
            if fault is not None:
                end = self._end(fault)
                with self._changed:
                    if self._is_open:
                        self._ready.append(end)
                    self._stop()

    def _next_sheet(self) -> Sheet | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._is_open)
            if not self._is_open:
                return None
            sheet = self._waiting.popleft()
            self._undrawn = len(sheet) + 1
        return sheet

    def _draw(self, sheet: Sheet) -> None:
        given, answers = self._process.stdin, self._process.stdout
        assert given is not None  # for type checkers
        assert answers is not None
        pickle.dump(sheet.trimmed(), given)
        given.flush()
        pictures = {}
        for _ in range(len(sheet)):
            key, found = pickle.load(answers)
            if isinstance(found, Drawn):
                self._send(key, found, sheet.step)
                pictures[key] = found
                self._put(Ready(sheet.step, {key: found}, is_whole=False))
            else:
                self._put(DrawingError(f"{key}: {found}"))
        self._put(Ready(sheet.step, pictures, is_whole=True))

    def _send(self, key: str, drawn: Drawn, step: int) -> None:
        for name, send in self._senders:
            fault = attempted(send, key, drawn, step)
            if isinstance(fault, Exception):
                told = SendingError(f"{name}: {key}: {type(fault).__name__}: {fault}")
                with self._changed:
                    self._undrawn += 1  # one more to take
                self._put(told)

    def _put(self, found: Ready | Exception) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) < MOST_READY or not self._is_open)
            if self._is_open:
                self._ready.append(found)
                self._undrawn -= 1
                self._changed.notify_all()

    def _end(self, fault: Exception) -> Exception:
        """Why there are no more pictures."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._said.seek(0)
        words = self._said.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(words) if line.strip()), repr(fault))
        status = self._process.poll()
        return ChildProcessError(f"the drawing process ended with status {status}: {last}")
