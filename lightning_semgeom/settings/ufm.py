"""The unconstrained features model: the smallest model with the phenomenon, and when it emerges.

Features h_i are free parameters, one row a label, and so are the rows w_i of the unembedding. They
minimise the summed cross-entropy of logits w_j . h_i plus lambda/2 (||W||^2 + ||H||^2) by gradient
descent (Mixon, Parshall & Pi, "Neural collapse with unconstrained features", 2020). All labels are
alike to it: nothing emerges. A kernel that knows the attributes, K = (1 - alpha) I + alpha J K_attr
J (K_attr: mean over attributes of [same value], J: centring), can enter in two ways:

- preconditioned, H' = -K (gradient): the objective is the plain one, so structure emerges, because
  features that share attributes learn together, and must go again;
- penalised, lambda/2 tr(H^T K^-1 H) in the place of lambda/2 ||H||^2, descended where that is a
  plain norm (H = K^1/2 Z, descent in Z, which is H' = -K (gradient) once more): structure emerges
  in the same way, but the minimiser has changed, and it stays in part.

Derived here, from the linearised dynamics at small initial values: the emergence time of a main
effect. Only measured: that it holds to a few percent, that structure then decays and how far, and
that the order of emergence is that of the eigenvalues.

Legend: n labels; d width; kappa an eigenvalue of K; lambda the weight decay; t = learning rate x
steps.
"""

from __future__ import annotations

from math import log, sqrt
from typing import Any, Literal, get_args

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.settings.recipe import WIDTH, Batch

ALPHA = 0.2
DECAY = 0.03
INIT = 1e-3
LEARNING_RATE = 0.05

Kind = Literal["plain", "penalised", "preconditioned"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def attribute_kernel(table: AttributeTable, alpha: float = ALPHA) -> Tensor:
    """K, fp32 `[n, n]`: ones on average where labels share values, positive definite."""
    codes = table.codes
    same = (codes[:, None] == codes[None]) & (codes[:, None] >= 0)
    shared = same.double().mean(-1)
    centred = shared - shared.mean(0) - shared.mean(1, keepdim=True) + shared.mean()
    identity = torch.eye(len(codes), dtype=torch.float64)
    return ((1 - alpha) * identity + alpha * centred).float()


def main_effects(table: AttributeTable) -> list[Tensor]:
    """For each attribute an orthonormal basis fp64 `[n, M - 1]` of its centred value means."""
    bases = []
    for a, values in enumerate(table.num_values):
        indicators = nn.functional.one_hot(table.codes[:, a], values).double()
        centred = indicators - indicators.mean(0)
        left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
        bases.append(left[:, sizes > 1e-9 * sizes[0]])
    return bases


def kernel_eigenvalues(table: AttributeTable, alpha: float = ALPHA) -> list[float]:
    """Eigenvalue of each attribute's main effect; exact where all combinations occur alike."""
    kernel = attribute_kernel(table, alpha).double()
    return [
        ((basis.T @ kernel @ basis).trace() / basis.shape[1]).item()
        for basis in main_effects(table)
    ]


def emergence_time(kappa: float, width: int, decay: float = DECAY, init: float = INIT) -> float:
    """Time until the logits of a main effect of a preconditioned model reach 1.

    At small values the mode w' = h - decay w, h' = kappa (w - decay h) grows at the rate
    sqrt(kappa) - decay (1 + kappa) / 2, and its logit, the product, at twice that; the start is the
    mean over Gaussian initial values:

    t = ln(4 / (sqrt(kappa) (1 + 1/kappa) d init^2)) / (2 (sqrt(kappa) - decay (1 + kappa) / 2)).

    It says nothing of interactions, which additive logits leave no room for, nor of the decay.

    Args:
        kappa: eigenvalue of the kernel; 1 for the plain model.
        width: d.
        decay: lambda.
        init: standard deviation of the initial values.
    """
    start = sqrt(kappa) * (1 + 1 / kappa) * width * init**2 / 4
    rate = sqrt(kappa) - decay * (1 + kappa) / 2
    return log(1 / start) / (2 * rate)


class UnconstrainedFeatures(pl.LightningModule):
    """Free features and a free unembedding, trained by gradient descent on all labels at once.

    `features` holds H and `lm_head` W, a row a label; capture them with
    `SemanticGeometry(table, embedding="features")`.

    Args:
        table: the attributes of the labels.
        kind: how the kernel enters.
        seed: of the initial values; the global generators are left as they are.
        width: d.
        learning_rate: of gradient descent.
    """

    kernel: Tensor
    inverse: Tensor

    def __init__(
        self,
        table: AttributeTable,
        kind: Kind,
        seed: int = 0,
        width: int = WIDTH,
        learning_rate: float = LEARNING_RATE,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")
        self.kind = kind
        self.learning_rate = learning_rate
        kernel = attribute_kernel(table)
        self.register_buffer("kernel", kernel)
        self.register_buffer("inverse", torch.linalg.inv(kernel.double()).float())
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.features = nn.Embedding(len(table), width)
            self.lm_head = nn.Linear(width, len(table), bias=False)
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=INIT)

    def forward(self, batch: Batch) -> Tensor:
        """Logits `[n, n]` of the labels in the batch."""
        logits: Tensor = self.lm_head(self.features(batch["labels"]))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The objective; the cross-entropy of a label is logged."""
        labels = batch["labels"]
        entropy = nn.functional.cross_entropy(self(batch), labels, reduction="sum")
        self.log("train_loss", entropy / len(labels), prog_bar=True, on_step=True, on_epoch=False)
        h, w = self.features.weight, self.lm_head.weight
        of_features = h.square().sum()
        if self.kind == "penalised":
            of_features = (h * (self.inverse @ h)).sum()
        return entropy + DECAY / 2 * (w.square().sum() + of_features)

    def on_after_backward(self) -> None:
        """Let labels that share attributes learn together, unless the model is the plain one."""
        gradient = self.features.weight.grad
        if self.kind != "plain" and gradient is not None:
            gradient.copy_(self.kernel @ gradient)

    def configure_optimizers(self) -> Any:
        """Plain gradient descent."""
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate)
