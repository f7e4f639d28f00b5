"""The GPT of the demo, trained to keep structure or not: what that costs on text it never saw."""

import json
import tempfile

import torch
from many_runs import quiet_trainer

from lightning_semgeom import AttributeAlignment, GeometryRegularizer, GramAnchor, SemanticGeometry

NAMES = {
    "baseline": "baseline",
    "anchor": "anchor of W (no attributes), weight 100",
    "alignment": "alignment of W, weight 1",
    "decay": "weight decay 1",
}
HELD_OUT = 0.1  # of the files


@torch.no_grad()
def held_out_loss(model, data):
    """Cross-entropy of the next token, in nats, on files that were not trained on."""
    model.eval()
    losses = [model.loss(batch).item() for batch in data.held_out_dataloader()]
    model.train()
    return sum(losses) / len(losses)


def regime(name, made):
    """The callbacks that make a setting the regime `name`; weight decay is 0.1 by default."""
    if name == "anchor":
        return [GeometryRegularizer(GramAnchor(), 100.0)]
    if name == "alignment":
        return [GeometryRegularizer(AttributeAlignment(made.table), 1.0)]
    if name == "decay":
        made.model.weight_decay = 1.0
    return []


def run(name, seed, steps, file):
    """One run."""
    from lightning_semgeom.settings.stdlib import stdlib_setting

    made = stdlib_setting(steps, seed, held_out=HELD_OUT)
    geometry = SemanticGeometry(made.table, every_n_steps=25, **made.capture)
    with tempfile.TemporaryDirectory() as folder:
        trainer = quiet_trainer(
            steps, geometry, *regime(name, made), gradient_clip_val=made.clip,
            default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(made.model, made.data)
    history = geometry.history
    gaps = {
        attribute: history.curve(history.key("unembedding", f"gap/{attribute}"))[1].tolist()
        for attribute in made.table.names
    }
    steps = [record.step for record in history]
    loss = held_out_loss(made.model, made.data)
    file.write_text(json.dumps({"loss": loss, "steps": steps, "gaps": gaps}))
