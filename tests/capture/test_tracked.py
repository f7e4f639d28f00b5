"""Modules that a model gets later, in place of others, or loses, in real runs."""

import math
import warnings

import pytest
import torch
from torch import nn

from lightning_semgeom import AttributeTable, SemanticGeometry, attribute_similarity
from lightning_semgeom.capture.names import module_at, module_names
from lightning_semgeom.capture.tracked import TrackedSites
from tests import models

EACH_STEP = {"every_n_steps": 1, "growth": None}  # without the pictures of early steps


def gap(weight):
    table = models.table()
    found = attribute_similarity(weight.detach()[: models.TOKENS], table.codes, table.num_values)
    return found["gap"].mean().item()


def fit(tmp_path, model, callback, steps=6, **options):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        models.trainer(tmp_path, callback, max_steps=steps, **options).fit(model, models.batches())
    return [str(w.message) for w in told if "SemanticGeometry" in str(w.message)]


def gaps(callback, site="unembedding"):
    steps, values = callback.history.curve(f"semgeom_{site}/gap")
    return dict(zip(steps.tolist(), values.tolist(), strict=True))


class BuiltIn(models.TinyModel):
    """Its head and body are built in the hook `hook`, when data tells how large they are."""

    def __init__(self, hook):
        super().__init__(dropout=0.0)
        self.parts = {"lm_head": self.lm_head, "body": self.body}
        del self.lm_head, self.body
        setattr(self, hook, self.build)

    def build(self, *_):
        for name, part in self.parts.items():
            self.add_module(name, part)


class BuiltInSetup(BuiltIn):
    def __init__(self):
        super().__init__("unused")

    def setup(self, stage):
        self.build()


class BuiltInConfigureModel(BuiltIn):
    def __init__(self):
        super().__init__("unused")

    def configure_model(self):
        self.build()


@pytest.mark.parametrize("model", [BuiltInSetup, BuiltInConfigureModel])
def test_modules_that_the_model_builds_in_its_own_hooks_are_found(tmp_path, model):
    callback = SemanticGeometry(models.table(), embedding=True, hidden="body", **EACH_STEP)
    model = model()
    assert fit(tmp_path, model, callback) == []
    assert gaps(callback)[6] == pytest.approx(gap(model.lm_head.weight), abs=1e-6)
    assert math.isfinite(gaps(callback, "hidden.body")[5])


class Replacing(models.TinyModel):
    """Gets other modules after its third update, trained like those before."""

    def __init__(self, **parts):
        super().__init__(dropout=0.0)
        self.later = [parts]

    def on_train_batch_start(self, batch, batch_idx):
        if batch_idx == 3:
            for name, part in self.later[0].items():
                setattr(self, name, part)
                if part is not None:
                    self.trainer.optimizers[0].add_param_group({"params": part.parameters()})


def test_a_head_that_is_replaced_in_mid_run_is_followed_and_said_once(tmp_path):
    torch.manual_seed(1)
    model = Replacing(lm_head=nn.Linear(models.WIDTH, models.TOKENS + 3, bias=False))
    callback = SemanticGeometry(models.table(), **EACH_STEP)
    (told,) = fit(tmp_path, model, callback)
    assert "from step 4 on unembedding is 'lm_head' [15, 8] now: the model has a new one" in told
    assert gaps(callback)[6] == pytest.approx(gap(model.lm_head.weight), abs=1e-6)


def test_a_head_of_another_width_is_followed_with_the_modules_around_it(tmp_path):
    torch.manual_seed(1)
    wide = models.WIDTH + 3
    model = Replacing(
        embed=nn.Embedding(models.TOKENS, wide),
        body=nn.Linear(wide, wide),
        lm_head=nn.Linear(wide, models.TOKENS),
    )
    callback = SemanticGeometry(models.table(), hidden="body", embedding=True, **EACH_STEP)
    told = fit(tmp_path, model, callback)
    # The batch in which it came had the hooks of the modules before.
    assert "hidden.body is another Linear now" in told[0]
    assert "embedding is 'embed' [12, 11] now" in told[0]
    assert "no forward of this batch called hidden.body" in told[1]
    assert len(told) == 2
    assert gaps(callback)[6] == pytest.approx(gap(model.lm_head.weight), abs=1e-6)
    assert gaps(callback, "embedding")[6] == pytest.approx(gap(model.embed.weight), abs=1e-6)
    assert all(math.isfinite(gaps(callback, "hidden.body")[step]) for step in (0, 1, 2, 4, 5))


def test_a_head_that_is_gone_is_told_once_and_its_curve_ends(tmp_path):
    class Losing(models.TinyModel):
        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx == 3:
                self.words, self.lm_head = self.lm_head, None

        def forward(self, batch):
            hidden = self.body(self.embed(batch["x"]))
            return (self.lm_head or self.words)(hidden)

    callback = SemanticGeometry(models.table(), unembedding="lm_head", **EACH_STEP)
    (told,) = fit(tmp_path, Losing(), callback)
    assert "'lm_head' is gone from the model" in told
    found = gaps(callback)
    assert [step for step, value in found.items() if math.isnan(value)] == [4, 5, 6]
    # Where its name was not given, it is found under the new one.
    callback = SemanticGeometry(models.table(), **EACH_STEP)
    model = Losing()
    assert fit(tmp_path, model, callback) == []
    assert gaps(callback)[6] == pytest.approx(gap(model.words.weight), abs=1e-6)


def test_a_hidden_module_that_is_gone_leaves_the_other_sites_alone(tmp_path):
    class Losing(models.TinyModel):
        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx == 3:
                self.body = nn.Sequential(self.body[0], nn.Identity())

    callback = SemanticGeometry(models.table(), hidden=["body.0", "body.2"], **EACH_STEP)
    (told,) = fit(tmp_path, Losing(), callback)
    assert "hidden.body.2: ValueError: 'body.2' is gone from the model" in told
    assert math.isnan(gaps(callback, "hidden.body.2")[5])
    assert math.isfinite(gaps(callback, "hidden.body.0")[5])


def test_a_new_head_that_is_too_short_for_the_table_is_told(tmp_path):
    class Short(Replacing):
        def training_step(self, batch, batch_idx):
            return self.lm_head(self.body(self.embed(batch["x"]))).square().mean()

    model = Short(lm_head=nn.Linear(models.WIDTH, 5))
    callback = SemanticGeometry(models.table(), **EACH_STEP)
    (told,) = fit(tmp_path, model, callback)
    assert "the attribute table has 12 rows, but unembedding 'lm_head' has only 5" in told
    assert math.isnan(gaps(callback)[6])


def test_a_second_candidate_that_comes_later_does_not_end_the_curve(tmp_path):
    model = Replacing(head=nn.Linear(models.WIDTH, models.TOKENS))
    callback = SemanticGeometry(models.table(), **EACH_STEP)
    (told,) = fit(tmp_path, model, callback)
    assert "from step 4 on unembedding is 'lm_head' still, although several modules may be" in told
    assert gaps(callback)[6] == pytest.approx(gap(model.lm_head.weight), abs=1e-6)


def test_a_model_that_does_not_answer_any_more_ends_no_run(tmp_path):
    class Broken(models.TinyModel):
        def get_output_embeddings(self):
            if hasattr(self, "more"):
                raise RuntimeError("no answer")
            return self.lm_head

        def on_train_batch_start(self, batch, batch_idx):
            self.more = nn.Identity()

    callback = SemanticGeometry(models.table(), **EACH_STEP)
    model = Broken()
    (told,) = fit(tmp_path, model, callback)
    assert "unembedding is 'lm_head' still, although no answer" in told
    assert gaps(callback)[6] == pytest.approx(gap(model.lm_head.weight), abs=1e-6)


def test_a_table_that_is_longer_than_the_head_may_be_cut():
    table = AttributeTable.from_dict({"colour": list("rb") * 8})
    message = r"table has 16 rows, but unembedding 'lm_head' has only 12.*table.first\(12\)"
    with pytest.raises(ValueError, match=message):
        TrackedSites(models.TinyModel(), len(table), True, False, ())


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
def test_a_quantised_weight_is_refused_by_its_site_s_name(dtype):
    model = models.TinyModel()
    codes = torch.zeros(models.TOKENS, models.WIDTH, dtype=dtype)
    model.lm_head.weight = nn.Parameter(codes, requires_grad=False)
    with pytest.raises(ValueError, match=rf"unembedding 'lm_head' is quantised.*{dtype}"):
        TrackedSites(model, models.TOKENS, True, False, ())


def test_a_look_at_a_model_that_is_the_same_searches_nothing(monkeypatch):
    model = models.TinyModel()
    sites = TrackedSites(model, models.TOKENS, True, True, ["body"])
    monkeypatch.setattr("lightning_semgeom.capture.tracked.module_names", None)
    assert sites.look_again(model) == []


def test_a_module_is_found_under_each_of_its_names():
    model = models.TinyModel()
    model.alias = model.body
    assert module_names(model)["alias.0"] is model.body[0]
    assert list(TrackedSites(model, 12, True, False, ["alias"]).hidden) == ["hidden.alias"]
    sites = TrackedSites(model, 12, True, False, ["alias.*", "body.0"]).hidden
    assert list(sites) == ["hidden.body.0", "hidden.alias.1", "hidden.alias.2"]


def test_a_name_leads_to_its_module_through_wrappers():
    inner = models.TinyModel()
    model = nn.Module()
    model.net = torch.compile(inner, backend="eager")  # the usual one takes 2 s to import
    for name, module in module_names(model).items():
        assert module_at(model, name) is module
    assert module_at(model, "net.body.0") is inner.body[0]
    assert module_at(model, "net.nothing") is None
