"""transformers' own Trainer: a record every few steps, by one look at its model.

    python examples/hf_trainer.py

A tiny GPT-2 learns Python source by bytes; `lightning-semgeom report runs/hf_trainer` draws it.
"""

import argparse
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from lightning_semgeom import History, snapshot
from lightning_semgeom.settings.stdlib_text import read_stdlib


class SemanticGeometryCallback(TrainerCallback):
    """Looks at the model before the first step, every `every_n_steps`, and at the end."""

    def __init__(self, folder, every_n_steps, attributes, **sites):
        self.history, self.every_n_steps = History(), every_n_steps
        self.look = lambda model: snapshot(model, attributes, **sites)
        self.history.open(Path(folder))

    def on_step_end(self, args, state, control, model, **kwargs):
        """After a step that is due; before the first one it is step 0."""
        if state.global_step % self.every_n_steps == 0 or state.global_step == state.max_steps:
            self.history.append(self.look(model), state.global_step)

    on_train_begin = on_step_end


def train(folder, steps=200, every_n_steps=20, length=64):
    """The history of a small model's run."""
    text = "".join(read_stdlib())[: 4096 * length].encode("ascii", errors="replace")
    windows = [{"input_ids": w, "labels": w} for w in torch.tensor([*text]).split(length)[:-1]]
    characters = map(chr, range(128))
    kinds = ["letter" if c.isalpha() else "digit" if c.isdigit() else None for c in characters]
    size = {"n_positions": length, "n_embd": 64, "n_layer": 2, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=128, bos_token_id=0, eos_token_id=0, **size))
    geometry = SemanticGeometryCallback(
        Path(folder, "semgeom"), every_n_steps, {"kind": kinds},
        hidden="transformer.ln_f", labels="input_ids", shift_labels=True,
        data=[{"input_ids": torch.stack([w["input_ids"] for w in windows[:32]])}],
    )  # fmt: skip
    settings = {"max_steps": steps, "report_to": "none", "use_cpu": True, "save_strategy": "no"}
    arguments = TrainingArguments(folder, learning_rate=3e-3, **settings)
    Trainer(model, arguments, train_dataset=windows, callbacks=[geometry]).train()
    return geometry.history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    history = train("runs/hf_trainer", parser.parse_args().steps)
    for step, gap in zip(*history.curve("semgeom_unembedding/gap/kind"), strict=True):
        print(f"step {step:4}: gap of letters and digits {gap:.3f}")
