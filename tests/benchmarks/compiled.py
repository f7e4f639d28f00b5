"""What a due step costs beside a plain one, eager and compiled: time, and memory at its peak.

`python -m tests.benchmarks.compiled`, on the CPU with the default compiler. Memory is what all
tensors hold, as torch's allocator tells, compiled code's too.
"""

import json
import logging
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.data import DataLoader

from lightning_semgeom import AttributeTable, SemanticGeometry
from tests import models
from tests.benchmarks.training import CONTEXT, HIDDEN, TOKENS, SmallGPT

BATCH, APART, WARM_UP, STEPS = 16, 6, 12, 36


class Marks(pl.Callback):
    """Times each step from one start to the next, and marks it for the profiler."""

    def __init__(self):
        self.starts = []
        self.mark = nullcontext()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.mark.__exit__(None, None, None)
        self.mark = record_function(f"step {len(self.starts)}")
        self.starts.append(time.perf_counter())
        self.mark.__enter__()

    @property
    def seconds(self):
        return [b - a for a, b in zip(self.starts, self.starts[1:], strict=False)]


def is_due(step):
    """Weights are measured after the step before, hidden states in the step itself."""
    return step % APART in (0, APART - 1)


def train(compiled, marks, steps):
    torch.compiler.reset()
    model = SmallGPT()
    if compiled:
        model.gpt.compile()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(TOKENS, (BATCH * 8, CONTEXT), generator=generator)
    loader = DataLoader([{"input_ids": row, "labels": row} for row in ids], BATCH)
    values = {f"{m} values": [str(row % m) for row in range(TOKENS)] for m in (2, 6, 40)}
    semgeom = SemanticGeometry(
        AttributeTable.from_dict(values),
        hidden=HIDDEN,
        shift_labels=True,
        every_n_steps=APART,
        growth=None,
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = models.trainer(folder, marks, semgeom, max_steps=steps)
        trainer.fit(model, loader)


def due_and_plain(of_steps):
    """What the due steps have and what the others have, after the first ones."""
    due = [value for step, value in of_steps.items() if step >= WARM_UP and is_due(step)]
    plain = [value for step, value in of_steps.items() if step >= WARM_UP and not is_due(step)]
    return due, plain


def peaks(compiled):
    """The most bytes that tensors held in each step."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        train(compiled, Marks(), WARM_UP + 2 * APART)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        watched.export_chrome_trace(str(file))
        events = json.loads(file.read_text())["traceEvents"]
    spans = {
        int(e["name"].split()[1]): (e["ts"], e["ts"] + e["dur"])
        for e in events
        if e.get("name", "").startswith("step ") and "dur" in e
    }
    held = [(e["ts"], e["args"]["Total Allocated"]) for e in events if e.get("name") == "[memory]"]
    return {
        step: max(size for at, size in held if start <= at <= end)
        for step, (start, end) in spans.items()
    }


def main():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for compiled in (False, True):
        marks = Marks()
        train(compiled, marks, STEPS)
        due, plain = map(statistics.median, due_and_plain(dict(enumerate(marks.seconds))))
        most_due, most_plain = map(max, due_and_plain(peaks(compiled)))
        print(
            f"{'compiled' if compiled else 'eager':8} plain step {1000 * plain:.0f} ms, due step "
            f"{due / plain:.3f} of it; at its peak {most_plain / 1e6:.1f} MB, due "
            f"{most_due / most_plain:.3f} of it"
        )


if __name__ == "__main__":
    main()
