"""Small checkpoints, and what must not happen when one is read."""

from pathlib import Path

import torch

from lightning_semgeom.measure.plan import plan_site
from lightning_semgeom.measure.site import measure
from tests import models


def head(seed=0, rows=models.TOKENS):
    return torch.randn(rows, models.WIDTH, generator=torch.Generator().manual_seed(seed))


def save(file, weight=None, **beside):
    """A state dict with one head, as torch.save writes it; answers with the head."""
    weight = head() if weight is None else weight
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {"lm_head.weight": weight}, **beside}, file)
    return weight


def save_colours(file):
    """A table of attributes as a user writes one, with a row for each token."""
    lines = [f"{row},{'red' if row % 2 else 'blue'}" for row in range(models.TOKENS)]
    file.write_text("\n".join(["row,colour", *lines]) + "\n", encoding="utf-8")


def figures(weight, table=None, name="semgeom_unembedding"):
    """{key: value} of a weight by `measure`, as a record has them."""
    table = models.table() if table is None else table
    found = measure(weight, plan_site(table, torch.arange(len(table)), 96)).values
    return {f"{name}/{key}": value for key, value in found.items()}


class Creates:
    """Makes a file where a pickle of it is read without restraint."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)
