"""GeometryRegularizer where the model's modules and batches are not those of the beginning."""

import pytest
import torch
from torch import nn

from lightning_semgeom import AttributeAlignment, GeometryRegularizer, GramDispersion
from tests import models


def alignment(**options):
    return GeometryRegularizer(
        AttributeAlignment(models.table()), unembedding=False, hidden="body", **options
    )


def weights_after(tmp_path, name, model, *callbacks, steps=4):
    models.trainer(tmp_path / name, *callbacks, max_steps=steps).fit(model, models.batches())
    return model.state_dict()


class Pops(models.TinyModel):
    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(
            self(batch).flatten(0, -2), batch.pop("labels").flatten(), ignore_index=-100
        )


class Makes(models.TinyModel):
    def training_step(self, batch, batch_idx):
        batch["made"] = batch["labels"]
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(("model", "labels"), [(Pops, "labels"), (Makes, "made")])
def test_labels_that_the_step_takes_out_or_puts_in_are_read(tmp_path, model, labels):
    with_it = weights_after(tmp_path, "one", model(dropout=0.0), alignment(labels=labels))
    plain = weights_after(tmp_path, "two", models.TinyModel(dropout=0.0), alignment())
    assert all(torch.equal(with_it[key], plain[key]) for key in plain)


class BuiltInSetup(models.TinyModel):
    def __init__(self):
        super().__init__(dropout=0.0)
        self.parts = {"lm_head": self.lm_head, "body": self.body}
        del self.lm_head, self.body

    def setup(self, stage):
        for name, part in self.parts.items():
            setattr(self, name, part)


@pytest.mark.parametrize("make", [alignment, lambda: GeometryRegularizer(GramDispersion())])
def test_modules_that_are_built_in_setup_are_found(tmp_path, make):
    with_it = weights_after(tmp_path, "one", BuiltInSetup(), make())
    plain = weights_after(tmp_path, "two", models.TinyModel(dropout=0.0), make())
    assert all(torch.equal(with_it[key], plain[key]) for key in plain)


class Replacing(models.TinyModel):
    """Gets another head and body before its third batch; the copies have the same numbers."""

    def __init__(self, parts):
        super().__init__(dropout=0.0)
        self.names = parts

    def on_train_batch_start(self, batch, batch_idx):
        if batch_idx == 2:
            for name in self.names:
                before = getattr(self, name)
                after = nn.Sequential(*before) if name == "body" else nn.Linear(8, 12, bias=False)
                if name == "lm_head":
                    after.weight = before.weight
                setattr(self, name, after)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("make", [alignment, lambda: GeometryRegularizer(GramDispersion())])
def test_modules_that_are_replaced_in_mid_run_are_followed(tmp_path, make):
    with_it = weights_after(tmp_path, "one", Replacing(("lm_head", "body")), make())
    plain = weights_after(tmp_path, "two", Replacing(()), make())
    assert all(torch.equal(with_it[key], plain[key]) for key in plain)


def test_a_module_that_is_gone_is_an_error_that_names_it(tmp_path):
    class Losing(models.TinyModel):
        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx == 2:
                self.words = self.lm_head
                del self.lm_head

        def forward(self, batch):
            head = self.words if hasattr(self, "words") else self.lm_head
            return head(self.body(self.embed(batch["x"])))

    with pytest.raises(ValueError, match="GeometryRegularizer: 'lm_head' is gone from the model"):
        weights_after(tmp_path, "one", Losing(), GeometryRegularizer(GramDispersion()))


def test_a_frozen_unembedding_is_told(tmp_path):
    model = models.TinyModel()
    model.lm_head.requires_grad_(False)
    with pytest.warns(UserWarning, match="unembedding 'lm_head' is frozen; while it is"):
        weights_after(tmp_path, "one", model, GeometryRegularizer(GramDispersion()))


def test_of_a_teacher_and_a_student_the_student_is_regularized(tmp_path):
    class Distilled(models.TinyModel):
        def __init__(self):
            super().__init__(dropout=0.0)
            self.teacher = models.TinyModel(seed=1).requires_grad_(False)

    with_it = weights_after(tmp_path, "one", Distilled(), GeometryRegularizer(GramDispersion()))
    plain = weights_after(
        tmp_path, "two", models.TinyModel(dropout=0.0), GeometryRegularizer(GramDispersion())
    )
    assert all(torch.equal(with_it[key], plain[key]) for key in plain)
