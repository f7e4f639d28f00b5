"""A Python that has imported torch and Lightning already, for tests that start processes.

Imports take a process 8 s, and what a test wants of it often less than one. `executable()` is
called as the interpreter is, with `-m MODULE` or `-c CODE`; what answers is a fresh fork of a
server that has imported, has no thread, and has run nothing. So each process is alone with its
state, and ends in the ordinary way (with its coverage saved).

Two servers differ in how they hash strings, as processes do: code that goes over a set in another
order on another process would be found. Each starts when it is first asked for.
"""

import atexit
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLIENT = Path(__file__).with_name("client.py")
HASH_SEEDS = (1, 2)
_running = {}


def executable(rank=0):
    """The path of an interpreter for the process `rank` of a job."""
    start_missing()
    return str(_running[HASH_SEEDS[rank % len(HASH_SEEDS)]][1])


def start_missing():
    """Start the servers that are not there, or no longer, side by side."""
    missing = [seed for seed in HASH_SEEDS if not is_up(seed)]
    for seed in missing:
        _running[seed] = start(seed)
    for seed in missing:
        server, path = _running[seed]
        while not path.exists():
            if server.poll() is not None:
                raise RuntimeError("\n" + path.with_name("output").read_text()[-5000:])
            time.sleep(0.05)


def is_up(seed):
    return seed in _running and _running[seed][0].poll() is None


def start(seed):
    """A server, and the path at which it puts its interpreter once it has imported."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    path = folder / "python"
    words = [sys.executable, "-IS", str(CLIENT), str(folder / "socket")]
    with (folder / "output").open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.warm.server", str(path), shlex.join(words)],
            env=os.environ | {"PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,  # it ends as this is closed
            stdout=output,
            stderr=output,
        )
    atexit.register(stop, server, folder)
    return server, path


def stop(server, folder):
    with contextlib.suppress(BrokenPipeError):
        server.stdin.close()
    server.wait()
    shutil.rmtree(folder, ignore_errors=True)
