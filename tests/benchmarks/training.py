"""What the callback costs a run: `make bench`.

Two runs of one small GPT take turns, step by step: with the callback and without it. The machine's
speed drifts, but less so between neighbours. Two processes that do the same differ by about 1 % all
the same, by where their memory lies: so several pairs are started, each of the two first in turn,
and their mean is told with its standard error. Memory is what the tensors of fresh processes hold
at their peak.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from lightning_semgeom import AttributeTable, SemanticGeometry
from lightning_semgeom.measure import SiteSums, plan_site
from tests import models
from tests.benchmarks.geometry import in_a_fresh_process

TOKENS, CONTEXT, LAYERS, WIDTH = 4096, 128, 4, 192
HIDDEN = ("gpt.transformer.h.1", "gpt.transformer.ln_f")
WINDOW = 20  # steps from one capture to the next
POSITIONS = 4096  # of a batch whose memory is measured


class SmallGPT(pl.LightningModule):
    """Four layers of width 192."""

    def __init__(self):
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        configuration = GPT2Config(
            vocab_size=TOKENS, n_positions=CONTEXT, n_embd=WIDTH, n_layer=LAYERS, n_head=4,
            tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.gpt = GPT2LMHeadModel(configuration)

    def training_step(self, batch, batch_idx):
        logits = self.gpt(input_ids=batch["input_ids"]).logits[:, :-1]
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class TimedGeometry(SemanticGeometry):
    """Keeps the time spent in its hooks, step by step; what it does in the forward is left out."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seconds = []

    def on_train_batch_start(self, *arguments):
        began = time.perf_counter()
        super().on_train_batch_start(*arguments)
        self.seconds.append(time.perf_counter() - began)

    def on_train_batch_end(self, *arguments):
        began = time.perf_counter()
        super().on_train_batch_end(*arguments)
        self.seconds[-1] += time.perf_counter() - began


def geometry(**options):
    torch.manual_seed(0)
    values = {
        f"{m} values": [str(v) for v in torch.randint(m, (TOKENS,)).tolist()] for m in (2, 6, 40)
    }
    return TimedGeometry(
        AttributeTable.from_dict(values),
        hidden=HIDDEN,
        shift_labels=True,
        every_n_steps=WINDOW,
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


class Turn(pl.Callback):
    """Times whole steps, from one start to the next, and waits for its turn in between."""

    def __init__(self, own, following):
        self.own, self.following = own, following
        self.began, self.seconds = None, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.began is not None:
            self.seconds.append(time.perf_counter() - self.began)
            self.following.release()
        self.own.acquire()
        self.began = time.perf_counter()

    def on_train_end(self, trainer, pl_module):
        self.following.release()


def timed_run(own, following, found, use, size, steps):
    """What one of the processes does."""
    turn, callback = Turn(own, following), geometry()
    # The first callback, so that a step holds all that the others do.
    train([turn, callback] if use else [turn], size, steps)
    # Without what is slow at first, and without the last step, whose end nothing tells.
    found.put((turn.seconds[WINDOW:], callback.seconds[WINDOW:-1]))


def pair_in_turn(size, steps, starts):
    """Seconds of each step and in its hooks: with the callback, which `starts` or not, without."""
    context = get_context("spawn")
    gates = [context.Semaphore(0) for _ in range(2)]
    queues = [context.Queue() for _ in range(2)]
    processes = [
        context.Process(
            target=timed_run, args=(gates[i], gates[1 - i], queues[i], i == 0, size, steps)
        )
        for i in range(2)
    ]
    for process in processes if starts else reversed(processes):
        process.start()
    gates[0 if starts else 1].release()
    found = [queue.get() for queue in queues]
    for process in processes:
        process.join()
    return found


def is_due(step):
    """Whether weights are measured at the end of `step`, or hidden states during it."""
    return step % WINDOW in (0, WINDOW - 1)


def compared(pair):
    """What one pair says: shares of the time, in all and on steps that are not due."""
    (ours, hooks), (plain, _) = pair
    others = [step for step in range(len(ours)) if not is_due(step)]
    idle = statistics.median(hooks[step] for step in others)
    return {
        "share": sum(ours) / sum(plain) - 1,
        "inside": sum(hooks) / sum(ours),
        "not due": statistics.median(ours[step] / plain[step] for step in others) - 1,
        "not due, inside": idle / statistics.median(ours),
        "step": statistics.median(plain),
    }


def told(pairs, name):
    """Mean over the pairs, and its standard error."""
    values = [pair[name] for pair in pairs]
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):8.2%} +- {error:.2%}"


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
    sites = 1 + len(HIDDEN)
    return len(HIDDEN) * POSITIONS * WIDTH * 4, sites * SiteSums.packed_size(plan, WIDTH) * 8


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    steps = (options.windows + 1) * WINDOW + 1
    pairs = [
        compared(pair_in_turn(options.batch_size, steps, starts=number % 2 == 0))
        for number in range(options.pairs)
    ]
    print(
        f"GPT of {LAYERS} layers, width {WIDTH}, {TOKENS} tokens, batch {options.batch_size} x "
        f"{CONTEXT}: {1000 * statistics.mean(p['step'] for p in pairs):.0f} ms a step; unembedding "
        f"and {len(HIDDEN)} hidden sites every {WINDOW} steps; {options.pairs} pairs of runs"
    )
    print(f"share of the time              {told(pairs, 'share')}   (at most 1 %)")
    print(f"the same, by a clock inside    {told(pairs, 'inside')}")
    print(f"steps that are not due         {told(pairs, 'not due')}   (below the noise)")
    print(f"the same, by a clock inside    {told(pairs, 'not due, inside')}")
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
