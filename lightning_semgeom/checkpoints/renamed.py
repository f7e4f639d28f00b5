"""Names in a checkpoint as transformers calls them now: since version 5 it renames on loading.

GPT-NeoX has its head as `lm_head`, and saves it as `embed_out` still.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from lightning_semgeom.capture.names import listed
from lightning_semgeom.checkpoints.tensors import CheckpointError


def renamed(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """The model's name of each of `names`, where transformers would load them into `model`.

    Raises:
        CheckpointError: if it would make other tensors of some, which is not done here.
    """
    names = [*names]
    if not any(base.__name__ == "PreTrainedModel" for base in type(model).__mro__):
        return {name: name for name in names}
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightRenaming
    except ImportError:  # before version 5
        return {name: name for name in names}
    transforms = get_model_conversion_mapping(model)
    found, made = {}, []
    for name in names:
        new = name
        for transform in transforms:
            new, pattern = transform.rename_source_key(new)
            if pattern is not None and not isinstance(transform, WeightRenaming):
                made.append(name)
        found[name] = new
    if made:
        raise CheckpointError(
            f"transformers makes other tensors of {listed(made)} as it loads them, which is not "
            "done here. Load each checkpoint with from_pretrained, and look at it with snapshot."
        )
    return found
