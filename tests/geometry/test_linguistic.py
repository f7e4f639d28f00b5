"""GNC2 and UNC3 against loops over pairs, and against the lines of the authors' own library."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom import linguistic_collapse
from lightning_semgeom.geometry import linguistic, pairs
from tests import oracles

FIGURES = ("gnc2", "gnc2_mean", "unc3", "unc3_mean")


def random_case(seed, classes=40, width=6, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(classes, width, generator=generator)
    return means + shift, means + torch.randn(classes, width, generator=generator)


def assert_like_oracle(means, classifier, tolerance=1e-7):
    found = linguistic_collapse(means, classifier)
    expected = oracles.linguistic_collapse(means.double().numpy(), classifier.double().numpy())
    assert found.keys() == {*expected, "coincident"}
    for name, value in expected.items():
        close = pytest.approx(value, rel=tolerance, abs=tolerance, nan_ok=True)
        assert float(found[name]) == close, name


def assert_same(found, expected):
    for name in FIGURES:
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-5), name


def log_kernel_of_the_library(means):
    """Mean and variance as rhubarbwu/neural-collapse has them: `kernel_stats` of `log_kernel`.

    All pairs at once, distances by differences, an epsilon beside each length, a grid in fp32.
    """
    centred = means - means.mean(0)
    length = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    unit = centred / (length + torch.finfo(means.dtype).eps)
    distances = torch.linalg.vector_norm(unit[:, None] - unit, dim=-1)
    grid = (distances**-1).log().float()
    pairs = grid[tuple(torch.triu_indices(len(means), len(means), 1))]
    mean = pairs.sum() / (len(means) * (len(means) - 1) / 2)
    return float(mean), float((pairs - mean).square().mean())


def similarities_of_the_library(means, classifier):
    """Mean and variance as rhubarbwu/linguistic-collapse saves them: `similarities`, cosines."""
    of = torch.nn.functional.cosine_similarity(classifier, means - means.mean(0))
    return float(of.mean()), float(of.var())


def test_a_case_worked_by_hand():
    means = torch.tensor([[3.0, 1], [1, 3], [-1, 1], [1, -1]])  # (1, 1) and two steps to each side
    classifier = torch.tensor([[2.0, 0], [1, 0], [-3, 0], [-1, 0]])
    found = linguistic_collapse(means, classifier)
    # Four sides as long as sqrt(2), two diagonals as long as 2.
    log2 = math.log(2)
    assert float(found["gnc2_mean"]) == pytest.approx(-(4 * log2 / 2 + 2 * log2) / 6)
    assert float(found["gnc2"]) == pytest.approx(log2**2 / 18)
    # w . v is 1, 0, 1, 0.
    assert float(found["unc3_mean"]) == pytest.approx(0.5)
    assert float(found["unc3"]) == pytest.approx(1 / 3)
    assert (float(found["classes"]), float(found["coincident"])) == (4, 0)


@given(
    seed=st.integers(0, 10**6),
    classes=st.integers(0, 40),
    width=st.integers(3, 8),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    shift=st.sampled_from([0.0, 3.0]),
    tile=st.sampled_from([2, 3, 7, 64]),
)
def test_any_case_agrees_with_loops_over_pairs(seed, classes, width, dtype, shift, tile):
    means, classifier = random_case(seed, classes, width, shift)
    if classes > 8:
        means[1], means[2, 0], means[3, 1] = 0, math.inf, math.nan
        classifier[4], classifier[5, 0] = 0, math.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pairs._TILE, "cpu", tile)
        # In fp32 near rows are as far apart as their rounding lets them be.
        tolerance = 1e-7 if dtype == torch.float64 else 1e-4
        assert_like_oracle(means.to(dtype), classifier.to(dtype), tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("classes", "width"), [(300, 16), (301, 200), (40, 64)])
def test_the_authors_own_library_gives_the_same(classes, width, dtype):
    means, classifier = (of.to(dtype) for of in random_case(0, classes, width, shift=0.5))
    found = linguistic_collapse(means, classifier)
    mean, variance = log_kernel_of_the_library(means)
    assert float(found["gnc2_mean"]) == pytest.approx(mean, rel=1e-5)
    assert float(found["gnc2"]) == pytest.approx(variance, rel=1e-5)
    mean, variance = similarities_of_the_library(means, classifier)
    assert float(found["unc3_mean"]) == pytest.approx(mean, rel=1e-5)
    assert float(found["unc3"]) == pytest.approx(variance, rel=1e-5)


def test_a_simplex_and_its_own_classifier_have_no_variance():
    means = torch.eye(7) + 0.3
    found = linguistic_collapse(means, means - means.mean(0))
    assert float(found["gnc2"]) == pytest.approx(0, abs=1e-12)
    assert float(found["gnc2_mean"]) == pytest.approx(-math.log(2 + 2 / 6) / 2)
    assert float(found["unc3"]) == pytest.approx(0, abs=1e-12)
    assert float(found["unc3_mean"]) == pytest.approx(1)


def test_random_directions_are_as_uniform_as_their_dimension_lets_them_be():
    means, _ = random_case(1, classes=2000, width=64)
    found = linguistic_collapse(means)
    assert float(found["gnc2_mean"]) == pytest.approx(-math.log(2) / 2, abs=0.01)
    assert float(found["gnc2"]) == pytest.approx(1 / (4 * 64), rel=0.1)  # half a cosine's spread
    clustered = (
        means
        + 3
        * torch.randn(10, 64, generator=torch.Generator().manual_seed(2))[torch.arange(2000) % 10]
    )
    assert float(linguistic_collapse(clustered)["gnc2"]) > 5 * float(found["gnc2"])


def test_turning_moving_and_scaling_change_nothing():
    means, classifier = (of.double() for of in random_case(3))
    generator = torch.Generator().manual_seed(4)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    lengths = torch.rand(40, 1, generator=generator, dtype=torch.float64) + 0.1
    found = linguistic_collapse(5 * means @ turn + 7, lengths * classifier @ turn)
    assert_same(found, linguistic_collapse(means, classifier))


def test_nearly_equal_means_keep_the_digits_of_their_distance():
    means, _ = random_case(5, classes=60, width=32)
    means[30:] = means[:30] + 1e-4 * means[30:]
    assert_like_oracle(means, means, tolerance=1e-4)


def test_equal_means_leave_it_undefined_and_are_counted():
    means, classifier = random_case(6)
    means[7] = means[3]
    means[11] = means[12] = means[13]
    found = linguistic_collapse(means, classifier)
    assert float(found["coincident"]) == 1 + 3
    assert math.isnan(float(found["gnc2"]))
    assert math.isnan(float(found["gnc2_mean"]))
    assert float(found["unc3"]) > 0


def test_means_of_one_direction_are_equal_however_long_they_are():
    some, _ = random_case(12, classes=20)
    found = linguistic_collapse(torch.cat([some, -some, 3.3 * some, -3.3 * some]))
    assert float(found["coincident"]) == 40  # in fp32 most differ by a rounding


def test_fewer_than_two_classes_have_no_figure():
    for means in (torch.zeros(5, 3), torch.full((5, 3), 0.1), torch.randn(1, 3), torch.ones(0, 3)):
        found = linguistic_collapse(means, torch.ones_like(means))
        assert all(math.isnan(float(found[name])) for name in FIGURES)
    found = linguistic_collapse(torch.eye(3), torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]]))
    assert math.isnan(float(found["unc3"]))
    assert float(found["gnc2"]) == pytest.approx(0, abs=1e-12)


def test_without_a_classifier_duality_is_not_defined():
    found = linguistic_collapse(random_case(7)[0])
    assert math.isnan(float(found["unc3"]))
    assert math.isnan(float(found["unc3_mean"]))
    assert float(found["gnc2"]) > 0


def test_each_pair_is_taken_once_and_never_more_than_a_tile_of_them(monkeypatch):
    sizes, pairs = [], []

    def counted(first, second, of_itself):
        a, b = len(first), len(second)
        sizes.extend([a, b])
        pairs.append(a * (a - 1) / 2 if of_itself else a * b)
        return taken(first, second, of_itself)

    taken = linguistic._logarithms
    monkeypatch.setattr(linguistic, "_logarithms", counted)
    linguistic_collapse(random_case(8, classes=2500)[0])
    assert max(sizes) == 1024
    assert sum(pairs) == 2500 * 2499 / 2


def test_gradients_do_not_follow():
    found = linguistic_collapse(random_case(10)[0].requires_grad_())
    assert not found["gnc2"].requires_grad


def test_a_bar_is_shown_to_those_who_ask_for_one(capsys):
    means, _ = random_case(11)
    linguistic_collapse(means)
    assert capsys.readouterr().err == ""
    linguistic_collapse(means, progress=True)
    assert "linguistic collapse: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("means", "classifier", "message"),
    [
        (torch.ones(3, 2).long(), None, r"means must be a floating .* \[n, d\]; got torch.int64"),
        (torch.ones(3), None, r"means must be a floating point tensor \[n, d\]; got .* \[3\]"),
        (torch.ones(3, 2), torch.ones(3, 4), r"classifier must be .* \[n, 2\]; got .* \[3, 4\]"),
        (torch.ones(3, 2), torch.ones(4, 2), "row for each of the 3 rows of means; got 4. Leave"),
    ],
)
def test_input_that_does_not_fit_is_refused(means, classifier, message):
    with pytest.raises(ValueError, match=message):
        linguistic_collapse(means, classifier)
