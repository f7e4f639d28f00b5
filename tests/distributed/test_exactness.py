"""The figures of several processes are those of one, in real processes over gloo."""

import math

import numpy as np
import pytest

from tests import figures
from tests.distributed.cases import CASES

pytestmark = pytest.mark.processes

SITES = ("unembedding", "embedding", "hidden.body", "hidden.body.0")


@pytest.mark.parametrize(("size", "name"), CASES)
def test_every_figure_of_every_process_is_that_of_one_process(found, alone, size, name):
    steps = [step for step, _ in alone(name)["records"]]
    assert steps == [0, 2, 4, 6, 7]
    for process in found(size, name):
        assert [step for step, _ in process["records"]] == steps
        for (_, ours), (_, expected) in zip(
            process["records"], alone(name)["records"], strict=True
        ):
            figures.assert_same(ours, expected, double="double" in name)


@pytest.mark.parametrize(("size", "name"), CASES)
def test_the_pictures_of_the_first_process_are_those_of_one_process(found, alone, size, name):
    first, *others = found(size, name)
    assert first["grams"].keys() == alone(name)["grams"].keys()
    for key, picture in alone(name)["grams"].items():
        assert np.allclose(first["grams"][key], picture, atol=1e-5, equal_nan=True)
    assert not any(process["grams"] for process in others)  # one process writes


@pytest.mark.parametrize(("size", "name"), CASES)
def test_the_figures_are_there(alone, size, name):
    for step, values in alone(name)["records"]:
        for site in SITES[2:] if "hidden_alone" in name else SITES:
            last_batch = step == 7 and site.startswith("hidden") and "probe" not in name
            for metric in ("gap/colour", "z/colour", "asymmetry", "rows"):
                assert math.isnan(values[f"semgeom_{site}/{metric}"]) == last_batch
        if "hidden_alone" not in name:
            assert values["semgeom_unembedding/rows"] == (4 if "empty" in name else 13)
