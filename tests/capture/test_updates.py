"""The x of a record counts the updates that the weights have had, however they came."""

import warnings

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from torch import nn

from lightning_semgeom import SemanticGeometry, analyze
from tests import models

EACH_STEP = {"every_n_steps": 1, "growth": None}  # without the pictures of early steps


class ByHand(models.TinyModel):
    """Steps its optimizers by hand, as `pattern` says: for each batch how often each of them."""

    def __init__(self, *pattern, wrapped=True):
        super().__init__(dropout=0.0)
        self.automatic_optimization = False
        self.pattern = pattern
        self.wrapped = wrapped
        self.steps = [0 for _ in pattern[0]]

    def training_step(self, batch, batch_idx):
        self.manual_backward(super().training_step(batch, batch_idx) / 4)
        optimizers = self.optimizers(use_pl_optimizer=self.wrapped)
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        for index, times in enumerate(self.pattern[batch_idx % len(self.pattern)]):
            for _ in range(times):
                optimizers[index].step()
                self.steps[index] += 1
        if any(self.pattern[batch_idx % len(self.pattern)]):
            for optimizer in optimizers:
                optimizer.zero_grad()

    def configure_optimizers(self):
        parts = [[self.lm_head.weight], [*self.body.parameters(), *self.embed.parameters()]]
        if len(self.pattern[0]) == 1:
            return torch.optim.SGD(self.parameters(), lr=0.1)
        return [torch.optim.SGD(part, lr=0.1) for part in parts]


def records(tmp_path, model, *callbacks, batches=8, **options):
    callback = SemanticGeometry(models.table(), **(EACH_STEP | options))
    trainer = models.trainer(tmp_path, callback, *callbacks, max_steps=-1, max_epochs=1)
    trainer.fit(model, models.batches(batches))
    return [record.step for record in callback.history], trainer


@pytest.mark.parametrize(
    ("pattern", "steps"),
    [
        ([(1,)], [0, 1, 2, 3, 4]),
        ([(0,), (0,), (0,), (1,)], [0, 1, 2]),
        ([(0,), (1,)], [0, 1, 2]),
        ([(3,)], [0, 3, 6, 9, 12]),
        ([(1, 1)], [0, 1, 2, 3, 4]),
        ([(1, 0), (0, 1)], [0, 1, 2, 3, 4]),
        ([(2, 1)], [0, 2, 4, 6, 8]),
        ([(0, 0), (1, 1)], [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("wrapped", [True, False])
def test_updates_by_hand_are_counted_where_they_happen(tmp_path, pattern, steps, wrapped):
    batches = max(4, 2 * len(pattern))
    assert records(tmp_path, ByHand(*pattern, wrapped=wrapped), batches=batches)[0] == steps


def test_a_capture_that_comes_due_among_several_updates_of_a_batch_is_taken(tmp_path):
    steps, _ = records(tmp_path, ByHand((3,)), batches=20, every_n_steps=10)
    assert steps == [0, 12, 21, 30, 42, 51, 60]


@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization")
def test_accumulation_by_hand_agrees_with_the_checkpoints_of_the_run(tmp_path):
    keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    callback = SemanticGeometry(models.table(), **EACH_STEP)
    trainer = models.trainer(
        tmp_path, callback, keep, max_steps=-1, max_epochs=1, enable_checkpointing=True
    )
    trainer.fit(ByHand((0,), (0,), (0,), (1,)), models.batches(16))
    live = {r.step: r.values["semgeom/gap"] for r in callback.history}
    kept = {r.step: r.values["semgeom/gap"] for r in analyze(tmp_path, models.table())}
    assert list(live) == [0, 1, 2, 3, 4]
    assert kept == pytest.approx({step: live[step] for step in (1, 2, 3, 4)}, abs=1e-6)


def test_steps_that_a_gradient_scaler_skips_are_no_updates(tmp_path):
    class Scaled(ByHand):
        """Its gradients overflow in the batches 0, 1 and 4."""

        def __init__(self):
            super().__init__((1,))
            self.scaler = torch.amp.GradScaler("cpu", growth_interval=1000)

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers(use_pl_optimizer=False)
            loss = models.TinyModel.training_step(self, batch, batch_idx)
            self.scaler.scale(loss * (torch.inf if batch_idx in (0, 1, 4) else 1.0)).backward()
            self.scaler.step(optimizer)
            self.scaler.update()
            optimizer.zero_grad()

    steps, _ = records(tmp_path, Scaled())
    assert steps == [0, 1, 2, 3, 4, 5]


def test_an_optimizer_that_comes_in_the_place_of_another_is_followed(tmp_path):
    class Exchanging(models.TinyModel):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if batch_idx == 4:
                self.trainer.strategy.optimizers = [torch.optim.SGD(self.parameters(), lr=0.1)]

    assert records(tmp_path, Exchanging())[0] == list(range(9))


def test_without_an_optimizer_that_lightning_knows_batches_are_counted(tmp_path):
    class Own(models.TinyModel):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.own = [torch.optim.SGD(self.parameters(), lr=0.1)]

        def training_step(self, batch, batch_idx):
            self.manual_backward(super().training_step(batch, batch_idx))
            self.own[0].step()
            self.own[0].zero_grad()

        def configure_optimizers(self):
            return None

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*configure_optimizers.* returned `None`")
        assert records(tmp_path, Own())[0] == list(range(9))


class Crashing(models.TinyModel):
    def __init__(self, at=None):
        super().__init__(dropout=0.0)
        self.at = at

    def training_step(self, batch, batch_idx):
        if self.at is not None and self.trainer.global_step == self.at:
            raise RuntimeError("CRASH")
        return super().training_step(batch, batch_idx)


@pytest.mark.filterwarnings("ignore:.*fit.ckpt_path=")  # Lightning, of this callback
@pytest.mark.parametrize("had_callback", [True, False])
def test_a_run_that_goes_on_after_a_crash_counts_as_its_checkpoint_does(tmp_path, had_callback):
    class Count(pl.Callback):
        def on_train_end(self, trainer, pl_module):
            state = trainer.optimizers[0].state[pl_module.lm_head.weight]
            self.updates = int(state["step"])

    def callbacks(callback):
        return [OnExceptionCheckpoint(tmp_path), *([callback] if callback else [])]

    first = SemanticGeometry(models.table(), **EACH_STEP) if had_callback else None
    with pytest.raises(RuntimeError, match="CRASH"):
        models.trainer(tmp_path, *callbacks(first), max_steps=12, enable_checkpointing=True).fit(
            Crashing(5), models.Resumable(models.batches(4))
        )
    callback, count = SemanticGeometry(models.table(), **EACH_STEP), Count()
    trainer = models.trainer(
        tmp_path, *callbacks(callback), count, max_steps=12, enable_checkpointing=True
    )
    trainer.fit(
        Crashing(), models.Resumable(models.batches(4)), ckpt_path=tmp_path / "on_exception.ckpt"
    )
    steps = [record.step for record in callback.history]
    assert steps[-1] == count.updates == trainer.global_step == 12
    assert steps == list(range(0 if had_callback else 5, 13))


def test_the_count_goes_on_in_a_second_fit_and_in_a_resumed_one(tmp_path):
    keep = ModelCheckpoint(tmp_path, save_last=True)
    callback = SemanticGeometry(models.table(), **EACH_STEP)
    model = ByHand((0,), (1,))
    trainer = models.trainer(
        tmp_path, callback, keep, max_steps=-1, max_epochs=1, enable_checkpointing=True
    )
    trainer.fit(model, models.batches(6))
    trainer.fit_loop.max_epochs = 2
    trainer.fit(model, models.batches(6))
    assert [record.step for record in callback.history] == list(range(7))
    resumed = SemanticGeometry(models.table(), **EACH_STEP)
    again = ModelCheckpoint(tmp_path, save_last=True)
    models.trainer(
        tmp_path, resumed, again, max_steps=-1, max_epochs=3, enable_checkpointing=True
    ).fit(ByHand((0,), (1,)), models.batches(6), ckpt_path=keep.last_model_path)
    assert [record.step for record in resumed.history] == list(range(10))


def test_after_a_fit_no_hook_is_left_on_the_optimizers(tmp_path):
    _, trainer = records(tmp_path, models.TinyModel())
    assert trainer.optimizers[0]._optimizer_step_post_hooks == {}
    trainer = models.trainer(tmp_path, SemanticGeometry(models.table()))
    with pytest.raises(RuntimeError, match="CRASH"):
        trainer.fit(Crashing(2), models.batches())
    assert trainer.optimizers[0]._optimizer_step_post_hooks == {}


def test_a_compiled_optimizer_step_is_counted_and_compiled_no_oftener(tmp_path, monkeypatch):
    # What torch answers on a CPU too, after it has imported its default compiler for 2 s.
    answer = "torch._dynamo.variables.optimizer._is_static_for_cudagraphs"
    monkeypatch.setattr(answer, lambda gradient: True)

    class Compiled(models.TinyModel):
        def __init__(self):
            super().__init__(dropout=0.0)
            self.automatic_optimization = False
            self.graphs = 0
            self.compiled = None

        def count(self, graph, inputs):
            self.graphs += 1
            return graph

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers(use_pl_optimizer=False)
            self.compiled = self.compiled or torch.compile(optimizer.step, backend=self.count)
            self.manual_backward(super().training_step(batch, batch_idx))
            self.compiled()
            optimizer.zero_grad()

        def configure_optimizers(self):
            # One parameter: a compiler reads through the step of each of them.
            return torch.optim.SGD([self.lm_head.weight], lr=0.1)

    torch._dynamo.reset()
    plain = Compiled()
    models.trainer(tmp_path / "plain", max_steps=-1, max_epochs=1).fit(plain, models.batches(8))
    torch._dynamo.reset()
    model = Compiled()
    steps, _ = records(tmp_path, model, batches=8)
    assert steps == list(range(9))
    assert model.graphs == plain.graphs > 0
    assert nn.utils.parameters_to_vector(model.parameters()).equal(
        nn.utils.parameters_to_vector(plain.parameters())
    )
