import math
import pickle

import numpy as np
import pytest
import torch

from lightning_semgeom import NeuralCollapse, neural_collapse
from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.classes import class_offsets
from tests import oracles


def random_case(seed, rows=60, width=6, classes=4, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, classes, (rows,), generator=generator)
    centres = torch.randn(classes, width, generator=generator)
    features = centres[labels] + 0.3 * torch.randn(rows, width, generator=generator) + shift
    head = torch.nn.Linear(width, classes)
    with torch.no_grad():
        head.weight.copy_(torch.randn(classes, width, generator=generator))
        head.bias.copy_(torch.randn(classes, generator=generator))
    return features, labels, head


def assert_like_oracle(features, labels, classes, head, tolerance=1e-5):
    weight, bias = head.weight.detach(), head.bias.detach()
    found = neural_collapse(features, labels, classes, weight, bias)
    expected = oracles.neural_collapse(
        features.double().numpy(), labels, weight.double().numpy(), bias.double().numpy()
    )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        close = pytest.approx(value, rel=tolerance, abs=tolerance, nan_ok=True)
        assert float(found[name]) == close, name


@pytest.mark.parametrize("shift", [0.0, 100.0])
@pytest.mark.parametrize("shape", [(60, 6, 4), (40, 20, 3), (300, 3, 12), (9, 5, 3)])
def test_random_features_agree_with_loops_over_rows_and_classes(shape, shift):
    for seed in range(3):
        features, labels, head = random_case(seed, *shape, shift=shift)
        assert_like_oracle(features, labels, shape[2], head)
        assert_like_oracle(features.bfloat16(), labels, shape[2], head)


def test_a_collapsed_model_is_recognised():
    classes = 5
    etf = torch.eye(classes) - 1 / classes
    labels = torch.arange(classes).repeat(4)
    found = neural_collapse(etf[labels] + 3.0, labels, classes, etf, torch.zeros(classes))
    for name, value in found.items():
        assert float(value) == pytest.approx(1.0 if name == "nc4" else 0.0, abs=1e-5), name


def test_a_random_gaussian_matrix_has_an_etf_distance_of_three_quarters():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(64, 64, generator=generator)
    found = neural_collapse(rows, torch.arange(64), 64)
    assert float(found["etf_distance"]) == pytest.approx(0.75, abs=0.03)


def test_a_class_without_rows_is_left_out_and_leaves_self_duality_undefined():
    features, labels, head = random_case(3)
    labels[labels == 2] = 1
    found = neural_collapse(features, labels, 4, head.weight.detach(), head.bias.detach())
    relabelled = torch.where(labels == 3, 2, labels)
    without = neural_collapse(features, relabelled, 3)
    for name in ("nc1_trace", "nc1_pinv", "cdnv", "equinorm", "equiangularity", "etf_distance"):
        assert float(found[name]) == pytest.approx(float(without[name])), name
    assert math.isnan(float(found["nc3"]))


def test_rows_that_are_not_finite_are_left_out():
    features, labels, head = random_case(4)
    features[5, 0] = math.nan
    kept = torch.arange(60) != 5
    assert_like_oracle(features[kept], labels[kept], 4, head)
    found = neural_collapse(features, labels, 4)
    without = neural_collapse(features[kept], labels[kept], 4)
    assert float(found["nc1_trace"]) == pytest.approx(float(without["nc1_trace"]))


@pytest.mark.parametrize("width", [1, 40, 1100])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_class_offsets_are_those_of_a_loop(dtype, width):
    rows = (100 + torch.randn(500, width, generator=torch.Generator().manual_seed(0))).to(dtype)
    labels = torch.randint(-1, 20, (500,), generator=torch.Generator().manual_seed(1))
    found = class_offsets(rows, Bags.of(labels, 20))
    means = [rows[labels == label].double().mean(0) for label in range(20)]
    for offset, mean in zip(found, means, strict=True):
        expected = mean - torch.stack(means).mean(0)
        torch.testing.assert_close(offset.double(), expected, rtol=1e-6, atol=1e-10)


def test_a_class_offset_is_zero_where_there_is_none_and_not_finite_where_a_row_is_not():
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0], [2.0, 3.0], [math.nan, 1.0]])
    found = class_offsets(rows, Bags.of(torch.arange(5), 5))
    assert found[:2].tolist() == [[-1, -1], [1, 1]]
    assert found[2:4].tolist() == [[0, 0], [0, 0]]  # the row is zero; it is the mean of all
    assert found[4].isnan().any()
    assert class_offsets(rows + 1e5, Bags.of(torch.tensor([0, 1, -1, 0, -1]), 2)).norm() > 1
    equal = torch.full((7, 3), 0.1, dtype=torch.float64)
    assert not class_offsets(equal, Bags.of(torch.tensor([0, 0, 0, 1, 1, 2, 2]), 3)).any()


def test_what_is_not_defined_is_nan():
    one_class = neural_collapse(torch.randn(4, 3), torch.zeros(4).long(), 2)
    assert all(math.isnan(float(value)) for value in one_class.values())
    same_means = neural_collapse(torch.ones(4, 3), torch.tensor([0, 0, 1, 1]), 2)
    assert all(math.isnan(float(value)) for value in same_means.values())


def test_splitting_the_rows_over_updates_changes_nothing():
    features, labels, head = random_case(5)
    metric = NeuralCollapse(4, 6, classifier=head)
    whole = neural_collapse(features, labels, 4, head.weight.detach(), head.bias.detach())
    means = torch.stack([features[labels == k].mean(0) for k in range(4)])
    for part in range(0, 60, 7):
        metric.update(features[part : part + 7], labels[part : part + 7], means=means)
    found = pickle.loads(pickle.dumps(metric)).compute()
    for name, value in whole.items():
        assert float(found[name]) == pytest.approx(float(value), abs=1e-8), name
    metric.reset()
    assert float(metric.counts.sum()) == 0
    assert "classifier" not in dict(metric.named_modules())


def test_nc4_of_a_stream_needs_the_class_means():
    features, labels, head = random_case(6)
    metric = NeuralCollapse(4, 6, classifier=head)
    metric.update(features, labels)
    assert math.isnan(float(metric.compute()["nc4"]))


@pytest.mark.parametrize(
    ("labels", "extra", "message"),
    [
        (torch.tensor([0, 1, 4]), {}, "below num_classes = 4; found 4"),
        (torch.tensor([0, 1]), {}, r"labels must be integers \[3\]"),
        (torch.zeros(3), {}, "labels must be integers"),
        (torch.zeros(3).long(), {"classifier": torch.ones(3, 2)}, r"classifier must be \[4, 2\]"),
        (torch.zeros(3).long(), {"bias": torch.ones(4)}, "bias was given without a classifier"),
    ],
)
def test_input_that_does_not_fit_is_refused(labels, extra, message):
    with pytest.raises(ValueError, match=message):
        neural_collapse(torch.randn(3, 2), labels, 4, **extra)


def test_the_oracle_itself_sees_an_etf():
    etf = np.eye(3) - 1 / 3
    found = oracles.neural_collapse(etf, [0, 1, 2], etf, np.zeros(3))
    assert found["etf_distance"] == pytest.approx(0)
