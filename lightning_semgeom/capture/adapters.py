"""The weight that a layer works with where PEFT has put adapters on it.

`.weight` of such a layer is that of the layer inside, which LoRA does not train. Layers are
recognised by what they offer, as in `sites.py`: PEFT need not be installed.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lightning_semgeom.capture.computed import current_weight


def inner_layer(module: nn.Module) -> nn.Module:
    """The layer that the adapters of `module` sit on, or that stands for it while it is trained.

    That is `module` itself where there are none.
    """
    inner = getattr(module, "get_base_layer", None)
    if callable(inner):
        layer: nn.Module = inner()
        return layer
    kept: Any = module._modules.get("modules_to_save")
    if not isinstance(kept, nn.ModuleDict) or "original_module" not in module._modules:
        return module
    wrapper: Any = module
    active = [name for name in wrapper.active_adapters if name in kept]
    return wrapper.original_module if wrapper.disable_adapters or not active else kept[active[0]]


def weight_with_adapters(module: nn.Module) -> Tensor:
    """The weight `[rows, d]` that `module` works with now; differentiable in all its parts.

    With LoRA that is weight + sum of the active adapters' B A, which needs room for one weight
    more. Where an adapter is merged PEFT leaves all others out, and the weight is complete. What
    modules_to_save trains has a weight of its own.

    Raises:
        ValueError: if an active adapter does something else than to add to the weight.
    """
    weight = current_weight(inner_layer(module))
    layer: Any = module
    if not callable(getattr(module, "get_base_layer", None)):
        return weight
    if layer.merged or layer.disable_adapters:
        return weight
    # A linear layer keeps A in the first of them, an embedding in the second.
    places = [getattr(module, place, {}) for place in ("lora_A", "lora_embedding_A")]
    variants = getattr(module, "lora_variant", {})
    for adapter in layer.active_adapters:
        is_lora = any(places) and adapter not in variants
        if not is_lora:
            kind = type(variants.get(adapter, module)).__name__
            raise ValueError(
                f"adapter '{adapter}' on a {type(inner_layer(module)).__name__} is a {kind}, which "
                "does more than to add to the weight; of the adapters of PEFT plain LoRA is known. "
                "Leave the site out, unembedding=False or embedding=False, or merge the adapter."
            )
        if any(adapter in place for place in places):
            weight = weight + layer.get_delta_weight(adapter)
    return weight
