"""A layer's weight where it is computed from other parameters, as by weight_norm or pruning.

`.weight` of such a layer is what the last forward computed, one update late; or looking at it runs
code that changes the layer, as the power iteration of spectral_norm. So shapes are read off what is
stored, and a weight is computed anew in eval mode: as it would be after loading these parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

_ORIGINALS = ("weight", "weight_orig", "weight_v", "weight_v_orig")
_SIZES = (("out_features", "in_features"), ("num_embeddings", "embedding_dim"))


def stored_shape(layer: nn.Module) -> tuple[int, int] | None:
    """Rows and width of the weight of `layer`, from what it stores; None: it has no such weight."""
    found = stored_weight(layer)
    if found is not None and found.ndim == 2:
        return found.shape[0], found.shape[1]
    if found is None and not _has_own_way(layer):
        return None
    # Computed, or cut by a strategy: the module's own word for its size is left.
    for rows, width in _SIZES:
        if isinstance(getattr(layer, rows, None), int):
            return getattr(layer, rows), getattr(layer, width)
    return None


def current_weight(layer: nn.Module) -> Tensor:
    """The weight of `layer` as its parameters are now; differentiable, and nothing is changed."""
    if is_parametrized(layer, "weight"):
        computed: Any = layer.parametrizations["weight"]  # type: ignore[index]
        with _in_eval_mode(computed):
            weight: Tensor = computed()
        return weight
    hooks: list[Any] = [hook for hook in layer._forward_pre_hooks.values() if _computes(hook)]
    if not hooks:
        return layer.weight  # type: ignore[return-value]
    # One may build on what another one computed: pruning of what weight_norm works with.
    overlay: Any = _Overlay(layer)
    for hook in hooks:
        if isinstance(hook, BasePruningMethod):
            setattr(overlay, hook._tensor_name, hook.apply_mask(overlay))  # type: ignore[no-untyped-call]
        elif isinstance(hook, SpectralNorm):
            setattr(overlay, hook.name, hook.compute_weight(overlay, do_power_iteration=False))
        else:
            setattr(overlay, hook.name, hook.compute_weight(overlay))
    answer: Tensor = overlay.weight
    return answer


def may_be_late(layer: nn.Module) -> bool:
    """Whether `.weight` is a plain tensor that something unknown here computes in each forward."""
    weight = layer.__dict__.get("weight")
    plain = isinstance(weight, Tensor) and not isinstance(weight, nn.Parameter)
    return plain and not any(map(_computes, layer._forward_pre_hooks.values()))


def stored_weight(layer: nn.Module) -> Tensor | None:
    """What the weight of `layer` is, or is computed from; None: it stores no such thing."""
    if is_parametrized(layer, "weight"):
        computed: Any = layer.parametrizations["weight"]  # type: ignore[index]
        originals = list(computed.parameters(recurse=False))
        return max(originals, key=torch.numel, default=None)
    for place in (layer._parameters, layer._buffers, layer.__dict__):
        for name in _ORIGINALS:
            found = place.get(name)
            if isinstance(found, Tensor) and not is_lazy(found):
                return found
    return None


def _has_own_way(layer: nn.Module) -> bool:
    """Whether the layer's class computes a weight itself, in a property."""
    return isinstance(getattr(type(layer), "weight", None), property)


def _computes(hook: object) -> bool:
    return isinstance(hook, WeightNorm | SpectralNorm | BasePruningMethod)


class _Overlay:
    """Attributes of a module, where those that are set lie over its own."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode
