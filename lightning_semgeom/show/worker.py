"""The drawing process: sheets come in by its standard input, pictures go out by its output.

It ends when it is told so, when its input ends, or when the process that started it is gone.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from typing import IO

from lightning_semgeom.show.plots.kept import KeptDrawings
from lightning_semgeom.show.sheets import Sheet

PROGRAM = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import main; main()"
"""What it runs: it can import what the process that starts it can import."""


def main() -> None:
    """Draw one sheet after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who pressed Ctrl-C meant the training
    threading.Thread(target=_end_after, args=(os.getppid(),), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(10)  # training goes first
    # What prints, prints elsewhere: only pictures go where pictures are awaited.
    given, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    kept = KeptDrawings()
    while (sheet := _next(given)) is not None:
        for key, found in sheet.drawn(kept):
            # A fault goes as words: an exception of a library cannot be read without it.
            told = f"{type(found).__name__}: {found}" if isinstance(found, Exception) else found
            pickle.dump((key, told), answers)
            answers.flush()


def _next(given: IO[bytes]) -> Sheet | None:
    try:
        sheet: Sheet = pickle.load(given)
    except EOFError:
        return None
    return sheet


def _end_after(parent: int) -> None:
    """End this process after `parent`: others that it forked may hold the pipes open."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)
