"""A model whose weights follow a fixed path, so that all strategies capture the same ones."""

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from lightning_semgeom import AttributeTable

WIDTH, STEPS = 6, 7
BATCH_SIZES = (7, 7, 7, 3, 7, 7, 3)


class Prescribed(torch.optim.Optimizer):
    """Moves each entry by a chaotic map of its own; gradients are computed, but not used.

    Clamping, multiplying and adding round alike however a parameter is split.
    """

    def __init__(self, params):
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.clamp_(-1, 1).mul_(parameter).mul_(-1.4).add_(1)
        return loss


class PathModel(pl.LightningModule):
    """Embedding, two layers, head."""

    def __init__(self, tokens=13, tied=False, shard=None):
        super().__init__()
        torch.manual_seed(0)
        self.tokens = tokens
        self.embed = nn.Embedding(tokens, WIDTH)
        self.body = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.LayerNorm(WIDTH))
        self.lm_head = nn.Linear(WIDTH, tokens, bias=False)
        if tied:
            self.lm_head.weight = self.embed.weight
        self.shard, self.is_sharded = shard, False

    def forward(self, batch):
        return self.lm_head(self.body(self.embed(batch["x"])))

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(
            self(batch).flatten(0, -2), batch["labels"].flatten(), ignore_index=-100
        )

    def predict_step(self, batch, batch_idx):
        return self(batch)

    def configure_optimizers(self):
        return Prescribed(self.parameters())


class ShardedModel(PathModel):
    """The same, split in `configure_model` by a function of the model and its mesh."""

    def configure_model(self):
        if not self.is_sharded:
            self.is_sharded = True
            self.shard(self, self.device_mesh)


class TwoOptimizers(PathModel):
    """Optimises by hand, its embedding apart from the rest."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        first, second = self.optimizers()
        first.zero_grad()
        second.zero_grad()
        self.manual_backward(loss)
        first.step()
        second.step()

    def configure_optimizers(self):
        rest = [*self.body.parameters(), *self.lm_head.parameters()]
        return Prescribed(self.embed.parameters()), Prescribed(rest)


class Checkpointed(PathModel):
    """Runs its body again in the backward instead of keeping what it needs."""

    def forward(self, batch):
        hidden = checkpoint(self.body, self.embed(batch["x"]), use_reentrant=False)
        return self.lm_head(hidden)


class LearningModel(PathModel):
    """Learns, so that whatever disturbs it shows in its weights."""

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.02)


def table(tokens=13):
    return AttributeTable.from_dict(
        {
            "colour": ["rgb"[i % 3] for i in range(tokens)],
            "size": [None if i % 4 == 3 else "sl"[i // 2 % 2] for i in range(tokens)],
        }
    )


def batches(part=0, parts=1, tokens=13, seed=0):
    """Batches of the whole job, of which each process sees every `parts`-th row."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for size in BATCH_SIZES:
        x = torch.randint(0, tokens, (size, 5), generator=generator)
        labels = torch.randint(-1, tokens, x.shape, generator=generator)
        labels[labels < 0] = -100
        found.append({"x": x[part::parts], "labels": labels[part::parts]})
    return DataLoader(found, batch_size=None)


def trainer(folder, *callbacks, **options):
    settings = {
        "max_steps": STEPS,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
        "use_distributed_sampler": False,
        "log_every_n_steps": 1,
    }
    return pl.Trainer(callbacks=list(callbacks), **(settings | options))
