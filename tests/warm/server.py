"""Imports what jobs need, then forks a process for each client: `python -m tests.warm.server`."""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import types
import warnings
from pathlib import Path

from lightning.fabric.utilities.rank_zero import _get_rank, rank_zero_only

from tests.warm.client import SIZE_BYTES

MOST_DESCRIPTORS = 200
PRELOADED = (
    "lightning_semgeom.commands.analyze",
    "lightning_semgeom.commands.demo",
    "lightning_semgeom.settings.stdlib",
    "lightning_semgeom.training.stopping",
    "matplotlib.pyplot",
    "sklearn.linear_model",
    "tests.distributed.faulty_jobs",
    "tests.distributed.jobs",
    "tests.distributed.regularized_jobs",
    "transformers.models.gpt2.modeling_gpt2",
)


def read(client):
    """What a client asks for, its descriptors as numbers of this process."""
    size, descriptors, _, _ = socket.recv_fds(client, SIZE_BYTES, MOST_DESCRIPTORS)
    message = b""
    while len(message) < int.from_bytes(size, "big"):
        message += client.recv(1 << 16)
    asked = json.loads(message)
    return asked | {"descriptors": dict(zip(asked["descriptors"], descriptors, strict=True))}


def serve(listener):
    """Fork for each client; returns in a fork with what it is to do, in the server with None."""
    clients = {}
    while True:
        watched = [sys.stdin, listener, *clients.values()]
        ready, _, _ = select.select(watched, [], [], 0.02 if clients else None)
        for process, client in list(clients.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                with contextlib.suppress(BrokenPipeError):
                    client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
                client.close()
                del clients[process]
            elif client in ready:  # it has been killed
                os.kill(process, signal.SIGKILL)
        if sys.stdin in ready:
            for process in clients:
                os.kill(process, signal.SIGKILL)
            return None
        if listener in ready:
            client, _ = listener.accept()
            asked = read(client)
            process = os.fork()
            if process == 0:
                for one in (listener, client, *clients.values()):
                    one.close()
                return asked
            clients[process] = client
            for descriptor in asked["descriptors"].values():
                os.close(descriptor)


def take_place(asked):
    """Make this process the one that was asked for: its descriptors, its environment."""
    above = max(asked["descriptors"]) + 1
    free = {
        number: fcntl.fcntl(descriptor, fcntl.F_DUPFD, above)
        for number, descriptor in asked["descriptors"].items()
    }
    for descriptor in asked["descriptors"].values():
        os.close(descriptor)
    for number, descriptor in free.items():
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    rank_zero_only.rank = _get_rank() or 0  # Lightning read it as it was imported


def run(arguments):
    """As `python ARGUMENTS` does."""
    match arguments:
        case ["-W", action, *rest]:
            warnings.simplefilter(action)
            run(rest)
        case ["-m", module, *rest]:
            sys.argv, sys.path[0] = [module, *rest], os.getcwd()
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.argv, sys.path[0] = ["-c", *rest], ""
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(code, vars(main))
        case [option, *rest] if option.startswith("-"):  # as multiprocessing repeats ours
            run(rest)
        case [script, *rest]:
            sys.argv, sys.path[0] = [script, *rest], str(Path(script).resolve().parent)
            runpy.run_path(script, run_name="__main__")


def main(path, words):
    for name in PRELOADED:
        importlib.import_module(name)
    if threading.active_count() > 1:
        raise RuntimeError(f"A fork would lose threads: {threading.enumerate()}.")
    gc.collect()
    gc.freeze()
    path = Path(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path.with_name("socket")))
    listener.listen(64)
    hidden = path.with_name("unfinished")
    hidden.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    hidden.chmod(0o755)
    hidden.rename(path)
    sys.executable = str(path)  # what is forked starts others of its kind
    multiprocessing.set_executable(sys.executable)
    asked = serve(listener)
    if asked is not None:
        take_place(asked)
        end(status_of(asked["arguments"]))


def status_of(arguments):
    """The exit status of `python ARGUMENTS`."""
    try:
        run(arguments)
    except SystemExit as asked:
        if isinstance(asked.code, str):
            print(asked.code, file=sys.stderr)
        return asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(status):
    """As the interpreter ends, but for freeing all modules, which takes half a second."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BaseException:
        Path(sys.argv[1]).with_name("ended").touch()
        raise
