"""All Python source that a machine has, as tokens: made once, and kept in a folder."""

import hashlib
import site
import sysconfig
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from lightning_semgeom.settings.stdlib_text import train_tokenizer

LARGEST = 1 << 20  # bytes: larger files are made by programs
AT_ONCE = 200  # documents
END = "<|endoftext|>"


def prepared(folder, vocabulary, megabytes):
    """The tokenizer, and uint16 `[n]`: the tokens of all documents, each with an end.

    Args:
        folder: where they are kept; what is there is not made again.
        vocabulary: tokens of the BPE, which is trained on the same text.
        megabytes: of text, at most.
    """
    tokenizer_file, tokens_file = folder / "tokenizer.json", folder / "tokens.npy"
    if not tokens_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        documents = read_source(megabytes)
        tokenizer = train_tokenizer(documents, vocabulary - 1)
        tokenizer.add_special_tokens([END])
        tokenizer.save(str(tokenizer_file))
        unfinished = tokens_file.with_suffix(".part.npy")
        np.save(unfinished, encoded(tokenizer, documents))
        unfinished.rename(tokens_file)
    return Tokenizer.from_file(str(tokenizer_file)), np.load(tokens_file, mmap_mode="r")


def read_source(megabytes):
    """The text of different Python files, in an order that does not follow their folders."""
    roots = {Path(sysconfig.get_path("stdlib")), *map(Path, site.getsitepackages())}
    files = {file.resolve() for root in roots for file in root.rglob("*.py")}
    order = sorted(files, key=lambda file: hashlib.sha256(str(file).encode()).digest())
    texts, size = {}, 0
    with tqdm(total=megabytes, desc="reading", unit="MB") as bar:
        for file in order:
            if not file.is_file() or file.stat().st_size > LARGEST:
                continue
            text = file.read_text(encoding="utf-8", errors="replace")
            if text in texts:
                continue
            size += len(text)
            if size > megabytes * 1e6:
                break
            texts[text] = file
            bar.update(len(text) / 1e6)
    return [*texts]


def encoded(tokenizer, documents):
    """The tokens of the documents, uint16 `[n]`."""
    end = tokenizer.token_to_id(END)
    parts = []
    for first in tqdm(range(0, len(documents), AT_ONCE), "encoding", unit=f"{AT_ONCE} files"):
        for encoding in tokenizer.encode_batch_fast(documents[first:][:AT_ONCE]):
            parts.append(np.array([*encoding.ids, end], dtype=np.uint16))
    return np.concatenate(parts)
