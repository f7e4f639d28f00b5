"""What the callback costs a run: `make bench`.

One run of a small GPT has the callback switched on and off by turns: a window of steps with one
capture in its middle, then the same number of steps without, and the next pair the other way round.
Neighbours share the machine's drift, and one process shares its memory's place: two processes that
do the same differ by about 1 % by that alone. Told is the mean over the pairs of windows with its
standard error. What steps cost that are not due is too little for windows: there single steps take
turns. Memory is what the tensors of fresh processes hold at their peak.
"""

import argparse
import itertools
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from lightning_semgeom import AttributeTable, SemanticGeometry
from lightning_semgeom.geometry.sums import second_index
from lightning_semgeom.measure.plan import plan_site
from lightning_semgeom.show.plots.kept import KeptDrawings
from lightning_semgeom.show.sheets import Sheet, Shown
from tests import models
from tests.benchmarks.geometry import in_a_fresh_process

TOKENS, CONTEXT, LAYERS, WIDTH = 4096, 128, 4, 192
HIDDEN = ("gpt.transformer.h.1", "gpt.transformer.ln_f")
WINDOW = 20  # steps from one capture to the next
POSITIONS = 4096  # of a batch whose memory is measured


class SmallGPT(pl.LightningModule):
    """Four layers of width 192, or as the options of a GPT2Config say."""

    def __init__(self, **options):
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        small = {
            "vocab_size": TOKENS, "n_positions": CONTEXT, "n_embd": WIDTH, "n_layer": LAYERS,
            "n_head": 4, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0,
        }  # fmt: skip
        configuration = GPT2Config(**(small | options))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.gpt = GPT2LMHeadModel(configuration)

    def training_step(self, batch, batch_idx):
        logits = self.gpt(input_ids=batch["input_ids"]).logits[:, :-1]
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class SwitchedGeometry(SemanticGeometry):
    """Is there in some windows of so many steps, and keeps the seconds that its hooks take."""

    window = WINDOW

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seconds = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        began = time.perf_counter()
        if is_on(batch_idx, self.window):
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self.seconds.append(time.perf_counter() - began)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        began = time.perf_counter()
        if is_on(batch_idx, self.window):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.seconds[-1] += time.perf_counter() - began


class NeverDue(SwitchedGeometry):
    """Is there in every other step or two, of which none but the first is due."""

    window = 1


class StepTimer(pl.Callback):
    """Times whole steps, from one start to the next: to be the first callback."""

    def __init__(self):
        self.starts = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.starts.append(time.perf_counter())

    @property
    def seconds(self):
        return [after - before for before, after in itertools.pairwise(self.starts)]


def geometry(kind=SemanticGeometry, apart=WINDOW, **options):
    torch.manual_seed(0)
    values = {
        f"{m} values": [str(v) for v in torch.randint(m, (TOKENS,)).tolist()] for m in (2, 6, 40)
    }
    return kind(
        AttributeTable.from_dict(values),
        hidden=HIDDEN,
        shift_labels=True,
        every_n_steps=apart,
        growth=None,
        **options,
    )


def batches(size, steps):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(TOKENS, (8 * size, CONTEXT), generator=generator)
    rows = [{"input_ids": row, "labels": row} for row in ids]
    return [*DataLoader(rows, size)] * (steps // 8 + 1)


def train(callbacks, size, steps):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        trainer = models.trainer(folder, *callbacks, max_steps=steps)
        trainer.fit(SmallGPT(), DataLoader(batches(size, steps), batch_size=None))


def is_on(step, window=WINDOW):
    """On, off, off, on: windows of steps, the capture of each in its middle."""
    return (step + window // 2) // window % 4 in (0, 3)


def is_due(step):
    """Whether a capture takes time in `step`: weights at its end, or hidden states."""
    return step % WINDOW in (0, 1, WINDOW - 1)


def pairs_of_windows(seconds):
    """Yields the numbers of the steps with the callback, and of their neighbours without it."""
    first = WINDOW + WINDOW // 2  # what is slow at first is left out: the second window is off
    for begin in range(first, len(seconds) - 2 * WINDOW + 1, 2 * WINDOW):
        halves = range(begin, begin + WINDOW), range(begin + WINDOW, begin + 2 * WINDOW)
        yield halves if is_on(begin) else halves[::-1]


def shares(seconds, hooks):
    """What each pair of windows says: shares of the time, in all and on steps that are not due."""
    for on, off in pairs_of_windows(seconds):
        idle = [step for step in on if not is_due(step)]
        yield {
            "share": sum(seconds[a] for a in on) / sum(seconds[b] for b in off) - 1,
            "inside": sum(hooks[a] for a in on) / sum(seconds[a] for a in on),
            "not due, inside": sum(hooks[a] for a in idle) / sum(seconds[a] for a in idle),
        }


def shares_never_due(seconds):
    """The share of the time that the callback takes where nothing is due, by groups of four steps.

    Two of the four are with it; the first groups are left out.
    """
    for begin in range(20, len(seconds) - 3, 4):
        logs = {True: [], False: []}
        for step in range(begin, begin + 4):
            logs[is_on(step, NeverDue.window)].append(np.log(seconds[step]))
        yield np.mean(logs[True]) - np.mean(logs[False])


def told(values):
    """Their mean, and its standard error."""
    values = [*values]
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):8.2%} +- {error:.2%}"


def drawing_seconds(picture):
    """Processor time to draw the three pictures of a site for loggers: at first, and later on.

    Later is median and mean of a run in which cells come to be half as alike, so that now and then
    axes are drawn anew.
    """
    kept, taken = KeptDrawings(), []
    for step in range(31):
        apart = picture.gram + step / 60 * (np.eye(len(picture.gram)) - picture.gram)
        shown = Shown(f"a, step {step}", replace(picture, gram=apart))
        began = time.process_time()
        drawn = dict(Sheet("semgeom", step, {"a": shown}).drawn(kept))
        taken.append(time.process_time() - began)
        assert len(drawn) == 3
    return taken[0], statistics.median(taken[1:]), statistics.mean(taken[1:])


def peak_memory(use):
    """Most bytes that tensors held at a time in a short run, capturing at each step but one."""
    callback = geometry(max_positions=POSITIONS)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        train([callback] if use else [], 2 * POSITIONS // CONTEXT, 3)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        watched.export_chrome_trace(str(file))
        events = json.loads(file.read_text())["traceEvents"]
    return max(e["args"]["Total Allocated"] for e in events if e.get("name") == "[memory]")


def memory_bound():
    """Bytes of the hidden rows kept at most, and of the sums of a site."""
    plan = plan_site(geometry().attributes, torch.arange(TOKENS), gram_size=96)
    sites, values, matrices = 1 + len(HIDDEN), plan.codes.offsets[-1], max(second_index(plan.codes))
    sums = values * (1 + WIDTH) + (1 + matrices) * WIDTH**2
    return len(HIDDEN) * POSITIONS * WIDTH * 4, sites * sums * 8


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--idle-steps", type=int, default=1300, help="of the run by turns")
    options = parser.parse_args()
    timer, callback = StepTimer(), geometry(SwitchedGeometry)
    train([timer, callback], options.batch_size, (2 * options.pairs + 2) * WINDOW)
    seconds = timer.seconds
    pairs = [*shares(seconds, callback.seconds)]
    print(
        f"GPT of {LAYERS} layers, width {WIDTH}, {TOKENS} tokens, batch {options.batch_size} x "
        f"{CONTEXT}: {1000 * statistics.median(seconds):.0f} ms a step; unembedding and "
        f"{len(HIDDEN)} hidden sites every {WINDOW} steps; {len(pairs)} pairs of windows"
    )
    print(f"share of the time              {told(p['share'] for p in pairs)}   (at most 0.4 %)")
    print(f"the same, by a clock inside    {told(p['inside'] for p in pairs)}")
    train([idle := StepTimer(), geometry(NeverDue, 10**6)], options.batch_size, options.idle_steps)
    print(f"steps that are not due         {told(shares_never_due(idle.seconds))}   (0)")
    print(f"the same, by a clock inside    {told(p['not due, inside'] for p in pairs)}")
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # as the worker has them
    picture = callback._running.recorder.pictures["unembedding"]
    first, middle, mean = in_a_fresh_process(drawing_seconds, picture)
    print(
        f"drawing, beside the run        {1000 * middle:8.0f} ms a site, once in ten captures (at "
        f"most 40 ms), {1000 * mean:.0f} with axes that move; the first time {1000 * first:.0f} ms"
    )
    with_it, without = (in_a_fresh_process(peak_memory, use) for use in (True, False))
    rows, sums = memory_bound()
    print(
        f"extra peak memory              {(with_it - without) / 1e6:8.2f} MB (at most "
        f"{rows / 1e6:.2f} MB of hidden rows, max_positions={POSITIONS}, and {sums / 1e6:.2f} MB "
        "of sums)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
