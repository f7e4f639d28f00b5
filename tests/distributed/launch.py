"""Start the processes of a job, as a cluster would, and read what each of them found."""

import os
import socket
import subprocess

from tests import warm
from tests.distributed import worker


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(rank, size, port):
    found = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
    return found | {
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


def launch(folder, size, names, timeout=240):
    """Run the jobs `names` in `size` processes; {name: [what each process found]}."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    command = ["-m", "tests.distributed.worker", str(folder), *names]
    processes = [
        subprocess.Popen(
            [warm.executable(rank), *command],
            env=environment(rank, size, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    failed = any(process.returncode for process in processes)
    assert not failed, "\n".join(output[-5000:] for output in outputs)
    return {name: [worker.read(folder, name, rank) for rank in range(size)] for name in names}
