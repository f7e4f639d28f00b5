"""A run that ended badly goes on from its last checkpoint as if nothing had been."""

import dataclasses
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from torch._dynamo import eval_frame

from lightning_semgeom import History
from tests import interrupted, models
from tests.warm import python


@pytest.fixture(scope="module", params=["training", "probe"])
def source(request):
    """Where hidden states come from."""
    return request.param


@pytest.fixture(scope="module")
def whole(tmp_path_factory, source):
    """A run that was never interrupted: its callbacks, and pictures by (name, site, step)."""
    folder = tmp_path_factory.mktemp("whole")
    callbacks = interrupted.run(folder, source)
    pictures = {}
    for callback in callbacks:
        written = History.load(folder / callback.name)
        for record in written:
            for site in record.pictures:
                pictures[callback.name, site, record.step] = written.picture(site, record.step)
    return SimpleNamespace(callbacks=callbacks, pictures=pictures)


def assert_same_run(folder, callbacks, whole):
    """History on disk and in memory, phases and pictures are those of the whole run."""
    compared = 0
    for ours, other in zip(callbacks, whole.callbacks, strict=True):
        read = History.load(folder / other.name)
        steps = [record.step for record in other.history]
        assert [r.step for r in read] == [r.step for r in ours.history] == steps
        assert steps[-1] == interrupted.STEPS
        for found, kept, record in zip(read, ours.history, other.history, strict=True):
            assert found.values == pytest.approx(dict(record.values), nan_ok=True, abs=0)
            assert kept.values == pytest.approx(dict(record.values), nan_ok=True, abs=0)
            assert found.pictures == record.pictures
            for site in record.pictures:
                one = read.picture(site, record.step)
                expected = whole.pictures[other.name, site, record.step]
                for field in dataclasses.fields(one):
                    np.testing.assert_array_equal(
                        getattr(one, field.name), getattr(expected, field.name)
                    )
                compared += 1
        for key, detector in other.phases.items():
            assert ours.phases[key].state_dict() == detector.state_dict()
    assert compared == len(whole.pictures) > 0


def kill(folder, source):
    done = python("-m", "tests.interrupted", folder, "kill", source)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.processes
def test_after_kill_9_the_run_goes_on_as_if_it_had_never_stopped(tmp_path, whole, source):
    kill(tmp_path, source)
    file = tmp_path / "semgeom" / "history.jsonl"
    left = History.load(file)
    assert left.records[-1].step > 6  # more than the checkpoint has
    file.write_text(file.read_text()[:-20])  # as it is cut in the middle of a line
    with pytest.warns(UserWarning, match=rf"the cut last line {len(left)} was dropped"):
        assert len(History.load(file)) == len(left) - 1
    callbacks = interrupted.run(tmp_path, source, ckpt_path="last", weights_only=True)
    assert_same_run(tmp_path, callbacks, whole)


def end_by(how, folder, source):
    """The trainer and model of a run that ended so."""
    trainer, callbacks = interrupted.job(folder, source)
    model = interrupted.EndingModel(how)
    with pytest.raises({"interrupt": SystemExit, "error": ArithmeticError}[how]):
        trainer.fit(model, models.Resumable(models.batches(interrupted.EPOCH)))
    return trainer, callbacks, model


@pytest.fixture
def _ctrl_c():
    """Lightning ignores it once it has been pressed."""
    kept = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, kept)


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("how", ["interrupt", "error"])
def test_an_interrupted_run_leaves_nothing_behind_and_goes_on(tmp_path, how, whole, source):
    _, _, model = end_by(how, tmp_path, source)
    for module in model.modules():
        assert not module._forward_hooks
        assert "forward" not in vars(module)
        assert "predict_step" not in vars(module)
    assert eval_frame._stance.stance == "default"
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    callbacks = interrupted.run(tmp_path, source, ckpt_path="last")
    assert_same_run(tmp_path, callbacks, whole)


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("how", ["interrupt", "error"])
def test_the_same_trainer_and_model_can_fit_again(tmp_path, how):
    trainer, callbacks, model = end_by(how, tmp_path, "training")
    before = [record.step for record in callbacks[0].history]
    trainer.fit(model, models.Resumable(models.batches(interrupted.EPOCH)))
    steps = [record.step for record in callbacks[0].history]
    assert steps[: len(before)] == before
    assert steps == sorted(set(steps))
    assert steps[-1] == trainer.global_step == interrupted.STEPS
    assert [record.step for record in History.load(tmp_path / "semgeom")] == steps
