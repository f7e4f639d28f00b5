"""What a due step costs beside a plain one, eager and compiled: time, and memory at its peak.

`python -m tests.benchmarks.compiled`: a small GPT on the CPU. Memory is what all tensors hold, as
torch's allocator tells, compiled code's too. `--device cuda`: GPT-2 small, 16 x 1024 tokens in
bf16-mixed. There steps overlap, so that a capture's time is that of a window of steps with one less
that of a window of a run without the callback.
"""

import argparse
import json
import logging
import statistics
import sys
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
GPT2 = {
    "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
    "tie_word_embeddings": True,
}  # fmt: skip
GPT2_HIDDEN = ("gpt.transformer.h.5", "gpt.transformer.ln_f")
WINDOW, WINDOWS = 10, 6  # steps, with one capture each; the first two windows are warm-up


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


class OnTheCard(pl.Callback):
    """Times windows of steps, and the most bytes that each step held; waits once a window."""

    def __init__(self):
        self.starts, self.peaks = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step:
            self.peaks.append(torch.cuda.max_memory_allocated())
        torch.cuda.reset_peak_memory_stats()
        if trainer.global_step % WINDOW == WINDOW // 2:
            torch.cuda.synchronize()
            self.starts.append(time.perf_counter())

    def of_a_window(self):
        """Seconds: the median of those after the warm-up."""
        pairs = zip(self.starts[2:], self.starts[3:], strict=False)
        return statistics.median(after - before for before, after in pairs)

    def most(self):
        """Bytes, after the warm-up."""
        return max(self.peaks[2 * WINDOW :])


def is_due(step):
    """Weights are measured after the step before, hidden states in the step itself."""
    return step % APART in (0, APART - 1)


def geometry(tokens, hidden, apart):
    values = {f"{m} values": [str(row % m) for row in range(tokens)] for m in (2, 6, 40)}
    return SemanticGeometry(
        AttributeTable.from_dict(values),
        hidden=hidden,
        shift_labels=True,
        every_n_steps=apart,
        growth=None,
    )


def batches(tokens, context):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(tokens, (BATCH * 8, context), generator=generator)
    return DataLoader([{"input_ids": row, "labels": row} for row in ids], BATCH)


def train(model, loader, callbacks, **options):
    with tempfile.TemporaryDirectory() as folder:
        models.trainer(folder, *callbacks, **options).fit(model, loader)
    return model


def train_small(compiled, marks, steps):
    torch.compiler.reset()
    model = SmallGPT()
    if compiled:
        model.gpt.compile()
    callbacks = marks, geometry(TOKENS, HIDDEN, APART)
    train(model, batches(TOKENS, CONTEXT), callbacks, max_steps=steps)


def due_and_plain(of_steps):
    """What the due steps have and what the others have, after the first ones."""
    due = [value for step, value in of_steps.items() if step >= WARM_UP and is_due(step)]
    plain = [value for step, value in of_steps.items() if step >= WARM_UP and not is_due(step)]
    return due, plain


def peaks(compiled):
    """The most bytes that tensors held in each step."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        train_small(compiled, Marks(), WARM_UP + 2 * APART)
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


def tell_small():
    for compiled in (False, True):
        marks = Marks()
        train_small(compiled, marks, STEPS)
        due, plain = map(statistics.median, due_and_plain(dict(enumerate(marks.seconds))))
        most_due, most_plain = map(max, due_and_plain(peaks(compiled)))
        print(
            f"{'compiled' if compiled else 'eager':8} plain step {1000 * plain:.0f} ms, due step "
            f"{due / plain:.3f} of it; at its peak {most_plain / 1e6:.1f} MB, due "
            f"{most_due / most_plain:.3f} of it"
        )


def gpt2(compiled, size):
    """GPT-2 small with the weights of seed 0; compiled: None, or the mode."""
    torch.compiler.reset()
    torch.cuda.empty_cache()
    with torch.random.fork_rng():
        model = SmallGPT(**size)
    if compiled:
        model.gpt.compile(mode=compiled)
    return model


def tell_on_the_card(size, modes=(None, "default", "reduce-overhead")):
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, lightning {pl.__version__}")
    loader = batches(size["vocab_size"], size["n_positions"])
    options = {
        "max_steps": WINDOW * WINDOWS, "max_epochs": -1,
        "accelerator": "gpu", "devices": 1, "precision": "bf16-mixed",
    }  # fmt: skip
    for compiled in modes:
        found, weights = [], []
        for ours in ([], [], [geometry(size["vocab_size"], GPT2_HIDDEN, WINDOW)]):
            card = OnTheCard()
            model = train(gpt2(compiled, size), loader, [card, *ours], **options)
            found.append(card)
            weights.append([parameter.detach().cpu() for parameter in model.parameters()])
            del model
        _, without, with_it = found
        step = without.of_a_window() / WINDOW
        capture = with_it.of_a_window() - without.of_a_window()
        repeats, same = (all(map(torch.equal, weights[0], other)) for other in weights[1:])
        print(
            f"{compiled or 'eager':15} step {1000 * step:.1f} ms, capture {capture / step:.1%} of "
            f"one; at its peak {without.most() / 1e9:.2f} GB, with captures "
            f"{with_it.most() / without.most():.3f} of it; weights equal to the bit: {same} "
            f"(a second run without: {repeats})",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    if options.device == "cpu":
        tell_small()
    elif not torch.cuda.is_available():
        print("There is no CUDA device here.")
    else:
        tell_on_the_card(GPT2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
