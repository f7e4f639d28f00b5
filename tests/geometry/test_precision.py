"""A mean that is long beside the spread costs no figure its digits: fp64 loops over the same rows.

Rows of fp32 are taken as they are: what rounding made of them is what the loops are given, too.
"""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightning_semgeom import (
    AttributeSimilarity,
    AttributeTable,
    NeuralCollapse,
    Spectrum,
    attribute_similarity,
    concepts,
    directions,
    eigenspectrum,
    linguistic_collapse,
    neural_collapse,
    partial_gap,
    spectrum,
)
from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.careful import mean_sums, row_sums
from lightning_semgeom.geometry.classes import class_offsets
from lightning_semgeom.geometry.gram import cell_gram
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.measure.plan import plan_site
from lightning_semgeom.measure.site import measure
from tests import oracles

NUM_VALUES = [3, 2]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])


def long_means(test):
    """Offsets up to 1e4 and spreads from 1 down to a thousandth, and what once went wrong."""
    test = given(
        offset=st.sampled_from([0.0, 1.0, 30.0, 1e3, 1e4]),
        spread=st.floats(1e-3, 1.0),
        seed=st.integers(0, 10**6),
    )(test)
    for offset, spread, seed in ((1e4, 1e-3, 0), (1e3, 1e-3, 1), (1e3, 0.75, 1590)):
        test = example(offset=offset, spread=spread, seed=seed)(test)
    return settings(max_examples=12)(test)


def made(offset, spread, seed, dtype, rows=40, width=5):
    """Rows `[n, d]` around one long mean, nearer where they share the first attribute's value."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(0, m, (rows,), generator=generator) for m in NUM_VALUES], 1)
    noise = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    centres = torch.randn(3, width, generator=generator, dtype=torch.float64)
    towards = torch.randn(width, generator=generator, dtype=torch.float64)
    towards *= math.sqrt(width) / torch.linalg.vector_norm(towards)
    return (offset * towards + spread * (noise + centres[codes[:, 0]])).to(dtype), codes


def close(dtype, value):
    fine = {"rel": 1e-6, "abs": 1e-7} if dtype == torch.float64 else {"rel": 1e-4, "abs": 2e-5}
    return pytest.approx(value, **fine, nan_ok=True)


@DTYPES
@long_means
def test_similarity_and_partial_gap_keep_their_digits(dtype, offset, spread, seed):
    rows, codes = made(offset, spread, seed, dtype)
    found = attribute_similarity(rows, codes, NUM_VALUES)
    partial = partial_gap(rows, codes, NUM_VALUES)
    in_fp64 = attribute_similarity(rows.double(), codes, NUM_VALUES)["z"]
    assert found["z"].tolist() == pytest.approx(in_fp64.tolist(), rel=1e-3, abs=1e-3)
    exact = rows.double().numpy()
    for a in range(2):
        within, between = oracles.within_between(exact, codes[:, a].tolist())
        assert float(found["within"][a]) == close(dtype, within)
        assert float(found["between"][a]) == close(dtype, between)
        assert float(found["strength"][a]) == close(
            dtype, oracles.strength(exact, codes[:, a].tolist())
        )
        assert float(partial[a]) == close(dtype, oracles.partial_gap(exact, codes.numpy(), a))


@DTYPES
@long_means
def test_the_spectrum_keeps_its_digits(dtype, offset, spread, seed):
    rows, _ = made(offset, spread, seed, dtype)
    found = spectrum(rows)
    for name, value in oracles.spectrum(rows.double().numpy()).items():
        assert float(found[name]) == close(dtype, value), name


@DTYPES
@long_means
def test_the_field_s_own_figures_keep_their_digits(dtype, offset, spread, seed):
    if dtype == torch.float32 and offset > 1e5 * spread:
        return  # what rounding has made of these rows is part of their spread: some are equal
    rows, _ = made(offset, spread, seed, dtype)
    exact = rows.double().numpy()
    expected = oracles.eigenspectrum(exact)["rankme"]
    assert float(eigenspectrum(rows)["rankme"]) == close(dtype, expected)
    found, expected = linguistic_collapse(rows, rows), oracles.linguistic_collapse(exact, exact)
    for name, value in expected.items():
        assert float(found[name]) == close(dtype, value), name


@DTYPES
@long_means
def test_the_picture_keeps_its_digits(dtype, offset, spread, seed):
    rows, codes = made(offset, spread, seed, dtype)
    sums = row_sums(rows, CodePlan(codes[:, :1], [3]), mean_sums(rows).mean, second=False)
    gram = cell_gram(sums.value_counts, sums.value_sums @ sums.value_sums.T)
    units, kept = oracles.unit_rows(rows.double().numpy())
    means = [units[[codes[i, 0] == g for i in kept]].mean(0) for g in range(3)]
    for g in range(3):
        for h in range(3):
            assert float(gram[g, h]) == close(dtype, float(means[g] @ means[h]))


@DTYPES
@long_means
def test_neural_collapse_keeps_its_digits_whole_in_a_stream_and_over_processes(
    dtype, offset, spread, seed
):
    rows, codes = made(offset, spread, seed, dtype)
    labels = codes[:, 0]
    weight, bias = torch.randn(3, 5, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    expected = oracles.neural_collapse(rows.double().numpy(), labels, weight.numpy(), bias.numpy())
    head = torch.nn.Linear(5, 3).double()
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    means = torch.stack([rows[labels == k].double().mean(0) for k in range(3)])
    parts = [slice(0, 1), slice(1, 17), slice(17, 17), slice(17, 40)]
    stream = NeuralCollapse(3, 5, head)
    for part in parts:
        stream.update(rows[part], labels[part], means)
    merged = NeuralCollapse(3, 5, head)
    merged.update(rows[parts[0]], labels[parts[0]], means)
    for part in parts[1:]:
        other = NeuralCollapse(3, 5, head)
        other.update(rows[part], labels[part], means)
        merged.merge_state(other)
    for found in (
        neural_collapse(rows, labels, 3, weight, bias),
        stream.compute(),
        merged.compute(),
    ):
        for name, value in expected.items():
            if name in ("nc4", "equiangularity") and value < 1e-6:
                continue
            assert float(found[name]) == pytest.approx(value, rel=1e-5, abs=1e-7), name


@DTYPES
@long_means
def test_directions_keep_their_digits(dtype, offset, spread, seed):
    rows, codes = made(offset, spread, seed, dtype)
    values = [[str(c) for c in column] for column in codes.T.tolist()]
    table = AttributeTable.from_dict({"a": values[0], "b": values[1]})
    found = directions(rows, table, nearest=3)
    for g, value in enumerate(table.values[0]):
        vector, explained, _ = oracles.direction(
            rows.double().numpy(), table.codes[:, 0].tolist(), g, 3
        )
        direction = found["a", value]
        assert direction.vector.tolist() == pytest.approx(
            vector.tolist(), rel=1e-5, abs=1e-6 * spread
        )
        assert direction.explained == pytest.approx(explained, rel=1e-5)


@DTYPES
@long_means
def test_concepts_keep_their_digits_down_to_the_rounding_of_the_rows(dtype, offset, spread, seed):
    rows, _ = made(offset, spread, seed, dtype)
    expected = oracles.concepts(rows.double().numpy(), 2)
    found = concepts(rows, 2)
    # Rounding moves each row by at most half of 1.2e-7 of its length.
    resolved = expected["values"][1] > 1.3e-7 * torch.linalg.matrix_norm(rows.double())
    for place in range(2):
        if resolved or dtype == torch.float64:
            assert float(found.singular_values[place]) == pytest.approx(
                float(expected["values"][place]), rel=1e-5
            )
            assert float(found.explained[place]) == pytest.approx(
                float(expected["explained"][place]), rel=1e-5
            )


@DTYPES
@long_means
def test_metrics_over_updates_keep_their_digits(dtype, offset, spread, seed):
    rows, codes = made(offset, spread, seed, dtype)
    mean = rows.double().mean(0)
    similar, shape = AttributeSimilarity(NUM_VALUES, dim=5), Spectrum(dim=5)
    for part in (slice(0, 9), slice(9, 40)):
        similar.update(rows[part], codes[part], mean=mean)
        shape.update(rows[part], mean=mean)
    exact = rows.double().numpy()
    within, between = oracles.within_between(exact, codes[:, 0].tolist())
    assert float(similar.compute()["gap"][0]) == close(dtype, within - between)
    assert float(shape.compute()["asymmetry"]) == close(dtype, oracles.spectrum(exact)["asymmetry"])


@DTYPES
@long_means
def test_means_of_hidden_states_keep_their_digits(dtype, offset, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    rows, codes = made(offset, spread, seed, dtype, rows=90)
    labels = torch.randint(0, 30, (90,), generator=generator)
    found, index = torch.unique(labels, return_inverse=True)
    offsets = class_offsets(rows, Bags.of(index, len(found)))
    exact = torch.stack([rows[labels == label].double().mean(0) for label in found])
    table = AttributeTable(codes[: int(found.max()) + 1, :1], ("a",), (tuple("xyz"),))
    figures = measure(offsets, plan_site(table, found, 8)).values
    within, between = oracles.within_between(exact.numpy(), table.codes[found, 0].tolist())
    assert figures["within/a"] == close(dtype, within)
    assert figures["between/a"] == close(dtype, between)
