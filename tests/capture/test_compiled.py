"""Compiled models: hidden states come out of compiled code, of which there are two variants."""

from functools import cache
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import nn
from torch._dynamo import eval_frame
from torch.utils.checkpoint import checkpoint

from lightning_semgeom import SemanticGeometry
from lightning_semgeom.capture.taps import _switch
from tests import models


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


class Counted:
    """A backend that counts what it compiles of a model, and how often that runs.

    A tap on the very module that is compiled is code of its own, which copies its output.
    """

    def __init__(self):
        self.graphs = self.calls = 0

    def __call__(self, graph, inputs):
        if not any("linear" in str(node.target) for node in graph.graph.nodes):
            return graph.forward
        self.graphs += 1

        def run(*arguments):
            self.calls += 1
            return graph.forward(*arguments)

        return run


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


class Checkpointed(Model):
    """Its body is computed again in the backward."""

    def forward(self, batch):
        return self.lm_head(checkpoint(self.body, self.embed(batch["x"]), use_reentrant=False))


class CheckpointedInside(Checkpointed):
    """Here the checkpoint itself is not compiled."""

    def __init__(self, **options):
        super().__init__()
        self.body = torch.compile(self.body, **options)


def checkpointed(backend):
    model = Checkpointed()
    model.forward = torch.compile(model.forward, backend=backend, fullgraph=True)
    return model


def checkpoint_outside(backend):
    return CheckpointedInside(backend=backend)


def dynamic(backend):
    return CompiledInside(backend=backend, dynamic=True)


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
def counted_without_us(made):
    """The backend, and the weights that were trained."""
    forget_compiled()
    with TemporaryDirectory() as folder:
        backend = Counted()
        model = made(backend)
        models.trainer(folder, max_steps=8).fit(model, models.batches())
    return backend, weights_of(model)


def weights_of(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    forget_compiled()
    yield
    forget_compiled()


def forget_compiled():
    torch.compiler.reset()


WAYS = [whole, fullgraph, dynamic, in_place, checkpointed, checkpoint_outside]
PROBE = models.batches(2)


def assert_same_records(found, probe, rounding=1e-5):
    expected = records_of_what_is_not_compiled(probe)
    assert found.keys() == expected.keys()
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, abs=rounding, rel=rounding, nan_ok=True)


@pytest.mark.parametrize(
    ("made", "probe"),
    [*((way, None) for way in WAYS), (fullgraph, PROBE)],
)
def test_all_is_as_it_is_without_us_and_every_step_runs_compiled(tmp_path, made, probe):
    backend = Counted()
    model = made(backend)
    assert_same_records(records(tmp_path, model, probe=probe), probe)
    assert eval_frame._stance.stance == "default"
    without, weights = counted_without_us(made)
    assert all(map(torch.equal, weights_of(model), weights))
    if probe is None:
        assert backend.graphs == 2 * without.graphs > 0
        assert backend.calls == without.calls >= 8
    else:  # a probe has a variant of its own, in eval mode; the other callback reads the batch
        assert backend.graphs == 3 * without.graphs
        assert backend.calls > without.calls


@pytest.mark.processes  # a C++ compiler's
@pytest.mark.parametrize("probe", [None, PROBE], ids=["batch", "probe"])
def test_hidden_states_are_right_in_code_of_the_default_compiler(tmp_path, probe):
    found = records(tmp_path, fullgraph("inductor"), probe=probe)
    assert_same_records(found, probe, rounding=1e-3)  # of other kernels, over 8 steps


def test_both_variants_are_compiled_by_the_first_step_that_is_not_due(tmp_path):
    backend, graphs = Counted(), []

    class Counting(models.pl.Callback):
        def on_train_batch_end(self, *_):
            graphs.append(backend.graphs)

    callback = SemanticGeometry(models.table(), hidden="body.0", every_n_steps=3, growth=None)
    trainer = models.trainer(tmp_path, callback, Counting(), max_steps=8)
    trainer.fit(CompiledInside(backend=backend, fullgraph=True), models.batches())
    assert graphs == [1] + [2] * 7
    assert [record.step for record in callback.history] == [0, 3, 6, 7, 8]


@pytest.mark.processes
def test_weights_are_those_of_a_run_without_us_in_code_of_the_default_compiler(tmp_path):
    found = []
    for callbacks in ([], [SemanticGeometry(models.table(), hidden=["body", "body.0"])]):
        model = fullgraph("inductor")
        models.trainer(tmp_path, *callbacks, max_steps=8).fit(model, models.batches())
        found.append(weights_of(model))
        forget_compiled()
    assert all(map(torch.equal, *found))


class Twice(CompiledInside):
    """A module that is called twice in a step: the second time with other inputs."""

    def forward(self, batch):
        embedded = self.embed(batch["x"])
        return self.lm_head(self.body(embedded) + self.body(2 * embedded))


class TwiceEager(Model):
    forward = Twice.forward


def test_of_two_calls_the_first_counts(tmp_path):
    found = records(tmp_path / "compiled", Twice(backend="eager"))
    expected = records(tmp_path / "eager", TwiceEager())
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, abs=1e-5, rel=1e-5, nan_ok=True)


def test_what_was_compiled_before_is_told_and_runs_eagerly(tmp_path):
    backend = Counted()
    model = CompiledInside(backend=backend, fullgraph=True)
    model(next(iter(models.batches()))).sum().backward()
    model.zero_grad()
    with pytest.warns(UserWarning, match="compiled code|figures are missing") as told:
        found = records(tmp_path, model)
    ways = [w for w in told if "hidden states of compiled code" in str(w.message)]
    assert len(ways) == 1  # a tap on the very module that is compiled is no part of its code
    assert "hidden.body.0 gave nothing: compiled before, or not called" in str(ways[0].message)
    expected = records_of_what_is_not_compiled(None)
    for step in (3, 6, 7, 8):
        assert found[step] == pytest.approx(expected[step], abs=1e-5, rel=1e-5, nan_ok=True)
    assert backend.graphs == 1


def test_where_torch_cannot_tap_the_eager_way_is_told_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_semgeom.capture.capture.allows_checkpoints", lambda: False)
    backend = Counted()
    with pytest.warns(UserWarning, match="cannot tap compiled code: a step whose hidden states"):
        assert_same_records(records(tmp_path, inside(backend)), None)
    assert backend.graphs == counted_without_us(inside)[0].graphs


def test_a_tap_that_the_compiler_refuses_is_told_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_semgeom.capture.taps._ALLOWS_CHECKPOINTS", "verbose")
    with pytest.warns(UserWarning, match="compiled code|figures are missing") as told:
        found = records(tmp_path, checkpointed("eager"))
    assert any("since the compiler does not take it" in str(w.message) for w in told)
    expected = records_of_what_is_not_compiled(None)
    assert found[7] == pytest.approx(expected[7], abs=1e-5, rel=1e-5, nan_ok=True)


def test_a_model_that_is_not_compiled_has_no_hook_between_captures(tmp_path):
    hooks = []

    class Looking(models.pl.Callback):
        def on_train_batch_end(self, trainer, model, *_):
            hooks.append(sum(len(module._forward_hooks) for module in model.modules()))
            assert "training_step" not in vars(model)

    callback = SemanticGeometry(models.table(), hidden="body", every_n_steps=3, growth=None)
    models.trainer(tmp_path, callback, Looking(), max_steps=8).fit(Model(), models.batches())
    assert hooks == [0] * 8


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
    assert "training_step" not in vars(model)
    assert not _switch.is_open
