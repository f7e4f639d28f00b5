"""Small tokenizers of each kind."""

import json

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

LINES = [
    "the dog and the cat saw a bird near the river",
    "The dog ran; the cat slept. Paris is far, paris is near!",
    "for x in range(10): return None if x == 42 else len(str(x))",
    "    import os, sys\n        raise ValueError('naïve Ünder Straße')\n",
    "собака и кот 7 77 2024 USA NASA iPhone",
] * 40


def byte_level():
    """As GPT-2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.add_tokens(["<tool>"])
    return tokenizer


def sentence_piece():
    """As Llama's: a space is `▁`, and what is unknown falls back to bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    return _plain_where(tokenizer, "<0x")


def unigram():
    """As T5's."""
    words = ["▁dog", "▁cat", "▁the", "▁Paris", "▁", *"dogcathePris", "og", "ß", "7"]
    special = ["<pad>", "</s>", "<unk>", "<extra_id_0>"]
    scored = [(token, -1.0 - len(token)) for token in dict.fromkeys([*special, *words])]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(special)
    return tokenizer


def word_piece():
    """As BERT's, lower case alone; it adds [CLS] and [SEP] by itself."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ids
    )
    return _plain_where(tokenizer, "[unused")


def _plain_where(tokenizer, beginning):
    """As a real tokenizer has it: tokens that a trainer only takes as special are plain ones."""
    made = json.loads(tokenizer.to_str())
    added = made["added_tokens"]
    made["added_tokens"] = [one for one in added if not one["content"].startswith(beginning)]
    return Tokenizer.from_str(json.dumps(made))
