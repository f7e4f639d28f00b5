"""Products of fp32 matrices in fp32, whatever is allowed for the model around them.

`torch.set_float32_matmul_precision`, which Lightning advises users to lower, moves the effective
rank by 1e-4 where it acts, and an autocast moves it by 1e-2. Products in fp64 are safe from both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast on `device`, and neither TF32 nor bf16 in place of fp32, until it is left."""
    kept = [(backend, name, getattr(backend, name)) for backend, name, _ in _settings()]
    try:
        for backend, name, exact in _settings():
            setattr(backend, name, exact)
        with _without_autocast(device.type):
            yield
    finally:
        for backend, name, value in kept:
            setattr(backend, name, value)


def _without_autocast(kind: str) -> AbstractContextManager[Any]:
    if not torch.amp.is_autocast_available(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)


def _settings() -> list[tuple[Any, str, Any]]:
    """Where torch keeps what products of fp32 may be taken in, and what stands for fp32 there."""
    cuda: Any = torch.backends.cuda.matmul
    if not hasattr(cuda, "fp32_precision"):  # before torch 2.9
        return [(cuda, "allow_tf32", False)]
    cpu: Any = torch.backends.mkldnn
    return [(cuda, "fp32_precision", "ieee"), (cpu.matmul, "fp32_precision", "ieee")]
