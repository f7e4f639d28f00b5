"""A Python that has imported torch and Lightning already, for tests that start processes.

Imports take a process 8 s, and what a test wants of it often less than one. `executable()` is
called as the interpreter is; what answers is a fresh fork of a server that has imported, has no
thread, and has run nothing. So each process is alone with its state, and what it has registered to
run at its end runs. What is tested for its imports is started anew.

Two servers differ in how they hash strings, as processes do: code that goes over a set in another
order on another process would be found. Each starts when it is first asked for; workers of
pytest-xdist share those of the process that has started them.
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

ROOT = Path(__file__).parents[2]
CLIENT = Path(__file__).with_name("client.py")
HASH_SEEDS = (1, 2)
SHARED = "SEMGEOM_WARM_SERVERS"  # the environment's name for the folder of those that are shared
_running = {}


def python(*arguments, cwd=None, env=None, timeout=250):
    """What `python *arguments` leaves, as `subprocess.run` tells it.

    Args:
        arguments: `-m MODULE`, `-c CODE` or a script, with what it is asked; `-W ACTION` first.
        cwd: where it runs.
        env: its whole environment; None: ours.
        timeout: seconds.
    """
    return subprocess.run(
        [executable(), *map(str, arguments)],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def executable(rank=0):
    """The path of an interpreter for the process `rank` of a job."""
    seed = HASH_SEEDS[rank % len(HASH_SEEDS)]
    if SHARED in os.environ:
        folder = Path(os.environ[SHARED], str(seed))
    else:
        server, folder = _running.get(seed, (None, None))
        if server is None or server.poll() is not None:
            folder = Path(tempfile.mkdtemp(prefix="warm-"))
            _running[seed] = start(seed, folder), folder
    path, ended = folder / "python", folder / "ended"
    while not path.exists():
        if ended.exists():
            raise RuntimeError("\n" + (folder / "output").read_text()[-5000:])
        time.sleep(0.05)
    return str(path)


def share():
    """Start all servers for the processes that are started from now on."""
    root = Path(tempfile.mkdtemp(prefix="warm-"))
    for seed in HASH_SEEDS:
        (root / str(seed)).mkdir()
        start(seed, root / str(seed))
    os.environ[SHARED] = str(root)
    atexit.register(shutil.rmtree, root, ignore_errors=True)


def start(seed, folder):
    """A server that puts its interpreter into `folder` once it has imported."""
    words = [sys.executable, "-IS", str(CLIENT), str(folder / "socket")]
    with (folder / "output").open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.warm.server", str(folder / "python"), shlex.join(words)],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,  # it ends as this is closed
            stdout=output,
            stderr=output,
        )
    atexit.register(stop, server, folder)
    return server


def stop(server, folder):
    with contextlib.suppress(BrokenPipeError):
        server.stdin.close()
    server.wait()
    shutil.rmtree(folder, ignore_errors=True)
