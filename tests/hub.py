"""A Hub on loopback for tests, and small models to put there."""

import warnings

import huggingface_hub
import pytest
import torch
from huggingface_hub.utils import _cache_assets
from safetensors.torch import save as as_safetensors

from lightning_semgeom import analyze
from lightning_semgeom.checkpoints.online import asking, revisions
from tests import models
from tests.checkpoints.files import head
from tests.hub_server import HubServer

ROWS = models.TOKENS * models.WIDTH * 4
BODY = {f"layers.{i}.weight": torch.randn(60, 60) for i in range(12)}  # a header of a kilobyte
RUN = "hf://org/run"


@pytest.fixture(scope="module")
def hub_server():
    server = HubServer()
    yield server
    server.close()


@pytest.fixture
def hub(hub_server, tmp_path, monkeypatch):
    """An empty Hub, nothing of which is kept yet."""
    hub_server.repositories.clear()
    hub_server.faults.clear()
    hub_server.token, hub_server.page = None, 1000
    hub_server.forget()
    constants = huggingface_hub.constants
    template = hub_server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.01)
    as_of_another_process(monkeypatch)
    return hub_server


def as_of_another_process(monkeypatch):
    """Nothing is known but what lies on disk."""
    monkeypatch.setattr(revisions, "_answers", {})
    monkeypatch.setattr(revisions, "_trees", {})
    monkeypatch.setattr(asking, "_silent", set())


def model(step, **more):
    return {"lm_head.weight": head(step), **BODY, **more}


def weights(step, **more):
    return {"model.safetensors": as_safetensors(model(step, **more))}


def fill(hub, name="org/run", steps=(0, 1, 2), main=True):
    for step in steps:
        hub[name].put(f"step{step}", weights(step))
    if main:
        hub[name].put("main", weights(99))


def on_disk(folder, steps):
    for step in steps:
        (folder / f"step{step}").mkdir(parents=True)
        (folder / f"step{step}/model.safetensors").write_bytes(weights(step)["model.safetensors"])
    return folder


def steps_of(history):
    return [record.step for record in history]


def figures(history):
    return repr([(record.step, dict(record.values)) for record in history])


def header_of(data):
    return 8 + int.from_bytes(data[:8], "little")


def told_by(*arguments, **named):
    """The history, and the lines of what was wrong."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        history = analyze(*arguments, **named)
    return history, [str(warning.message) for warning in told]
