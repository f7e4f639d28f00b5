"""The ways to train that preserve.py compares: each a setting, changed, and its callbacks."""

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lightning_semgeom import AttributeAlignment, GeometryRegularizer, GramAnchor, StopAfterPeak
from lightning_semgeom.settings.controlled import network_setting
from lightning_semgeom.settings.recipe import WIDTH

NAMES = {
    "baseline": "baseline",
    "stop": "stop at the peak",
    "anchor": "anchor (no attributes)",
    "alignment": "alignment",
    "shuffled": "alignment to shuffled attributes",
    "dropout": "dropout 0.2 (embedding, attention, MLP)",
    "smoothing": "label smoothing 0.2",
    "decay": "weight decay 0.1",
    "bottleneck": "bottleneck, d = 8",
}
BOTTLENECK = 8


def dropped(module, inputs, output):
    """A forward hook: dropout, where the module is in training mode."""
    if isinstance(output, tuple):
        return dropped(module, inputs, output[0]), *output[1:]
    return nn.functional.dropout(output, 0.2, module.training)


def regime(name, setting, seed, folder):
    """A setting and the callbacks that make it the regime `name`; weight decay is 1 by default."""
    made = network_setting(setting, seed, 0.2 if name == "smoothing" else 0.0)
    model, features = made.model, {"hidden": "final_norm", "positions": "last"}
    if name == "stop":
        keep = ModelCheckpoint(
            folder, "peak", monitor="semgeom/gap", mode="max", every_n_train_steps=1,
            enable_version_counter=False,
        )  # fmt: skip
        return made, [StopAfterPeak(), keep]
    if name == "anchor":
        return made, [GeometryRegularizer(GramAnchor(len(made.table)), 10.0, **features)]
    if name in ("alignment", "shuffled"):
        table = made.table if name == "alignment" else made.table.shuffled(seed)
        loss = AttributeAlignment(table)
        return made, [GeometryRegularizer(loss, unembedding=False, **features)]
    if name == "dropout":
        for module in (model.token_embedding, model.block.attention, model.block.mlp):
            module.register_forward_hook(dropped)
    elif name == "decay":
        model.weight_decay = 0.1
    elif name == "bottleneck":
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            narrow = nn.Linear(WIDTH, BOTTLENECK, bias=False)
            head = nn.Linear(BOTTLENECK, model.lm_head.out_features, bias=False)
            nn.init.normal_(head.weight, std=0.02)
        model.final_norm, model.lm_head = nn.Sequential(model.final_norm, narrow), head
    return made, []
