"""What reading one tensor out of a large checkpoint costs, for each kind: `make bench`.

Each is read in a fresh process, twice with small files first so that libraries are loaded, and the
peak of its memory is told in sizes of the tensor. All files are deleted.
"""

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from lightning_semgeom import AttributeTable
from lightning_semgeom.checkpoints.names import find_tensor
from lightning_semgeom.checkpoints.runs import find_checkpoints
from lightning_semgeom.measure.plan import plan_site
from lightning_semgeom.measure.site import measure

ROWS, WIDTH = 50257, 768
SMALL = 512
NAME = "lm_head.weight"


def state(rows, layers):
    torch.manual_seed(0)
    body = {f"h.{layer}.weight": torch.randn(4 * WIDTH, WIDTH) for layer in range(layers)}
    return {NAME: torch.randn(rows, WIDTH), **body}


def write_lightning(folder, tensors):
    torch.save({"state_dict": tensors, "global_step": 1}, folder / "step=1.ckpt")


def write_safetensors(folder, tensors):
    save_file(tensors, folder / "step-1.safetensors")


def write_hugging_face(folder, tensors):
    """Two shards, as save_pretrained makes them."""
    names = [*tensors]
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def write_sharded(folder, tensors):
    """One process: the whole tensor is one shard, the worst case for memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"state_dict": tensors}, checkpoint_id=folder / "step-1", no_dist=True)


KINDS = {
    "Lightning .ckpt": write_lightning,
    "safetensors": write_safetensors,
    "Hugging Face shards": write_hugging_face,
    "sharded (DCP)": write_sharded,
}


def one_tensor(folder, rows):
    """As `analyze` reads it; all its rows but the last are in the table."""
    (checkpoint,) = find_checkpoints([folder])
    opened = checkpoint.open()
    return opened.read(find_tensor(opened.shapes, None, rows - 1), rows - 1)


def everything(folder, rows):
    """As one would read it plainly."""
    (checkpoint,) = find_checkpoints([folder])
    return torch.load(checkpoint.path, weights_only=True)["state_dict"][NAME][: rows - 1]


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def now():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def costs(read, small, large):
    """Extra peak in sizes of the tensor, and seconds: of reading, and of reading and measuring."""
    plans = {}
    for rows in (SMALL, ROWS):
        table = AttributeTable.from_dict({"kind": [row % 40 for row in range(rows - 1)]})
        plans[rows] = plan_site(table, torch.arange(rows - 1), 96)
    for _ in range(2):
        measure(read(small, SMALL), plans[SMALL])
    before, began = now(), time.perf_counter()
    rows = read(large, ROWS)
    rows.sum()  # a mapped file is read when it is looked at
    read_peak, read_seconds = peak(), time.perf_counter() - began
    measure(rows, plans[ROWS])
    size = rows.numel() * rows.element_size()
    seconds = read_seconds, time.perf_counter() - began
    return [(found - before) / size for found in (read_peak, peak())], seconds


def in_a_fresh_process(function, *arguments):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def told(name, found):
    (reading, both), (seconds, all_seconds) = found
    print(f"{name:22}{reading:8.2f}{both:12.2f}{seconds:10.2f}{all_seconds:12.2f}", flush=True)


def written(write, folder, rows, layers):
    folder.mkdir(parents=True)
    write(folder, state(rows, layers))
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=90, help="of 9.4 MB each, beside the head")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, write) in enumerate(KINDS.items()):
            own = Path(folder) / str(number)
            # Not here: a process starts with the peak of the one that it came from.
            small = in_a_fresh_process(written, write, own / "small", SMALL, 1)
            large = in_a_fresh_process(written, write, own / "large", ROWS, options.layers)
            size = sum(f.stat().st_size for f in large.rglob("*") if f.is_file())
            if number == 0:
                print(
                    f"one tensor [{ROWS}, {WIDTH}], {ROWS * WIDTH * 4 / 1e6:.0f} MB, out of "
                    f"{size / 1e6:.0f} MB that the page cache has"
                )
                print(f"{'':22}{'extra memory / tensor':>20}{'seconds':>22}")
                print(f"{'':22}{'reading':>8}{'+ measure':>12}{'reading':>10}{'+ measure':>12}")
                told("torch.load of all", in_a_fresh_process(costs, everything, small, large))
            told(name, in_a_fresh_process(costs, one_tensor, small, large))
            shutil.rmtree(own)
    return 0


if __name__ == "__main__":
    sys.exit(main())
