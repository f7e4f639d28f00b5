"""The one-block transformer of the settings whose inputs are token sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_semgeom.settings.recipe import WIDTH, Batch, LabelModel

HEADS = 4


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


class ContextModel(LabelModel):
    """Names the context at its last position, which is the same query token in all contexts.

    `final_norm` gives the features `[B, T, 64]`, of which the last position counts; `lm_head` is
    the unembedding, whose first 64 rows are the labels.

    Args:
        vocabulary: number of tokens, labels included.
        length: T.
        linear_std: of the initial weights in the block.
        seed: of the initial weights; the global generators are left as they are.
        learning_rate: after a warm-up of 10 steps.
        label_smoothing: share of each label that is spread over all others.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        linear_std: float,
        seed: int = 0,
        learning_rate: float = 2e-3,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, eps=1e-4, label_smoothing=label_smoothing)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.token_embedding = nn.Embedding(vocabulary, WIDTH)
            self.position_embedding = nn.Embedding(length, WIDTH)
            self.block = _Block()
            self.final_norm = nn.LayerNorm(WIDTH)
            self.lm_head = nn.Linear(WIDTH, vocabulary, bias=False)
            for name, parameter in self.named_parameters():
                if "embedding" in name:
                    nn.init.normal_(parameter, std=0.1)
                elif parameter.ndim == 2:
                    nn.init.normal_(parameter, std=0.02 if "lm_head" in name else linear_std)
                elif name.endswith("bias"):
                    nn.init.zeros_(parameter)

    def forward(self, batch: Batch) -> Tensor:
        """Logits `[B, vocabulary]` at the last position of `tokens` `[B, T]`."""
        tokens = batch["tokens"]
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.token_embedding(tokens) + self.position_embedding(positions)
        features = self.final_norm(self.block(x))
        logits: Tensor = self.lm_head(features[:, -1])
        return logits
