"""Imports what jobs need, then forks a process for each client: `python -m tests.warm.server`."""

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
import types
from pathlib import Path

from lightning.fabric.utilities.rank_zero import _get_rank, rank_zero_only

from tests.warm.client import SIZE_BYTES

MOST_DESCRIPTORS = 200
PRELOADED = (
    "lightning_semgeom",
    "matplotlib.pyplot",
    "tests.distributed.faulty_jobs",
    "tests.distributed.jobs",
    "tests.distributed.regularized_jobs",
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
        case ["-m", module, *rest]:
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.argv = ["-c", *rest]
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(code, vars(main))
        case [option, *rest] if option.startswith("-"):  # as multiprocessing repeats ours
            run(rest)
        case _:
            sys.exit(f"Expected -m MODULE or -c CODE, got {arguments}.")


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
        run(asked["arguments"])


if __name__ == "__main__":
    main(*sys.argv[1:])
