"""What the controlled settings share: 64 labels, 64 dimensions, full batches and AdamW.

Legend: labels are the first 64 rows of the unembedding `lm_head`; features are what it reads.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

CLASSES = 64
WIDTH = 64
WARM_UP = 10

Batch = dict[str, Tensor]


class FullBatch(pl.LightningDataModule):
    """The same batch at each step.

    Args:
        batch: with `labels` int64 `[B]`.
        steps_per_epoch: batches an epoch.
    """

    def __init__(self, batch: Batch, steps_per_epoch: int = 100) -> None:
        super().__init__()
        self.batch = batch
        self.steps_per_epoch = steps_per_epoch

    def train_dataloader(self) -> DataLoader[Batch]:
        """One full batch a step."""
        return DataLoader(_Repeated(self.batch, self.steps_per_epoch), batch_size=None)


class _Repeated(Dataset[Batch]):
    def __init__(self, batch: Batch, length: int) -> None:
        self._batch = batch
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Batch:
        return self._batch


class LabelModel(pl.LightningModule):
    """Cross-entropy over all logits, AdamW with weight decay 1 on all parameters, warm-up.

    Args:
        learning_rate: after a warm-up of 10 steps.
        eps: of AdamW.
        label_smoothing: share of each label that is spread over all others.
    """

    def __init__(self, learning_rate: float, eps: float, label_smoothing: float) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.eps = eps
        self.label_smoothing = label_smoothing
        self.weight_decay = 1.0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of the full batch."""
        loss = nn.functional.cross_entropy(
            self(batch), batch["labels"], label_smoothing=self.label_smoothing
        )
        self.log("train_loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW and its warm-up."""
        optimizer = torch.optim.AdamW(
            self.parameters(),
            self.learning_rate,
            betas=(0.9, 0.99),
            eps=self.eps,
            weight_decay=self.weight_decay,
        )
        warm_up = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / WARM_UP)
        )
        return [optimizer], [{"scheduler": warm_up, "interval": "step"}]
