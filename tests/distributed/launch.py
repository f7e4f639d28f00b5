"""Start the processes of a job, as a cluster would, and read what each of them found."""

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


def launch(folder, size, name):
    """Run the job `name` in `size` processes; what each of them found."""
    port = free_port()
    command = ["-m", "tests.distributed.worker", str(folder), name]
    outputs = [folder / f"{name}.{rank}.txt" for rank in range(size)]
    processes = []
    for rank, output in enumerate(outputs):
        with output.open("w") as file:
            processes.append(
                subprocess.Popen(
                    [warm.executable(rank), *command],
                    env=environment(rank, size, port),
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            )
    codes = wait(processes)
    tails = [f"rank {rank}: {output.read_text()[-5000:]}" for rank, output in enumerate(outputs)]
    assert codes == [0] * size, "\n".join([f"{name} ended with {codes}", *tails])
    return [worker.read(folder, name, rank) for rank in range(size)]


def wait(processes):
    """How each has ended; those that hang, also on one that has failed, are killed."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        codes = [process.poll() for process in processes]
        if None not in codes:
            return codes
        if any(codes):
            end = min(end, time.monotonic() + AFTER_A_FAULT)
        time.sleep(0.02)
    for process in processes:
        process.kill()
    return [process.wait() for process in processes]
