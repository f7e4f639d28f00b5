"""Python as a user starts it, without the wait for its imports.

Torch and Lightning take seconds to import, and the tests start a hundred processes. So one process
has imported them, and forks for each command: what is forked has its own files, environment,
arguments and exit status, as any process has. What is tested for its imports is started anew.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import types
import warnings
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


def python(*arguments, cwd=None, env=None, timeout=250):
    """What `python *arguments` leaves, as `subprocess.run` tells it.

    Args:
        arguments: `-m MODULE`, `-c CODE` or a script, with what it is asked; `-W ignore` first.
        cwd: where it runs.
        env: its whole environment; None: ours.
        timeout: seconds.
    """
    command = [*map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        job = {
            "command": command,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "files": [os.devnull, str(out), str(err)],
            "timeout": timeout,
        }
        server = _server()
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        done = subprocess.CompletedProcess(command, status, out.read_text(), err.read_text())
    if status == -signal.SIGALRM:
        raise subprocess.TimeoutExpired(command, timeout, done.stdout, done.stderr)
    return done


@cache
def _server():
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.processes"],
        cwd=ROOT,
        # A process with threads cannot be forked.
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(_end, started)
    return started


def _end(server):
    server.stdin.close()
    server.wait(60)


def _serve():
    """Fork for each line of stdin; the exit status of the one that is forked, or nothing there."""
    import lightning_semgeom.commands.analyze
    import lightning_semgeom.commands.demo
    import lightning_semgeom.settings.stdlib  # noqa: F401

    gc.freeze()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            return json.loads(line)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def _run(job):
    """Be the process that `job` says."""
    os.setsid()
    signal.alarm(job["timeout"])
    for number, (file, mode) in enumerate(zip(job["files"], "rww", strict=True)):
        with open(file, mode) as opened:
            os.dup2(opened.fileno(), number)
    sys.stdin, sys.stdout, sys.stderr = (open(n, mode) for n, mode in enumerate("rww"))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    command = job["command"]
    if command[0] == "-W":
        warnings.simplefilter(command[1])
        command = command[2:]
    kind, *rest = command
    if kind == "-m":
        sys.argv, sys.path[0] = rest, job["cwd"]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(rest[0], vars(main))
    else:
        sys.argv, sys.path[0] = command, str(Path(kind).resolve().parent)
        runpy.run_path(kind, run_name="__main__")


def _status(job):
    """Run it to its end; its exit status."""
    try:
        _run(job)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    given = _serve()
    if given is not None:
        status = _status(given)
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # To free all modules, one by one, takes seconds.
        os._exit(status)
