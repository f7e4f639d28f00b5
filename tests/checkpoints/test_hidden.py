"""Hidden states through checkpoints are those that snapshot has of the same weights."""

import math

import pytest
import torch
import torch.distributed.checkpoint as dcp
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lightning_semgeom import analyze, snapshot
from lightning_semgeom.checkpoints.hidden import layers_of
from tests import models

BATCHES = [*models.batches(3)]
HIDDEN = ["body", "body.0"]


def stored(folder, seeds=(0, 1, 2), **beside):
    """A checkpoint of a TinyModel for each step; answers with the models by step."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {step: models.TinyModel(seed) for step, seed in enumerate(seeds)}
    for step, model in made.items():
        torch.save({"state_dict": {**model.state_dict(), **beside}}, folder / f"step={step}.ckpt")
    return made


def measured(folder, **more):
    asked = {"build": models.TinyModel, "hidden": HIDDEN, "data": BATCHES}
    return analyze(folder, models.table(), **{**asked, **more})


def assert_same(found, expected, keys):
    keys = [*keys]
    assert keys
    for key in keys:
        ours, theirs = found[key], expected[key]
        assert ours == theirs or (math.isnan(ours) and math.isnan(theirs)), key


def of_sites(values, sites):
    """Keys of the figures of sites, without those that need more than one look."""
    phases = ("onset_step", "peak_step", "collapse_step")
    return [
        key
        for key in values
        if any(key.startswith(f"semgeom_{site}/") for site in sites)
        and key.split("/")[1] not in phases
    ]


def assert_snapshots(history, made, data=BATCHES, hidden=HIDDEN, table=None):
    """Hidden figures of each step are those of a snapshot of its model, to the bit."""
    assert [record.step for record in history] == [*made]
    table = models.table() if table is None else table
    for record in history:
        look = snapshot(made[record.step], table, hidden=hidden, data=data)
        sites = [site for site in look.sites if site.startswith("hidden.")]
        assert [site for site in history.sites if site.startswith("hidden.")] == sites
        assert_same(record.values, look.figures, of_sites(record.values, sites))


def assert_weight_as_without(history, plain):
    for ours, theirs in zip(history, plain, strict=True):
        assert_same(ours.values, theirs.values, theirs.values)


def test_figures_are_those_of_snapshot_and_the_weight_s_those_without_hidden(tmp_path):
    made = stored(tmp_path)
    history = measured(tmp_path)
    assert history.sites == ["unembedding", "hidden.body", "hidden.body.0"]
    assert_snapshots(history, made)
    assert_weight_as_without(history, analyze(tmp_path, models.table()))


def test_a_generator_is_read_once_for_all_checkpoints(tmp_path):
    made = stored(tmp_path)
    assert_snapshots(measured(tmp_path, data=iter(BATCHES)), made)


def test_random_generators_and_given_batches_are_as_they_were(tmp_path):
    stored(tmp_path)
    loader = torch.utils.data.DataLoader(models.batches(2).dataset, batch_size=4, shuffle=True)
    built = models.TinyModel()  # before: building is the user's
    state = torch.get_rng_state()
    measured(tmp_path, data=loader, build=lambda: built)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_checkpoints_of_a_trainer(tmp_path):
    saving = ModelCheckpoint(tmp_path / "run", every_n_train_steps=3, save_top_k=-1)
    trainer = models.trainer(tmp_path, saving, max_steps=9, enable_checkpointing=True)
    trainer.fit(models.TinyModel(), models.batches())
    made = {}
    for file in (tmp_path / "run").glob("*.ckpt"):
        saved = torch.load(file, weights_only=True)
        made[saved["global_step"]] = model = models.TinyModel()
        model.load_state_dict(saved["state_dict"])
    assert_snapshots(measured(tmp_path / "run"), dict(sorted(made.items())))


def test_a_sharded_folder(tmp_path):
    made = {step: models.TinyModel(step) for step in (1, 2)}
    for step, model in made.items():
        with pytest.warns(UserWarning, match="intent is to save in a single process"):
            dcp.save(model.state_dict(), checkpoint_id=tmp_path / f"step-{step}", no_dist=True)
    assert_snapshots(measured(tmp_path), made)


class Inner(nn.Module):
    """What a TinyModel has, under a name of its own, with a counter of no dimension."""

    def __init__(self, seed=0):
        super().__init__()
        self.net = models.TinyModel(seed)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, batch):
        return self.net(batch)


@pytest.mark.parametrize("prefix", ["", "model.", "module._orig_mod."])
def test_names_may_have_one_beginning_that_the_model_has_not(tmp_path, prefix):
    made = Inner(3)
    made.norm.num_batches_tracked += 5
    state = {f"{prefix}{name}": tensor for name, tensor in made.state_dict().items()}
    torch.save(state, tmp_path / "step-1.pt")
    built = Inner()
    hidden = ["net.body"]
    history = measured(tmp_path, build=lambda: built, hidden=hidden)
    assert_snapshots(history, {1: made}, hidden=hidden)
    assert built.norm.num_batches_tracked == 5


def test_names_may_lack_the_beginning_that_the_model_s_have(tmp_path):
    made = stored(tmp_path)
    history = measured(tmp_path, build=lambda: Around(models.TinyModel()), hidden=["net.body"])
    for record in history:
        look = snapshot(
            Around(made[record.step]), models.table(), hidden=["net.body"], data=BATCHES
        )
        keys = of_sites(record.values, ["hidden.net.body"])
        assert_same(record.values, look.figures, keys)


class Around(nn.Module):
    """Holds a model as `net`."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, batch):
        return self.net(batch)


def fault(tmp_path, **more):
    """What is told of a checkpoint that does not fit, which is the only one."""
    with pytest.raises(ValueError, match="no checkpoint could be measured") as told:
        measured(tmp_path, **more)
    return str(told.value)


def resaved(file, change):
    """Save a state dict anew, as `change` has made it."""
    state = torch.load(file, weights_only=True)["state_dict"]
    change(state)
    torch.save({"state_dict": state}, file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("body.0.bias"), "it lacks 'body.0.bias' of the TinyModel that was built."),
        (
            lambda s: s.update({"body.0.bias": torch.ones(3)}),
            "it is of another model: 'body.0.bias' is [3] and not [8].",
        ),
        (
            lambda s: s.update({"body.0.weight": torch.ones(8, 8, dtype=torch.int8)}),
            "'body.0.weight' [8, 8] is torch.int8; expected floats of 16 bits or more.",
        ),
        (
            lambda s: s.update({"body.0.weight": torch.ones(8, 8, dtype=torch.float8_e4m3fn)}),
            "'body.0.weight' [8, 8] is torch.float8_e4m3fn; expected floats",
        ),
        (
            lambda s: s.update({f"teacher.{name}": tensor for name, tensor in [*s.items()]}),
            "its names fit the model in 2 ways, as in",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused_and_the_rest_goes_on(tmp_path, change, message):
    made = stored(tmp_path)
    resaved(tmp_path / "step=1.ckpt", change)
    asked = {"tensor": "lm_head.weight"}
    with pytest.warns(UserWarning, match="step=1.ckpt: ") as warned:
        history = measured(tmp_path, **asked)
    (told,) = [str(one.message) for one in warned]
    assert message in told
    del made[1]
    assert_snapshots(history, made)


def test_a_teacher_and_a_student_are_both_named(tmp_path):
    state = models.TinyModel().state_dict()
    both = {f"{who}.{n}": t for who in ("teacher", "student") for n, t in state.items()}
    torch.save(both, tmp_path / "step-1.pt")
    told = fault(tmp_path, tensor="student.lm_head")
    assert "'teacher.embed.weight' and 'student.embed.weight'" in told


def test_matrices_without_a_place_are_told_once(tmp_path):
    made = stored(tmp_path, extra=torch.ones(3, 4), counter=torch.tensor(3), line=torch.ones(5))
    with pytest.warns(UserWarning, match="have 'extra', which the model that was built") as warned:
        history = measured(tmp_path)
    assert len(warned) == 1
    assert_snapshots(history, made)


class Tied(models.TinyModel):
    def __init__(self, seed=0):
        super().__init__(seed)
        self.lm_head.weight = self.embed.weight


def test_what_the_model_ties_may_be_absent_and_must_not_differ(tmp_path):
    made = Tied(4)
    state = made.state_dict()
    torch.save(state, tmp_path / "step-1.pt")
    assert_snapshots(measured(tmp_path, build=Tied), {1: made})
    del state["embed.weight"]
    torch.save(state, tmp_path / "step-1.pt")
    assert_snapshots(measured(tmp_path, build=Tied), {1: made})
    torch.save(models.TinyModel().state_dict(), tmp_path / "step-1.pt")
    told = fault(tmp_path, build=Tied)
    assert "'embed.weight' and 'lm_head.weight' differ" in told
    assert "build it with the two untied" in told


class Layered(nn.Module):
    """Layers whose experts are more than they are."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(models.TOKENS, models.WIDTH)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"experts": nn.ModuleList(nn.Identity() for _ in range(5))})
            for _ in range(3)
        )
        self.heads = nn.ModuleList([nn.Identity()])


def test_the_layers_are_the_longest_list_that_is_in_no_other():
    assert layers_of(Layered()) == ["blocks.*"]
    both = nn.ModuleDict({"encoder": Layered(), "decoder": Layered()})
    assert layers_of(both) == ["encoder.blocks.*", "decoder.blocks.*"]


def test_a_model_without_layers_asks_for_names(tmp_path):
    stored(tmp_path)
    with pytest.raises(ValueError, match=r"no ModuleList of layers.*hidden=\['...'\].*'body'"):
        measured(tmp_path, hidden=())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"hidden": "body"}, "build=function and data=.*no build and no data"),
        ({"build": models.TinyModel}, "given together; .* build and no data"),
        ({"data": BATCHES}, "given together; .*no build and data"),
        ({"build": models.TinyModel, "data": BATCHES[0]}, "is one batch: data="),
        ({"max_positions": 1}, "max_positions must be 2 or more"),
    ],
)
def test_arguments_that_contradict_each_other_are_told_before_anything_is_read(asked, message):
    with pytest.raises(ValueError, match=message):
        analyze("none", models.table(), **asked)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"build": lambda: 3}, "build must make a module; it made a int"),
        ({"data": []}, "no batch was given"),
        ({"labels": "y"}, "labels='y' is not a key of the batch"),
        ({"hidden": "bodies"}, "hidden='bodies' matches no module"),
        ({"build": lambda: models.TinyModel().to("meta")}, "on the meta device"),
    ],
)
def test_models_and_data_that_give_nothing_are_told_at_once(tmp_path, more, message):
    stored(tmp_path)
    with pytest.raises(ValueError, match=message):
        measured(tmp_path, **more)
