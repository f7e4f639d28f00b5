"""The real run: a small GPT on the Python standard library's own source.

`settings/stdlib_text.py` makes the text and its attributes.
"""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lightning_semgeom.extras import needs
from lightning_semgeom.settings.controlled import Setting
from lightning_semgeom.settings.stdlib_text import StdlibData, stdlib_attributes


class StdlibModel(pl.LightningModule):
    """A GPT from a Hugging Face configuration, with two layers and an untied head unless told.

    The unembedding is `gpt.lm_head`, the last hidden state the output of `gpt.transformer.ln_f`.
    Made to be trained with gradients clipped to a norm of 1.

    Args:
        vocab_size: tokens.
        steps: length of the run, for the cosine schedule.
        context: tokens a window.
        width: d.
        seed: of the initial weights; the global generators are left as they are.
        learning_rate: its largest value, after a warm-up of 50 steps.
        weight_decay: of all parameters.
        layers: blocks.
        heads: of each block.
        tied: whether the embedding is the unembedding, one weight.
    """

    def __init__(
        self,
        vocab_size: int,
        steps: int,
        context: int = 64,
        width: int = 128,
        seed: int = 0,
        learning_rate: float = 6e-3,
        weight_decay: float = 0.1,
        layers: int = 2,
        heads: int = 4,
        tied: bool = False,
    ) -> None:
        super().__init__()
        with needs("hf"):
            from transformers import GPT2Config, GPT2LMHeadModel

        self.steps = steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        configuration = GPT2Config(
            vocab_size=vocab_size,
            n_positions=context,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=tied,
            initializer_range=0.01,  # half the usual: what is learned shows sooner beside it
            bos_token_id=0,
            eos_token_id=0,
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.gpt = GPT2LMHeadModel(configuration)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits `[B, T, vocab_size]`."""
        logits: Tensor = self.gpt(input_ids=batch["input_ids"]).logits
        return logits

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of the next token, in nats."""
        logits, following = self(batch)[:, :-1], batch["labels"][:, 1:]
        return nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten())

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of the batch."""
        loss = self.loss(batch)
        self.log("train_loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW; warm-up, then a cosine down to a tenth."""
        optimizer = torch.optim.AdamW(
            self.parameters(),
            self.learning_rate,
            betas=(0.9, 0.95),
            weight_decay=self.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def _rate(self, step: int, warm_up: int = 50, floor: float = 0.1) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        progress = min(1.0, (step - warm_up) / max(1, self.steps - warm_up))
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2


def stdlib_setting(
    steps: int, seed: int, text: str | None = None, held_out: float = 0.0
) -> Setting:
    """The GPT, its text and its tokens' attributes; last hidden states of a probe are captured.

    The arguments are those of `StdlibData`.
    """
    data = StdlibData(steps, seed=seed, text=text, held_out=held_out)
    model = StdlibModel(data.tokenizer.get_vocab_size(), steps, seed=seed)
    capture = {
        "hidden": "gpt.transformer.ln_f",
        "probe": data.probe_dataloader(),
        "shift_labels": True,
    }
    return Setting(model, data, stdlib_attributes(data.tokenizer), capture, clip=1.0)
