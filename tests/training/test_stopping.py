import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from lightning_semgeom import SemanticGeometry, StopAfterPeak
from tests import models
from tests.models import StagedModel


def geometry(**options):
    return SemanticGeometry(StagedModel.table(), every_n_steps=4, growth=None, **options)


def keeper(folder, monitor="semgeom/gap", **options):
    return ModelCheckpoint(
        folder, **({"monitor": monitor, "mode": "max", "every_n_train_steps": 1} | options)
    )


def fit(folder, *callbacks, steps=150, ckpt_path=None, **options):
    trainer = models.trainer(
        folder, *callbacks, max_steps=steps, enable_checkpointing=True, **options
    )
    model = StagedModel()
    trainer.fit(model, DataLoader(torch.zeros(200)), ckpt_path=ckpt_path)
    return trainer, model


@pytest.mark.parametrize(
    ("options", "monitor"),
    [
        ({}, "semgeom/gap"),
        ({"attribute": "colour"}, "semgeom_unembedding/gap/colour"),
        ({"site": "unembedding"}, "semgeom_unembedding/gap"),
    ],
)
def test_training_ends_past_the_peak_and_the_weights_of_the_peak_are_back(
    tmp_path, options, monitor
):
    semgeom = geometry()
    stop = StopAfterPeak(**options)
    trainer, model = fit(tmp_path, semgeom, stop, keeper(tmp_path, monitor))
    peak = semgeom.mean_phases["unembedding"].peak_step
    assert StagedModel.PEAK - 2 <= peak <= StagedModel.PEAK + 2
    assert peak < trainer.global_step < 60
    assert torch.equal(model.lm_head.weight, model.head_at(peak))
    # What SemanticGeometry saw last are the weights that training ended with.
    assert semgeom.history.records[-1].step == trainer.global_step


def test_the_gap_has_fallen_by_what_was_asked_for(tmp_path):
    ends = {}
    for drop in (0.0, 0.1, 0.5):
        semgeom = geometry()
        trainer, _ = fit(tmp_path, semgeom, StopAfterPeak(min_drop=drop, restore_peak=False))
        detector = semgeom.mean_phases["unembedding"]
        assert detector.average_gap <= (1 - drop) * detector.peak_gap
        ends[drop] = trainer.global_step
    assert ends[0.0] <= ends[0.1] < ends[0.5]


def test_without_restoring_the_weights_are_those_it_ended_with(tmp_path):
    trainer, model = fit(tmp_path, geometry(), StopAfterPeak(restore_peak=False))
    assert torch.equal(model.lm_head.weight, model.head_at(trainer.global_step))


def test_where_no_peak_is_confirmed_training_goes_on_and_the_last_weights_stay(tmp_path):
    trainer, model = fit(tmp_path, geometry(), StopAfterPeak(), keeper(tmp_path), steps=18)
    assert trainer.global_step == 18
    assert torch.equal(model.lm_head.weight, model.head_at(18))


def test_a_peak_is_put_back_where_something_else_ended_the_run(tmp_path):
    semgeom = geometry()
    stop = StopAfterPeak(min_drop=0.9)
    trainer, model = fit(tmp_path, semgeom, stop, keeper(tmp_path), steps=40)
    assert trainer.global_step == 40
    peak = semgeom.mean_phases["unembedding"].peak_step
    assert torch.equal(model.lm_head.weight, model.head_at(peak))


def test_the_minimum_of_steps_is_kept(tmp_path):
    stop = StopAfterPeak(restore_peak=False)
    trainer, _ = fit(tmp_path, geometry(), stop, steps=80, min_steps=70, min_epochs=0)
    assert trainer.global_step == 70


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before")
def test_a_resumed_run_ends_at_the_same_step_with_the_same_weights(tmp_path):
    def run(folder, steps, ckpt_path=None):
        callbacks = geometry(), StopAfterPeak(), keeper(tmp_path / "kept" / folder)
        last = ModelCheckpoint(tmp_path / folder, filename="half", every_n_train_steps=24)
        return fit(tmp_path / folder, *callbacks, last, steps=steps, ckpt_path=ckpt_path)

    whole, expected = run("whole", 150)
    run("parts", 24)
    resumed, model = run("parts", 150, tmp_path / "parts" / "half.ckpt")
    assert resumed.global_step == whole.global_step
    assert torch.equal(model.lm_head.weight, expected.lm_head.weight)


def test_a_checkpoint_of_another_moment_is_told_and_left_alone(tmp_path):
    kept = keeper(tmp_path)
    semgeom = geometry()

    class Meddling(ModelCheckpoint):
        def on_train_end(self, trainer, pl_module):
            kept.best_model_score = torch.tensor(0.9)

    with pytest.warns(UserWarning, match="It is of another moment"):
        trainer, model = fit(tmp_path, semgeom, StopAfterPeak(), kept, Meddling(tmp_path / "x"))
    assert torch.equal(model.lm_head.weight, model.head_at(trainer.global_step))


def test_a_checkpoint_that_is_gone_is_told_and_the_last_weights_stay(tmp_path):
    kept = keeper(tmp_path)

    class Deleting(ModelCheckpoint):
        def on_train_end(self, trainer, pl_module):
            Path(kept.best_model_path).unlink()

    with pytest.warns(UserWarning, match="could not be put back from .*FileNotFoundError"):
        trainer, model = fit(tmp_path, geometry(), StopAfterPeak(), kept, Deleting(tmp_path / "x"))
    assert torch.equal(model.lm_head.weight, model.head_at(trainer.global_step))


def test_a_fast_development_run_needs_no_checkpoint(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(tmp_path, geometry(), StopAfterPeak(), fast_dev_run=True)


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (lambda folder: [StopAfterPeak()], "there is none"),
        (lambda folder: [geometry(name="other"), StopAfterPeak()], "are called other"),
        (lambda folder: [StopAfterPeak(), geometry()], "put it after the SemanticGeometry"),
        (lambda folder: [geometry(), StopAfterPeak(site="embedding")], "Sites: unembedding"),
        (lambda folder: [geometry(), StopAfterPeak(attribute="size")], "attributes: colour"),
        (lambda folder: [geometry(), StopAfterPeak()], r"monitor='semgeom/gap', mode='max'"),
        (
            lambda folder: [geometry(), StopAfterPeak(), keeper(folder, mode="min")],
            "keeps the weights of the peak",
        ),
        (
            lambda folder: [geometry(), StopAfterPeak(), keeper(folder, every_n_train_steps=2)],
            "every_n_train_steps=1",
        ),
        (
            lambda folder: [geometry(), StopAfterPeak(attribute="colour"), keeper(folder)],
            r"monitor='semgeom_unembedding/gap/colour'",
        ),
    ],
)
def test_what_cannot_work_is_told_before_training_starts(tmp_path, callbacks, message):
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, *callbacks(tmp_path))


@pytest.mark.parametrize("min_drop", [-0.1, 1.0])
def test_a_drop_out_of_range_is_an_error(min_drop):
    with pytest.raises(ValueError, match="min_drop must lie in"):
        StopAfterPeak(min_drop=min_drop)
