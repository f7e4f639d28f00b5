"""The controlled settings by name: model, data, attributes, and what of them is captured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import lightning.pytorch as pl
import torch

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.settings import factored, latent, pictures, ufm
from lightning_semgeom.settings.recipe import CLASSES, FullBatch

Network = Literal["factored", "latent", "pictures"]
NETWORKS: tuple[Network, ...] = get_args(Network)


@dataclass(frozen=True)
class Setting:
    """All that a run with `SemanticGeometry` needs."""

    model: pl.LightningModule
    data: pl.LightningDataModule
    table: AttributeTable
    """The attributes of the labels."""
    capture: dict[str, Any]
    """Options of `SemanticGeometry`: where the features are."""
    clip: float | None = None
    """Norm to which gradients are clipped; None: they are not."""


def network_setting(name: Network, seed: int, label_smoothing: float = 0.0) -> Setting:
    """S1 factored, S2 latent or S3 pictures; features and unembedding are captured.

    Args:
        name: which one.
        seed: of the initial weights and of the data, where that is drawn.
        label_smoothing: share of each label that is spread over all others.

    Raises:
        ValueError: if there is no such setting.
    """
    model: pl.LightningModule
    data: FullBatch
    if name == "factored":
        model = factored.FactoredModel(seed, label_smoothing=label_smoothing)
        data, table = factored.FactoredData(), factored.factored_attributes()
    elif name == "latent":
        model = latent.LatentModel(seed, label_smoothing=label_smoothing)
        data, table = latent.LatentData(seed), latent.latent_attributes()
    elif name == "pictures":
        model = pictures.PicturesModel(seed, label_smoothing=label_smoothing)
        data, table = pictures.PicturesData(seed), pictures.pictures_attributes()
    else:
        raise ValueError(f"name must be one of {', '.join(NETWORKS)}; got {name!r}.")
    positions = "all" if name == "pictures" else "last"
    # The probe is the training batch: so the features of the last weights are seen as well.
    capture = {"hidden": "final_norm", "positions": positions, "probe": [data.batch]}
    return Setting(model, data, table, capture)


def features_setting(kind: ufm.Kind, seed: int) -> Setting:
    """An unconstrained features model with the attributes of S1; features are its embedding."""
    table = factored.factored_attributes()
    model = ufm.UnconstrainedFeatures(table, kind, seed)
    data = FullBatch({"labels": torch.arange(CLASSES)})
    return Setting(model, data, table, {"embedding": "features"})
