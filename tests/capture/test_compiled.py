"""Compiled models: hooks fire on due steps, nothing is compiled anew, no stance is left."""

from functools import cache
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import nn
from torch._dynamo import eval_frame
from torch._dynamo.utils import counters

from lightning_semgeom import SemanticGeometry
from tests import models


def graphs_compiled():
    """How many graphs dynamo has compiled since the last reset, recompilations included."""
    return counters["stats"]["unique_graphs"]


class Body(nn.Sequential):
    """A class of its own: torch skips the frames of its own modules, compiled in place."""

    def forward(self, x):
        return super().forward(x)


class Model(models.TinyModel):
    def __init__(self):
        super().__init__(dropout=0.0)
        self.body = Body(*self.body)

    def log(self, *arguments, **options):
        """Nothing: torch 2.13 cannot compile Lightning's own `log`."""


class CompiledInside(Model):
    def __init__(self, **options):
        super().__init__()
        self.body = torch.compile(self.body, **options)


def whole(backend):
    return torch.compile(Model(), backend=backend)


def inside(backend):
    return CompiledInside(backend=backend)


def fullgraph(backend):
    return CompiledInside(backend=backend, fullgraph=True)


def in_place(backend):
    model = Model()
    model.body.compile(backend=backend)
    return model


BOTH_DUE = 6  # in 0, 6 and 7; one of them in 2, 3 and 4; none in 1 and 5


def records(tmp_path, model, **options):
    callback = SemanticGeometry(
        models.table(), hidden=["body", "body.0"], every_n_steps=3, growth=None, **options
    )
    second = SemanticGeometry(
        models.table(), hidden="body", every_n_steps=2, growth=None, name="second"
    )
    trainer = models.trainer(tmp_path, callback, second, max_steps=8)
    trainer.fit(model, models.batches())
    return {record.step: dict(record.values) for record in callback.history}


@cache
def records_of_what_is_not_compiled(probe):
    with TemporaryDirectory() as folder:
        return records(folder, Model(), probe=probe)


@cache
def graphs_of_a_run_without_us(made, backend):
    forget_compiled()
    with TemporaryDirectory() as folder:
        models.trainer(folder, max_steps=4).fit(made(backend), models.batches())
    return graphs_compiled()


@pytest.fixture(autouse=True)
def _fresh_compiler():
    forget_compiled()
    yield
    forget_compiled()


def forget_compiled():
    torch.compiler.reset()
    counters.clear()


WAYS = [(whole, "eager"), (inside, "eager"), (fullgraph, "eager"), (in_place, "eager")]
INDUCTOR = pytest.param(fullgraph, "inductor", marks=pytest.mark.processes)  # a C++ compiler's


@pytest.mark.parametrize(("made", "backend"), [*WAYS, INDUCTOR])
@pytest.mark.parametrize("probe", [None, models.batches(2)], ids=["batch", "probe"])
def test_due_steps_are_captured_and_nothing_is_compiled_anew(tmp_path, made, backend, probe):
    found = records(tmp_path, made(backend), probe=probe)
    graphs = graphs_compiled()
    assert eval_frame._stance.stance == "default"
    expected = records_of_what_is_not_compiled(probe)
    assert found.keys() == expected.keys()
    for step, values in expected.items():
        rounding = 1e-5 if backend == "eager" else 1e-3  # of other kernels, over 8 steps
        assert found[step] == pytest.approx(values, abs=rounding, rel=rounding, nan_ok=True)
    assert graphs == graphs_of_a_run_without_us(made, backend) > 0


class Failing(CompiledInside):
    def training_step(self, batch, batch_idx):
        if batch_idx == BOTH_DUE:
            raise RuntimeError("the user's own")
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("stance", ["default", "eager_on_recompile"])
def test_after_an_exception_the_stance_is_what_it_was(tmp_path, stance):
    model = Failing(backend="eager")
    with torch.compiler.set_stance(stance):
        with pytest.raises(RuntimeError, match="the user's own"):
            records(tmp_path, model)
        assert eval_frame._stance.stance == stance
    assert not any(module._forward_hooks for module in model.modules())
