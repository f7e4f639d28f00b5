"""S2, the latent setting: contexts that hint at their attributes by synonyms, no token names them.

Values (2, 4), eight contexts a combination, each with a label of its own. A context is
[BOS, 4 tokens of a, 8 tokens of b, ?]; each value has 12 synonyms, and a token is one of its
value's with probability .8, else any token of the attribute. In the spirit of Zhao, Papadimitriou &
Thrampoulidis, "Structure Before Collapse" (arXiv 2606.26749); the details are ours.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.settings.contexts import ContextModel
from lightning_semgeom.settings.recipe import CLASSES, FullBatch

VALUES = {"a": 2, "b": 4}
TOKENS_OF = {"a": 4, "b": 8}  # in a context
SYNONYMS = 12
CERTAINTY = 0.8
COMBINATIONS = list(itertools.product(*map(range, VALUES.values())))
CONTEXTS = CLASSES // len(COMBINATIONS)  # of a combination
VOCABULARY = CLASSES + 2 + SYNONYMS * sum(VALUES.values())
LENGTH = 2 + sum(TOKENS_OF.values())


def latent_attributes() -> AttributeTable:
    """The attributes a and b of the 64 labels, which are the unembedding's first rows."""
    repeated = [values for values in COMBINATIONS for _ in range(CONTEXTS)]
    columns = zip(*repeated, strict=True)
    return AttributeTable.from_dict(dict(zip(VALUES, columns, strict=True)))


def latent_tokens(seed: int, contexts: int = CONTEXTS) -> Tensor:
    """Contexts as int64 `[8 * contexts, 14]`, all different, combination after combination.

    Args:
        seed: of the drawn tokens; others give fresh contexts.
        contexts: number of contexts of each combination.
    """
    generator = torch.Generator().manual_seed(seed)
    # As the keys of a dict: in order, and each context once.
    found: dict[tuple[int, ...], None] = {}
    for number, values in enumerate(COMBINATIONS, start=1):
        while len(found) < number * contexts:
            found[tuple(_context(values, generator).tolist())] = None
    return torch.tensor(list(found))


def _context(values: tuple[int, ...], generator: torch.Generator) -> Tensor:
    bos, query, first = CLASSES, CLASSES + 1, CLASSES + 2
    parts = [torch.tensor([bos])]
    for (name, number), value in zip(VALUES.items(), values, strict=True):
        count = TOKENS_OF[name]
        own = value * SYNONYMS + torch.randint(SYNONYMS, (count,), generator=generator)
        other = torch.randint(number * SYNONYMS, (count,), generator=generator)
        is_own = torch.rand(count, generator=generator) < CERTAINTY
        parts.append(first + torch.where(is_own, own, other))
        first += number * SYNONYMS
    return torch.cat([*parts, torch.tensor([query])])


class LatentData(FullBatch):
    """All 64 contexts at each step: `tokens` int64 `[64, 14]` and `labels` int64 `[64]`.

    Args:
        seed: of the contexts.
        steps_per_epoch: batches an epoch.
    """

    def __init__(self, seed: int = 0, steps_per_epoch: int = 100) -> None:
        batch = {"tokens": latent_tokens(seed), "labels": torch.arange(CLASSES)}
        super().__init__(batch, steps_per_epoch)


class LatentModel(ContextModel):
    """A one-block transformer that names the context; see `ContextModel`.

    Args:
        seed: of the initial weights; the global generators are left as they are.
        learning_rate: after a warm-up of 10 steps.
        label_smoothing: share of each label that is spread over all others.
    """

    def __init__(
        self, seed: int = 0, learning_rate: float = 2e-3, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(VOCABULARY, LENGTH, 0.01, seed, learning_rate, label_smoothing)
