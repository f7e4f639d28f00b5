"""The features model against its own theory and against plain matrices."""

import math

import numpy as np
import pytest
import torch

from lightning_semgeom.settings.factored import factored_attributes
from lightning_semgeom.settings.recipe import FullBatch
from lightning_semgeom.settings.ufm import (
    DECAY,
    INIT,
    UnconstrainedFeatures,
    attribute_kernel,
    emergence_time,
    kernel_eigenvalues,
    main_effects,
)
from tests import models

LABELS = {"labels": torch.arange(64)}


def test_the_kernel_is_that_of_its_formula():
    table = factored_attributes()
    codes, n = table.codes.numpy(), 64
    shared = np.array([[np.mean(codes[i] == codes[j]) for j in range(n)] for i in range(n)])
    centring = np.eye(n) - np.ones((n, n)) / n
    expected = 0.8 * np.eye(n) + 0.2 * centring @ shared @ centring
    assert np.allclose(attribute_kernel(table), expected, atol=1e-6)


def test_the_main_effects_are_eigenvectors_of_the_kernel():
    table = factored_attributes()
    kernel = attribute_kernel(table).double()
    found = kernel_eigenvalues(table)
    for kappa, values, basis in zip(found, table.num_values, main_effects(table), strict=True):
        # A mean over three attributes of blocks of 64 / M ones.
        assert kappa == pytest.approx(0.8 + 0.2 / 3 * 64 / values, abs=1e-6)
        assert basis.shape == (64, values - 1)
        assert torch.allclose(kernel @ basis, kappa * basis, atol=1e-6)


def test_the_emergence_time_is_that_of_the_linear_dynamics():
    kappa, width = 2.5, 64
    rate = math.sqrt(kappa) - DECAY * (1 + kappa) / 2
    mode = np.array([[-DECAY, 1], [kappa, -kappa * DECAY]])
    assert max(np.linalg.eigvals(mode)) == pytest.approx(rate, rel=1e-3)
    start = width * INIT**2 * (1 + 1 / kappa) * math.sqrt(kappa) / 4
    grown = start * math.exp(2 * rate * emergence_time(kappa, width))
    assert grown == pytest.approx(1)


@pytest.mark.parametrize("kind", ["plain", "penalised", "preconditioned"])
def test_a_step_is_gradient_descent_with_the_kernel_where_it_belongs(tmp_path, kind):
    table = factored_attributes()
    model = UnconstrainedFeatures(table, kind, seed=1)
    h, w = (p.detach().double() for p in (model.features.weight, model.lm_head.weight))
    kernel = attribute_kernel(table).double()
    probabilities = torch.softmax(h @ w.T, dim=1)
    error = probabilities - torch.eye(64, dtype=torch.float64)
    of_h, of_w = error @ w, error.T @ h + DECAY * w
    of_h = of_h + DECAY * (torch.linalg.inv(kernel) @ h if kind == "penalised" else h)
    if kind != "plain":
        of_h = kernel @ of_h
    trainer = models.trainer(tmp_path, max_steps=1)
    trainer.fit(model, FullBatch(LABELS, 1))
    assert torch.allclose(model.features.weight.double(), h - 0.05 * of_h, atol=1e-8)
    assert torch.allclose(model.lm_head.weight.double(), w - 0.05 * of_w, atol=1e-8)


def test_each_main_effect_of_the_preconditioned_model_emerges_when_it_should():
    table = factored_attributes()
    model = UnconstrainedFeatures(table, "preconditioned", seed=0)
    optimizer = model.configure_optimizers()
    model.log = lambda *_, **__: None
    bases, reached = main_effects(table), [None] * 3
    for step in range(400):
        logits = model(LABELS).detach().double()
        for a, basis in enumerate(bases):
            mode = (basis.T @ logits @ basis).trace() / basis.shape[1]
            if reached[a] is None and mode >= 1:
                reached[a] = step
        optimizer.zero_grad()
        model.training_step(LABELS, step).backward()
        model.on_after_backward()
        optimizer.step()
    predicted = [emergence_time(kappa, 64) / 0.05 for kappa in kernel_eigenvalues(table)]
    assert reached == pytest.approx(predicted, rel=0.08)
    assert reached == sorted(reached)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="penalised, preconditioned; got 'penalized'"):
        UnconstrainedFeatures(factored_attributes(), "penalized")
