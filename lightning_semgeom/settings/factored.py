"""S1, the factored setting: contexts that spell out their attributes, each with a label of its own.

64 contexts [BOS, id, a, b, c, ?] with values (2, 4, 8); the label is the context's number, so
nothing asks the model to put contexts with a shared value together. In the spirit of Zhao,
Papadimitriou & Thrampoulidis, "Structure Before Collapse" (arXiv 2606.26749); the details are ours.
"""

from __future__ import annotations

import itertools
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_semgeom.attributes import AttributeTable

VALUES = {"a": 2, "b": 4, "c": 8}
CLASSES = 64
WIDTH = 64
HEADS = 4
WARM_UP = 10


def factored_attributes() -> AttributeTable:
    """The attributes a, b, c of the 64 labels, which are the unembedding's first rows."""
    columns = zip(*itertools.product(*map(range, VALUES.values())), strict=True)
    return AttributeTable.from_dict(dict(zip(VALUES, columns, strict=True)))


def factored_tokens() -> Tensor:
    """The contexts as int64 `[64, 6]`; tokens 0-63 are the labels, each context's id the same."""
    bos, query = CLASSES, CLASSES + 1
    first = list(itertools.accumulate(VALUES.values(), initial=CLASSES + 2))
    contexts = []
    for label, values in enumerate(itertools.product(*map(range, VALUES.values()))):
        identity = first[-1] + label
        spelled = [start + value for start, value in zip(first[:-1], values, strict=True)]
        contexts.append([bos, identity, *spelled, query])
    return torch.tensor(contexts)


VOCABULARY = CLASSES + 2 + sum(VALUES.values()) + CLASSES


class _Repeated(Dataset[dict[str, Tensor]]):
    """The same full batch, once a step."""

    def __init__(self, length: int) -> None:
        self._batch = {"tokens": factored_tokens(), "labels": torch.arange(CLASSES)}
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._batch


class FactoredData(pl.LightningDataModule):
    """All 64 contexts at each step: `tokens` int64 `[64, 6]` and `labels` int64 `[64]`.

    Args:
        steps_per_epoch: batches an epoch.
    """

    def __init__(self, steps_per_epoch: int = 100) -> None:
        super().__init__()
        self.steps_per_epoch = steps_per_epoch

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """One full batch a step."""
        return DataLoader(_Repeated(self.steps_per_epoch), batch_size=None)


class _Block(nn.Module):
    """A pre-LN transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, bias=False, batch_first=True)
        self.mlp_norm = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        normed = self.attention_norm(x)
        causal = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        attended, _ = self.attention(
            normed, normed, normed, attn_mask=causal, is_causal=True, need_weights=False
        )
        x = x + attended
        mixed: Tensor = self.mlp(self.mlp_norm(x))
        return x + mixed


class FactoredModel(pl.LightningModule):
    """A one-block transformer that names the context at its last position.

    `final_norm` gives the features `[B, 6, 64]`, of which the last position counts; `lm_head` is
    the unembedding, whose first 64 rows are the labels.

    Args:
        seed: of the initial weights; the global generators are left as they are.
        learning_rate: after a warm-up of 10 steps.
    """

    def __init__(self, seed: int = 0, learning_rate: float = 2e-3) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.token_embedding = nn.Embedding(VOCABULARY, WIDTH)
            self.position_embedding = nn.Embedding(6, WIDTH)
            self.block = _Block()
            self.final_norm = nn.LayerNorm(WIDTH)
            self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)
            for name, parameter in self.named_parameters():
                if "embedding" in name:
                    nn.init.normal_(parameter, std=0.1)
                elif parameter.ndim == 2:
                    nn.init.normal_(parameter, std=0.02)
                elif name.endswith("bias"):
                    nn.init.zeros_(parameter)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits `[B, vocabulary]` at the last position."""
        tokens = batch["tokens"]
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.token_embedding(tokens) + self.position_embedding(positions)
        features = self.final_norm(self.block(x))
        logits: Tensor = self.lm_head(features[:, -1])
        return logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy over the full vocabulary."""
        loss = nn.functional.cross_entropy(self(batch), batch["labels"])
        self.log("train_loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW with weight decay 1 on all parameters."""
        optimizer = torch.optim.AdamW(
            self.parameters(), self.learning_rate, betas=(0.9, 0.99), eps=1e-4, weight_decay=1.0
        )
        warm_up = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / WARM_UP)
        )
        return [optimizer], [{"scheduler": warm_up, "interval": "step"}]
