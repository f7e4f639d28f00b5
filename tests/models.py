"""Small modules, data and Trainer settings that several tests share."""

import math

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_semgeom import AttributeTable
from lightning_semgeom.record.picture import SitePicture

TOKENS, WIDTH = 12, 8


def table():
    return AttributeTable.from_dict(
        {"colour": list("rrbbggrrbbgg"), "size": [None, "s", "l"] * 4},
    )


def label_of(codes):
    """What a row of `table()` with these codes is, in words."""
    return [
        "" if code < 0 else values[code] for code, values in zip(codes, table().values, strict=True)
    ]


class TinyModel(pl.LightningModule):
    """Embedding, hidden layer with dropout, head; next-token batches {"x", "labels"} [B, T]."""

    def __init__(self, seed=0, dropout=0.2):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(TOKENS, WIDTH)
        self.body = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(dropout), nn.LayerNorm(WIDTH))
        self.lm_head = nn.Linear(WIDTH, TOKENS, bias=False)

    def forward(self, batch):
        return self.lm_head(self.body(self.embed(batch["x"])))

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(
            self(batch).flatten(0, -2), batch["labels"].flatten(), ignore_index=-100
        )
        if self.trainer.loggers:  # a fifth of a step's time
            self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.02)


class StagedModel(pl.LightningModule):
    """Its head is told what to be: rows of one colour come to point the same way, and part again.

    The gap peaks after `PEAK` updates.
    """

    PEAK = 20
    COLOURS = ("red", "green", "blue", "grey")

    def __init__(self):
        super().__init__()
        self.lm_head = nn.Linear(16, 48, bias=False)
        generator = torch.Generator().manual_seed(0)
        self.noise = torch.randn(48, 16, generator=generator)
        self.shared = torch.randn(4, 16, generator=generator)[torch.arange(48) % 4]
        self.set_head(0)

    @classmethod
    def table(cls):
        return AttributeTable.from_dict({"colour": list(cls.COLOURS) * 12})

    def head_at(self, updates):
        strength = math.exp(-(math.log((updates + 1) / (self.PEAK + 1)) ** 2) / 0.4)
        return self.noise + 1.5 * strength * self.shared

    def set_head(self, updates):
        with torch.no_grad():
            self.lm_head.weight.copy_(self.head_at(updates))

    def training_step(self, batch, batch_idx):
        return self.lm_head.weight.sum() * 0

    def optimizer_step(self, epoch, batch_idx, optimizer, closure):
        optimizer.step(closure)
        self.set_head(batch_idx + 1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Returning(nn.Module):
    """Gives what it was made with."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self):
        return self.output


class WeightsByStep(pl.Callback):
    """Keeps a copy of the head at each number of updates, taken apart from the package."""

    def __init__(self):
        self.heads = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        updates = trainer.optimizers[0].state.get(pl_module.lm_head.weight, {}).get("step", 0)
        self.heads[int(updates)] = pl_module.lm_head.weight.detach().clone()

    def on_train_end(self, trainer, pl_module):
        updates = trainer.optimizers[0].state[pl_module.lm_head.weight]["step"]
        self.heads[int(updates)] = pl_module.lm_head.weight.detach().clone()


class HiddenByStep(pl.Callback):
    """What the body gave at each number of updates, and the head then, by a hook of its own."""

    def __init__(self):
        self.hidden, self.heads = {}, {}

    def on_train_start(self, trainer, pl_module):
        pl_module.body.register_forward_hook(self.keep)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.updates = trainer.fit_loop.epoch_loop._batches_that_stepped
        self.labels = batch["labels"]
        self.heads.setdefault(self.updates, pl_module.lm_head.weight.detach().clone())

    def keep(self, module, inputs, output):
        if module.training:
            self.hidden.setdefault(self.updates, (output.detach().clone(), self.labels))


def picture(gram, labels=None, rows=None, attributes=("colour",)):
    """A site's picture with this Gram, and no values."""
    gram = np.asarray(gram, dtype=np.float32)
    cells = len(gram)
    labels = [["red"] * len(attributes)] * cells if labels is None else labels
    return SitePicture(
        gram=gram,
        rows=np.ones(cells, dtype=np.int64) if rows is None else np.asarray(rows),
        labels=np.array(labels, dtype=np.str_).reshape(cells, len(attributes)),
        attributes=np.array(attributes, dtype=np.str_),
        values=np.zeros((0, 2), dtype=np.str_),
        value_rows=np.zeros(0, dtype=np.int64),
        value_within=np.zeros(0),
    )


class Resumable:
    """Goes on in the middle of an epoch where a checkpoint was saved."""

    def __init__(self, loader):
        self.batches, self.following = list(loader), 0

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        self.following %= len(self.batches)
        while self.following < len(self.batches):
            self.following += 1
            yield self.batches[self.following - 1]

    def state_dict(self):
        return {"following": self.following}

    def load_state_dict(self, state):
        self.following = state["following"]


def means_by_label(found):
    """One row a label that occurs, from (hidden [B, T, d], labels [B, T]) pairs, and its codes."""
    by_label = {}
    for hidden, labels in found:
        for row, label in zip(
            hidden.double().flatten(0, 1), labels.flatten().tolist(), strict=True
        ):
            by_label.setdefault(label, []).append(row)
    by_label.pop(-100, None)
    rows = torch.stack([torch.stack(members).mean(0) for members in by_label.values()])
    return rows, table().codes[list(by_label)]


def batches(count=20, size=4, length=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, TOKENS, (count * size, length), generator=generator)
    labels = torch.randint(-1, TOKENS, x.shape, generator=generator)
    labels[labels < 0] = -100
    rows = [{"x": a, "labels": b} for a, b in zip(x, labels, strict=True)]
    return DataLoader(rows, batch_size=size)


def trainer(tmp_path, *callbacks, **options):
    settings = {
        "max_steps": 20,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": tmp_path,
        "log_every_n_steps": 1,
    }
    return pl.Trainer(callbacks=list(callbacks), **(settings | options))
