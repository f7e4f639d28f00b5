"""What is prepared on the host, sent to where the rows lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor


def moved(value: Any, device: torch.device) -> Any:
    """`value` with each tensor in it on `device`; nobody waits for the copies.

    Args:
        value: a tensor, a list, tuple or mapping of values, a dataclass of them with what it has
            cached, or anything without a tensor.
        device: where to.
    """
    if isinstance(value, Tensor):
        return sent(value, device)
    if isinstance(value, Mapping):
        return {key: moved(entry, device) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(moved(entry, device) for entry in value)
    if is_dataclass(value) and not isinstance(value, type):
        copy = object.__new__(type(value))
        vars(copy).update(moved(vars(value), device))
        return copy
    return value


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`, where nobody waits for the copy.

    From memory that the system may page out, CUDA copies only after all work queued before, and
    the host waits for it.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
