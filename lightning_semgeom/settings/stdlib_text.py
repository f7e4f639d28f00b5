"""The text of the real run: the Python standard library's own source, as it lies on the machine.

Nothing is downloaded. A byte-level BPE is trained on the corpus; the attributes are read off the
tokens' own text: what kind of Python word it is, whether it begins with a space, its case.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from lightning_semgeom.attributes.python import word_kind
from lightning_semgeom.attributes.surface import case
from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.extras import needs
from lightning_semgeom.settings.documents import read_stdlib, read_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SPACE = "Ġ"  # how a byte-level BPE writes a leading space
_DOCUMENTS_A_STEP = 50
_PROBE_BATCHES = 4
_HELD_OUT_BATCHES = 64


def train_tokenizer(documents: list[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE trained on the documents."""
    with needs("hf"):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=sys.stderr.isatty(),
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def stdlib_attributes(tokenizer: Tokenizer) -> AttributeTable:
    """`kind`, `space` and `case` of each token, from its own text; rows are token ids.

    - kind: keyword, exception, builtin, module, number or operator; other tokens not labelled;
    - space: whether the token begins with a space;
    - case: lower, upper or capitalised, of tokens of ASCII letters alone.
    """
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    words = [token.removeprefix(_SPACE) for token in tokens]
    return AttributeTable.from_dict(
        {
            "kind": [word_kind(word) for word in words],
            "space": ["space" if token.startswith(_SPACE) else "none" for token in tokens],
            "case": [_plain_case(word) for word in words],
        }
    )


def _plain_case(word: str) -> str | None:
    found = case(word) if word.isascii() else None
    return None if found == "mixed" else found


class _Windows(Dataset[dict[str, Tensor]]):
    """Random windows of the corpus, the same ones for the same seed."""

    def __init__(self, ids: Tensor, starts: Tensor, context: int) -> None:
        self._ids = ids
        self._starts = starts
        self._context = context

    def __len__(self) -> int:
        return self._starts.shape[0]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        start = int(self._starts[index])
        window = self._ids[start : start + self._context]
        return {"input_ids": window, "labels": window}


class StdlibData(pl.LightningDataModule):
    """Windows of source text: `input_ids` and `labels` int64 `[batch_size, context]`.

    Labels are the inputs, as in Hugging Face batches; the model shifts them.

    Args:
        steps: training batches.
        vocab_size: tokens of the BPE.
        context: tokens a window.
        batch_size: windows a batch.
        seed: of the choice of windows.
        text: a file to train on instead of the standard library.
        held_out: share of the documents that neither the tokenizer nor training sees.

    Raises:
        ValueError: if `text` cannot be read, or has too few tokens for a window.
    """

    def __init__(
        self,
        steps: int,
        vocab_size: int = 2048,
        context: int = 64,
        batch_size: int = 16,
        seed: int = 0,
        text: str | None = None,
        held_out: float = 0.0,
    ) -> None:
        super().__init__()
        documents = read_stdlib() if text is None else read_text(Path(text))
        # The same ones for all seeds, so that their losses compare.
        order = torch.randperm(len(documents), generator=torch.Generator().manual_seed(0)).tolist()
        unseen = set(order[: round(held_out * len(documents))])
        seen = [document for k, document in enumerate(documents) if k not in unseen]
        self.tokenizer = train_tokenizer(seen, vocab_size)
        self.batch_size = batch_size
        generator = torch.Generator().manual_seed(seed)
        ids = self._encoded(seen)
        probes, windows = _PROBE_BATCHES * batch_size, steps * batch_size
        starts = _starts(ids, context, probes + windows, generator)
        self._probe = _Windows(ids, starts[:probes], context)
        self._windows = _Windows(ids, starts[probes:], context)
        self._unseen: _Windows | None = None
        if unseen:
            ids = self._encoded([documents[k] for k in sorted(unseen)])
            generator = torch.Generator().manual_seed(0)
            starts = _starts(ids, context, _HELD_OUT_BATCHES * batch_size, generator)
            self._unseen = _Windows(ids, starts, context)

    def _encoded(self, documents: list[str]) -> Tensor:
        """All tokens, one document after the other."""
        parts = [
            torch.tensor(encoding.ids, dtype=torch.int64)
            for first in tqdm(
                range(0, len(documents), _DOCUMENTS_A_STEP), "encoding", leave=False, disable=None
            )
            for encoding in self.tokenizer.encode_batch(documents[first:][:_DOCUMENTS_A_STEP])
        ]
        return torch.cat(parts)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """All windows in their order: `steps` batches."""
        return DataLoader(self._windows, self.batch_size)

    def probe_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Four fixed batches of other windows, to look at hidden states with."""
        return DataLoader(self._probe, self.batch_size)

    def held_out_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """64 fixed batches of the documents that were held out.

        Raises:
            ValueError: if none were.
        """
        if self._unseen is None:
            raise ValueError("no document was held out; give held_out a share above 0.")
        return DataLoader(self._unseen, self.batch_size)


def _starts(ids: Tensor, context: int, count: int, generator: torch.Generator) -> Tensor:
    if len(ids) <= context:
        raise ValueError(
            f"the text has {len(ids)} tokens; a window of {context} needs more than that."
        )
    return torch.randint(len(ids) - context, (count,), generator=generator)
