"""GPT-2 small on all Python source of the machine: which attributes emerge, layer by layer.

    python examples/gpt2_scale.py              # a GPU; 124M weights, 1500 steps of 16384 tokens
    python examples/gpt2_scale.py --quick      # two cores, one minute: a small model, to try it
    python examples/gpt2_scale.py --prepare    # only the tokenizer and the tokens

The tokenizer is trained on the same text. Attributes are what tokens are in Python, what they look
like, and how frequent they are, as in stdlib_lm.py; the embedding is the unembedding here, one
weight. Sites are that weight, every second layer and the last norm. A run that was ended goes on
from its last checkpoint, and one that is finished is not run again.
"""

from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from gpt2_corpus import prepared
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from many_runs import parser_of, tell
from stdlib_lm import bands_of, watched, with_frequency, within_bands
from stdlib_lm_tables import Run, draw, tables
from torch.utils.data import DataLoader, IterableDataset

from lightning_semgeom import AttributeTable
from lightning_semgeom.settings.stdlib import StdlibModel

PROBE = 10**9  # the step whose windows hidden states are looked at with
KEPT_EVERY = 500  # steps


@dataclass(frozen=True)
class Size:
    """A model and what it is trained on."""

    vocabulary: int
    context: int
    width: int
    layers: int
    heads: int
    batch: int
    learning_rate: float
    megabytes: int
    precision: str


GPT2 = Size(50257, 1024, 768, 12, 12, 16, 6e-4, 110, "bf16-mixed")
QUICK = Size(2048, 64, 64, 4, 4, 16, 3e-3, 3, "32-true")


class Windows(IterableDataset):
    """Batches of windows, drawn from the seed and the step: a run that goes on has its own again.

    Args:
        tokens: uint16 `[n]`.
        size: of the windows and batches.
        seed: of the windows.
        first: the step to begin with.
    """

    def __init__(self, tokens, size, seed, first=0):
        self.tokens, self.size, self.seed, self.first = tokens, size, seed, first

    def __iter__(self):
        for step in count(self.first):
            yield self.batch(step)

    def batch(self, step):
        """`input_ids` and `labels` int64 `[batch, context]`, alike, as in Hugging Face batches."""
        drawn = np.random.default_rng([self.seed, step])
        starts = drawn.integers(len(self.tokens) - self.size.context, size=self.size.batch)
        rows = starts[:, None] + np.arange(self.size.context)
        ids = torch.from_numpy(self.tokens[rows].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


class Source(pl.LightningDataModule):
    """The windows of a run from the step on where it begins."""

    def __init__(self, tokens, size, seed):
        super().__init__()
        self.windows = partial(Windows, tokens, size, seed)

    def train_dataloader(self):
        """Batches without an end."""
        return DataLoader(self.windows(self.trainer.global_step), batch_size=None)

    def probe_dataloader(self):
        """One fixed batch that no step has."""
        return DataLoader([self.windows().batch(PROBE)], batch_size=None)


def sites_of(size):
    """The hidden sites, and what tables call all sites."""
    hidden = {f"gpt.transformer.h.{k}": f"layer {k + 1}" for k in range(1, size.layers, 2)}
    hidden["gpt.transformer.ln_f"] = "last norm"
    named = {f"hidden.{site}": name for site, name in hidden.items()}
    return [*hidden], named | {"unembedding": "unembedding"}


def run(size, seed, steps, corpus, folder):
    """One run, in `folder`; it goes on where it was ended."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, tokens = corpus
    data = Source(tokens, size, seed)
    bands = bands_of(torch.from_numpy(np.bincount(tokens, minlength=size.vocabulary)))
    known = AttributeTable.python_tokens(tokenizer).joined(AttributeTable.surface(tokenizer))
    callbacks = watched(
        with_frequency(known, bands),
        within_bands(known, bands),
        seed,
        hidden=sites_of(size)[0],
        probe=data.probe_dataloader(),
        shift_labels=True,
        every_n_steps=50,
    )
    (folder / "attributes.txt").write_text(f"{callbacks[0].attributes}\n")
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="auto",
        devices=1,
        precision=size.precision,
        gradient_clip_val=1.0,
        default_root_dir=folder,
        logger=False,
        enable_model_summary=False,
        callbacks=[
            *callbacks,
            ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=KEPT_EVERY),
            TQDMProgressBar(refresh_rate=20),
        ],
    )
    model = StdlibModel(
        size.vocabulary,
        steps,
        size.context,
        size.width,
        seed,
        size.learning_rate,
        layers=size.layers,
        heads=size.heads,
        tied=True,
    )
    last = folder / "last.ckpt"
    trainer.fit(model, data, ckpt_path=last if last.exists() else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    (folder / "done").write_text(f"{float(trainer.callback_metrics['train_loss'])}\n")


def main():
    """Run what is missing, then tell of all."""
    parser = parser_of(__doc__, "gpt2_scale", steps=1500, seeds=[0])
    parser.add_argument("--quick", action="store_true", help="a small model on the CPU")
    parser.add_argument("--prepare", action="store_true", help="make the tokens alone")
    parser.add_argument("--corpus", type=Path, help="where tokens are kept (default: in --out)")
    if parser.parse_args().quick:
        parser.set_defaults(steps=600)
    options = parser.parse_args()
    size = QUICK if options.quick else GPT2
    out = options.out / f"{'quick' if options.quick else 'gpt2'}-{options.steps}"
    default = options.out / f"corpus-{size.vocabulary}"
    corpus = prepared(options.corpus or default, size.vocabulary, size.megabytes)
    if options.prepare:
        return
    folders = [out / f"seed{seed}" for seed in options.seeds]
    for seed, folder in zip(options.seeds, folders, strict=True):
        if not (folder / "done").exists():
            run(size, seed, options.steps, corpus, folder)
    runs = [Run(folder) for folder in folders]
    sites = sites_of(size)[1]
    print((folders[0] / "attributes.txt").read_text())
    draw(runs, figure := out / "gpt2_scale.png", sites)
    tell("\n".join(tables(runs, sites)), out, figure)


if __name__ == "__main__":
    main()
