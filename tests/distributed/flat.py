"""FullyShardedDataParallel, which keeps weights flat and cut, on a CPU."""

import torch
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from tests.distributed import models

ON_CPU = {"device_id": torch.device("cpu"), "use_orig_params": True}


def wrapped(model):
    """In units of its own: the embedding, the body and the rest."""
    parts = ModuleWrapPolicy([nn.Embedding, nn.Sequential])
    return FullyShardedDataParallel(model, auto_wrap_policy=parts, **ON_CPU)


class CpuFSDPStrategy(FSDPStrategy):
    """Lightning's own, which would ask for a GPU, with its device named."""

    @property
    def root_device(self):
        return torch.device("cpu")

    def _setup_model(self, model):
        if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
            return super()._setup_model(model)
        return wrapped(model)


class WrappedModel(models.PathModel):
    """Wraps its own layers, as Lightning lets a model do."""

    def configure_model(self):
        if not isinstance(self.body, FullyShardedDataParallel):
            for name in ("embed", "body", "lm_head"):
                layer = getattr(self, name)
                setattr(self, name, FullyShardedDataParallel(layer, **ON_CPU))
