"""S1, the factored setting: contexts that spell out their attributes, each with a label of its own.

64 contexts [BOS, id, a, b, c, ?] with values (2, 4, 8); the label is the context's number, so
nothing asks the model to put contexts with a shared value together. In the spirit of Zhao,
Papadimitriou & Thrampoulidis, "Structure Before Collapse" (arXiv 2606.26749); the details are ours.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.settings.contexts import ContextModel
from lightning_semgeom.settings.recipe import CLASSES, FullBatch

VALUES = {"a": 2, "b": 4, "c": 8}


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


class FactoredData(FullBatch):
    """All 64 contexts at each step: `tokens` int64 `[64, 6]` and `labels` int64 `[64]`.

    Args:
        steps_per_epoch: batches an epoch.
    """

    def __init__(self, steps_per_epoch: int = 100) -> None:
        batch = {"tokens": factored_tokens(), "labels": torch.arange(CLASSES)}
        super().__init__(batch, steps_per_epoch)


class FactoredModel(ContextModel):
    """A one-block transformer that names the context; see `ContextModel`.

    Args:
        seed: of the initial weights; the global generators are left as they are.
        learning_rate: after a warm-up of 10 steps.
        label_smoothing: share of each label that is spread over all others.
    """

    def __init__(
        self, seed: int = 0, learning_rate: float = 2e-3, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(VOCABULARY, 6, 0.02, seed, learning_rate, label_smoothing)
