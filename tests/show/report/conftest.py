import pytest
import torch
from torch.utils.data import DataLoader

from lightning_semgeom import SemanticGeometry
from tests import models


def train(folder, steps=150, name="semgeom"):
    """A real run that rises and falls, with a control, into `folder`."""
    table = models.StagedModel.table()
    callbacks = [
        SemanticGeometry(table, every_n_steps=50, name=name),
        SemanticGeometry(table.shuffled(0), every_n_steps=50, name=f"{name}_control"),
    ]
    trainer = models.trainer(folder, *callbacks, max_steps=steps)
    trainer.fit(models.StagedModel(), DataLoader(torch.zeros(150)))
    return callbacks


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    train(folder)
    return folder


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "second"
    train(folder, steps=100)
    return folder
