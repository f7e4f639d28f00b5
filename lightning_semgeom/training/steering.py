"""Add a direction to what one module gives, for the time of a block.

Legend: B sequences of T positions, width d; the site's output `[B, d]` or `[B, T, d]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import copy
from math import isfinite
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from lightning_semgeom.capture.eager import allow_compiled, force_eager
from lightning_semgeom.capture.names import find_site

Positions = Literal["last", "all"]


@contextmanager
def steer(
    model: nn.Module,
    site: str,
    direction: Tensor,
    strength: float = 1.0,
    positions: Positions = "last",
) -> Iterator[None]:
    """Add `strength * direction` to the output of a module, in each of its calls in the block.

    The output is a tensor `[B, d]` or `[B, T, d]`, or a tuple, list or mapping that begins with
    one; its other entries stay as they are. Nothing is changed in place, gradients flow to the
    model, to its input and to `direction`, and blocks may be nested, at one site as well. At the
    end of the block, or after an exception, the model is as it was.

    Code that `torch.compile` compiled runs eagerly in the block, and as compiled afterwards. Under
    activation checkpointing call `backward` in the block: what is computed again after it is
    computed without the direction.

    Args:
        model: wrapped, compiled or neither.
        site: the module's dotted name, without the names of wrappers; `hidden.` may stand before
            it, as in the sites of records.
        direction: `[d]`, any floating point dtype; cast to that of the output, and to its device.
        strength: its factor; 0 changes nothing, a negative one leads away.
        positions: "last" is the last entry of T, where a causal model predicts the next token: in
            generation each new token. It is padding where sequences are padded on the right; pad
            them on the left, or take "all". Outputs `[B, d]` are steered in each row.

    Raises:
        ValueError: at the beginning if an argument does not fit, in the forward if the output or
            its width does not, and at the end if the block did not call the module: results would
            be those of a model that was not steered.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Identity(), nn.Linear(2, 2, bias=False))
        >>> with steer(model, "0", torch.tensor([1.0, 0.0]), strength=3.0):
        ...     logits = model(torch.zeros(1, 2))
        >>> torch.equal(logits[0], 3.0 * model[1].weight[:, 0])
        True
    """
    module = find_site(model, site)
    _check(direction, strength, positions)
    called = False

    def moved(output: Any) -> Tensor:
        hidden = _checked(output, site, len(direction))
        move = (strength * direction).to(hidden.device, hidden.dtype)
        if hidden.ndim == 2 or positions == "all":
            return hidden + move
        return torch.cat([hidden[:, :-1], hidden[:, -1:] + move], dim=1)

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        nonlocal called
        called = True
        return _with_first(output, moved)

    stance = object()  # each block its own, so that the first to end does not end the others'
    with ExitStack() as undo:
        force_eager(stance)
        undo.callback(allow_compiled, stance)
        undo.callback(module.register_forward_hook(hook).remove)
        yield
    if not called:
        raise ValueError(
            f"site='{site}' was not called in the block, so nothing was steered. Call the model "
            "in the block; where the model was called, name a module that its forward calls."
        )


def _check(direction: Tensor, strength: float, positions: str) -> None:
    if not isinstance(direction, Tensor) or not direction.is_floating_point():
        kind = direction.dtype if isinstance(direction, Tensor) else type(direction).__name__
        raise ValueError(f"direction must be a floating point tensor [d]; got {kind}.")
    if direction.ndim != 1:
        raise ValueError(
            f"direction must be one vector [d]; got {list(direction.shape)}. Steer with one row "
            "at a time."
        )
    if not direction.isfinite().all():
        raise ValueError(
            "direction must be finite; it has NaN or infinite entries, as the difference of means "
            "of a value without rows does."
        )
    if not isfinite(strength):
        raise ValueError(f"strength must be a finite number; got {strength}.")
    if positions not in get_args(Positions):
        raise ValueError(f"positions must be 'last' or 'all'; got {positions!r}.")


def _checked(hidden: Any, site: str, width: int) -> Tensor:
    if not isinstance(hidden, Tensor) or not hidden.is_floating_point():
        kind = hidden.dtype if isinstance(hidden, Tensor) else type(hidden).__name__
        raise ValueError(
            f"site='{site}' gave a {kind}; expected a floating point tensor [B, d] or [B, T, d], "
            "or a tuple, list or mapping that begins with one. Name another module."
        )
    if isinstance(hidden, DTensor):
        raise ValueError(
            f"site='{site}' gave a DTensor, {hidden.placements}. Name a module whose output is a "
            "plain tensor on each process."
        )
    if hidden.ndim not in (2, 3) or hidden.shape[-1] != width:
        raise ValueError(
            f"site='{site}' gave an output {list(hidden.shape)}; a direction [{width}] fits "
            f"[B, {width}] or [B, T, {width}]. Take a direction of this site's own rows."
        )
    return hidden


def _with_first(output: Any, change: Callable[[Any], Tensor]) -> Any:
    """`output` with its first entry changed; a copy of the same type where it is a container."""
    if isinstance(output, Mapping) and output:
        changed: Any = copy(output)
        first = next(iter(output))
        changed[first] = change(output[first])
        return changed
    if isinstance(output, tuple | list) and output:
        # A named tuple's own constructor takes its fields one by one.
        rebuilt = getattr(output, "_make", type(output))
        return rebuilt([change(output[0]), *output[1:]])
    return change(output)
