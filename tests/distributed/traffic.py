"""What a stretch of code sends to other processes: each collective with its bytes."""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SPACES = ("c10d", "_c10d_functional", "c10d_functional")
NO_TRAFFIC = ("wait_tensor", "_wrap_tensor_autograd", "barrier")


class Traffic(TorchDispatchMode):
    """Keeps [name, bytes of the input] of each collective."""

    def __init__(self):
        super().__init__()
        self.collectives = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace in SPACES and not func._opname.startswith(NO_TRAFFIC):
            tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)]
            sent = min((t.numel() * t.element_size() for t in tensors), default=0)
            self.collectives.append([func._opname, sent])
        return func(*args, **(kwargs or {}))


@contextmanager
def recorded(run):
    """Traffic of a `Run`'s records, as {step: [[name, bytes], ...]}."""
    found = {}

    def watched(method):
        def call(*arguments):
            with Traffic() as traffic:
                method(*arguments)
            step = run.recorded_step if run.recorder.step is None else run.recorder.step
            found.setdefault(step, []).extend(traffic.collectives)

        return call

    run.begin, run.collect = watched(run.begin), watched(run.collect)
    yield found
    del run.begin, run.collect
