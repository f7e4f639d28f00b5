"""Processes that wait for jobs, started as a cluster would, and what each of them finds."""

import os
import socket
import subprocess
import time

from tests import warm
from tests.distributed import worker

# Not what is tested: a machine that does other work as well takes its time.
TIMEOUT = 240
AFTER_A_FAULT = 10


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(rank, size, port):
    return os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "tests",
        "OMP_NUM_THREADS": "1",
    }


class Team:
    """`size` processes that do one job after the other; their files are in `folder`.

    To start them, and what torch imports as it is first used, takes longer than most jobs.
    """

    def __init__(self, folder, size):
        self.folder = folder
        self.outputs = [folder / f"{rank}.txt" for rank in range(size)]
        port = free_port()
        self.processes = []
        for rank, output in enumerate(self.outputs):
            with output.open("w") as file:
                self.processes.append(
                    subprocess.Popen(
                        [warm.executable(rank), "-m", "tests.distributed.worker", str(folder)],
                        env=environment(rank, size, port),
                        stdin=subprocess.PIPE,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        text=True,
                    )
                )

    def run(self, name):
        """Do the job `name`, once; what each process found."""
        for process in self.processes:
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
        ranks = range(len(self.processes))
        files = [worker.answer(self.folder, name, rank) for rank in ranks]
        end = time.monotonic() + TIMEOUT
        while not all(file.exists() for file in files):
            running = [process for process in self.processes if process.poll() is None]
            if len(running) < len(files):
                end = min(end, time.monotonic() + AFTER_A_FAULT)
            if not running or time.monotonic() > end:
                self.kill()
                tails = [f"rank {rank}: {self.outputs[rank].read_text()[-5000:]}" for rank in ranks]
                codes = [process.returncode for process in self.processes]
                raise AssertionError("\n".join([f"{name} ended with {codes}", *tails]))
            time.sleep(0.01)
        return [worker.read(self.folder, name, rank) for rank in ranks]

    @property
    def has_ended(self):
        return any(process.poll() is not None for process in self.processes)

    def kill(self):
        """End those that hang, also on one that has failed."""
        for process in self.processes:
            process.kill()
        self.close()

    def close(self):
        """Let them end; how each has ended."""
        for process in self.processes:
            process.stdin.close()
        return [process.wait(TIMEOUT) for process in self.processes]


def launch(folder, size, name):
    """What each of `size` processes of its own finds in the job `name`."""
    team = Team(folder, size)
    found = team.run(name)
    assert team.close() == [0] * size
    return found
