"""Language models as people have them, small and random, with the batches that they take."""

from dataclasses import dataclass

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from lightning_semgeom import AttributeTable

TOKENS, PADDED, WIDTH = 61, 64, 16
PAD = 0


def table(rows=TOKENS):
    return AttributeTable.from_dict(
        {
            "colour": ["rgb"[i % 3] for i in range(rows)],
            "size": [[None, "s", "l"][i // 3 % 3] for i in range(rows)],
        }
    )


@dataclass(frozen=True)
class Family:
    """How one kind of model is made, fed and looked at."""

    model: str
    config: str
    options: dict
    batches: str
    layers: str
    """Its layers, as a glob from the LightningModule on."""
    shift: bool
    """Whether the label of a position stands at the next one."""

    def make(self, tied=True, rows=PADDED, seed=0, **options):
        import transformers

        torch.manual_seed(seed)
        chosen = {"vocab_size": rows, "pad_token_id": PAD, "bos_token_id": 1, "eos_token_id": 2}
        config = getattr(transformers, self.config)(**chosen | self.options | options)
        # The configuration of T5 takes no other word for it than this.
        config.tie_word_embeddings = tied
        return getattr(transformers, self.model)(config)

    def rows(self, count, seed=0):
        return globals()[self.batches](count, torch.Generator().manual_seed(seed))


_USUAL = {
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}
FAMILIES = {
    "gpt2": Family(
        "GPT2LMHeadModel",
        "GPT2Config",
        {"n_positions": 16, "n_embd": WIDTH, "n_layer": 2, "n_head": 2},
        *("causal", "model.transformer.h.*", True),
    ),
    "llama": Family(
        "LlamaForCausalLM",
        "LlamaConfig",
        _USUAL | {"num_key_value_heads": 1},
        *("causal", "model.model.layers.*", True),
    ),
    "neox": Family(
        "GPTNeoXForCausalLM", "GPTNeoXConfig", _USUAL, "causal", "model.gpt_neox.layers.*", True
    ),
    "gemma": Family(
        "GemmaForCausalLM",
        "GemmaConfig",
        _USUAL | {"num_key_value_heads": 1, "head_dim": 8},
        *("causal", "model.model.layers.*", True),
    ),
    "bert": Family(
        "BertForMaskedLM", "BertConfig", _USUAL, "masked", "model.bert.encoder.layer.*", False
    ),
    "t5": Family(
        "T5ForConditionalGeneration",
        "T5Config",
        {"d_model": WIDTH, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
        | {"decoder_start_token_id": PAD},
        *("translated", "model.decoder.block.*", False),
    ),
}


def _tokens(shape, generator):
    return torch.randint(4, TOKENS, shape, generator=generator)


def causal(count, generator):
    """Labels are the inputs, without the padding at the end."""
    found = []
    for row in _tokens((count, 8), generator):
        length = int(torch.randint(4, 9, (), generator=generator))
        mask = (torch.arange(8) < length).long()
        tokens = torch.where(mask.bool(), row, PAD)
        labels = torch.where(mask.bool(), row, -100)
        found.append({"input_ids": tokens, "attention_mask": mask, "labels": labels})
    return found


def masked(count, generator):
    """Half of the tokens are hidden (token 3) and asked for."""
    found = []
    for row in _tokens((count, 8), generator):
        hidden = torch.rand(8, generator=generator) < 0.5
        hidden[0] = True
        labels = torch.where(hidden, row, -100)
        found.append({"input_ids": torch.where(hidden, 3, row), "labels": labels})
    return found


def translated(count, generator):
    """Labels are those of the decoder, which are fewer than the inputs."""
    inputs, labels = _tokens((count, 9), generator), _tokens((count, 6), generator)
    labels[::2, 4:] = -100
    return [{"input_ids": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]


class Tuned(pl.LightningModule):
    """What a user writes around a model of transformers."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def training_step(self, batch, batch_idx):
        return self.model(**batch).loss

    def configure_optimizers(self):
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=0.01)


def loader(rows, size=4):
    return DataLoader(rows, batch_size=size)


def mean_rows(hidden, labels, shift):
    """The mean state before each token that occurs, position by position, and the tokens."""
    before = {}
    for states, tokens in zip(hidden, labels, strict=True):
        for position, state in enumerate(states):
            place = position + shift
            if place < len(tokens) and tokens[place] >= 0:
                before.setdefault(tokens[place], []).append(state)
    found = sorted(before)
    return torch.stack([torch.stack(before[token]).mean(0) for token in found]), found
