"""The real run: a small GPT on the Python standard library's own source, as it lies on the machine.

Nothing is downloaded. A byte-level BPE is trained on the corpus; the attributes are read off the
tokens' own text: what kind of Python word it is, whether it begins with a space, its case.
"""

from __future__ import annotations

import builtins
import keyword
import math
import string
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from lightning_semgeom.attributes import AttributeTable
from lightning_semgeom.settings.controlled import Setting

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib"}
_SPACE = "Ġ"  # how a byte-level BPE writes a leading space
_DOCUMENTS_A_STEP = 50


def read_stdlib() -> list[str]:
    """The text of each Python file of the standard library without its tests and IDLE."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(
        path for path in root.rglob("*.py") if not _LEFT_OUT & set(path.relative_to(root).parts)
    )
    return [path.read_text(encoding="utf-8", errors="replace") for path in files]


def read_text(file: Path) -> list[str]:
    """The text of one file, cut at blank lines into documents of a few thousand characters.

    Raises:
        ValueError: if the file cannot be read as text or is too short for a run.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"--text: '{file}' cannot be read as UTF-8 text: {fault}.") from None
    documents, size = [""], 0
    for paragraph in text.split("\n\n"):
        if size > 5000:
            documents.append("")
            size = 0
        documents[-1] += paragraph + "\n\n"
        size += len(paragraph)
    return documents


def train_tokenizer(documents: list[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE trained on the documents."""
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
    - case: lower, upper or capitalised; tokens that are not all letters are not labelled.
    """
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    words = [token.removeprefix(_SPACE) for token in tokens]
    return AttributeTable.from_dict(
        {
            "kind": [_kind(word) for word in words],
            "space": ["space" if token.startswith(_SPACE) else "none" for token in tokens],
            "case": [_case(word) for word in words],
        }
    )


def _kind(word: str) -> str | None:
    found = getattr(builtins, word, None)
    if keyword.iskeyword(word):
        return "keyword"
    if isinstance(found, type) and issubclass(found, BaseException):
        return "exception"
    if found is not None and not word.startswith("_"):
        return "builtin"
    if word in sys.stdlib_module_names and not word.startswith("_"):
        return "module"
    if word and all(character in string.digits for character in word):
        return "number"
    if word and all(character in string.punctuation for character in word):
        return "operator"
    return None


def _case(word: str) -> str | None:
    if not (word.isascii() and word.isalpha()):
        return None
    if word.islower():
        return "lower"
    if word.isupper() and len(word) > 1:
        return "upper"
    return "capitalised" if word[0].isupper() and word[1:].islower() else None


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
    ) -> None:
        super().__init__()
        documents = read_stdlib() if text is None else read_text(Path(text))
        self.tokenizer = train_tokenizer(documents, vocab_size)
        self.batch_size = batch_size
        parts = [
            torch.tensor(encoding.ids, dtype=torch.int64)
            for first in tqdm(
                range(0, len(documents), _DOCUMENTS_A_STEP), "encoding", leave=False, disable=None
            )
            for encoding in self.tokenizer.encode_batch(documents[first:][:_DOCUMENTS_A_STEP])
        ]
        ids = torch.cat(parts)
        if len(ids) <= context:
            raise ValueError(
                f"the text has {len(ids)} tokens; a window of {context} needs more than that."
            )
        generator = torch.Generator().manual_seed(seed)
        held_out, windows = 4 * batch_size, steps * batch_size
        starts = torch.randint(len(ids) - context, (held_out + windows,), generator=generator)
        self._probe = _Windows(ids, starts[:held_out], context)
        self._windows = _Windows(ids, starts[held_out:], context)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """All windows in their order: `steps` batches."""
        return DataLoader(self._windows, self.batch_size)

    def probe_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Four fixed batches of other windows, to look at hidden states with."""
        return DataLoader(self._probe, self.batch_size)


class StdlibModel(pl.LightningModule):
    """A GPT with two layers, from a Hugging Face configuration, its head untied.

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
    ) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        self.steps = steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        configuration = GPT2Config(
            vocab_size=vocab_size,
            n_positions=context,
            n_embd=width,
            n_layer=2,
            n_head=4,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=False,
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

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of the next token."""
        logits, following = self(batch)[:, :-1], batch["labels"][:, 1:]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten())
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


def stdlib_setting(steps: int, seed: int, text: str | None = None) -> Setting:
    """The GPT, its text and its tokens' attributes; last hidden states of a probe are captured."""
    data = StdlibData(steps, seed=seed, text=text)
    model = StdlibModel(data.tokenizer.get_vocab_size(), steps, seed=seed)
    capture = {
        "hidden": "gpt.transformer.ln_f",
        "probe": data.probe_dataloader(),
        "shift_labels": True,
    }
    return Setting(model, data, stdlib_attributes(data.tokenizer), capture, clip=1.0)
