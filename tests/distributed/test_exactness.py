"""The figures of several processes are those of one, in real processes over gloo."""

import math

import numpy as np
import pytest
import torch

from tests.distributed import models, worker
from tests.distributed.launch import launch

JOBS = {
    2: [
        "ddp",
        "ddp_probe",
        "fsdp2",
        "fsdp2_probe",
        "fsdp2_tied",
        "tensor_rows",
        "tensor_columns",
        "ddp_double",
        "fsdp2_double",
    ],
    3: ["ddp", "ddp_probe", "fsdp2", "fsdp2_empty_shard"],
    4: ["two_dimensions"],
}
CASES = [(size, name) for size, names in JOBS.items() for name in names]
SITES = ("unembedding", "embedding", "hidden.body", "hidden.body.0")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """{size: {job: [what each process found]}}."""
    folder = tmp_path_factory.mktemp("jobs")
    return {size: launch(folder / str(size), size, names) for size, names in JOBS.items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """{job: what one process finds with the same weights and all batches}."""
    folder = tmp_path_factory.mktemp("alone")
    names = sorted({name for _, name in CASES})
    with torch.random.fork_rng():
        worker.run(folder, names, rank=0, size=1)
    return {name: worker.read(folder, name, 0) for name in names}


@pytest.mark.parametrize(("size", "name"), CASES)
def test_every_figure_of_every_process_is_that_of_one_process(found, alone, size, name):
    steps = [step for step, _ in alone[name]["records"]]
    assert steps == [0, 2, 4, 6, 7]
    for process in found[size][name]:
        assert [step for step, _ in process["records"]] == steps
        for (step, ours), (_, expected) in zip(
            process["records"], alone[name]["records"], strict=True
        ):
            assert ours.keys() == expected.keys()
            for key, value in expected.items():
                is_z = key.split("/")[1] == "z"
                # Where figures cancel to nearly 0, a sum in fp32 rounds by more than a share of it.
                floor = 1e-12 if "double" in name else (1e-5 if is_z else 2e-7)
                bound = pytest.approx(value, rel=1e-4 if is_z else 1e-5, abs=floor, nan_ok=True)
                assert ours[key] == bound, (step, key)


@pytest.mark.parametrize(("size", "name"), CASES)
def test_the_pictures_of_the_first_process_are_those_of_one_process(found, alone, size, name):
    first, *others = found[size][name]
    assert first["grams"].keys() == alone[name]["grams"].keys()
    for key, picture in alone[name]["grams"].items():
        assert np.allclose(first["grams"][key], picture, atol=1e-5, equal_nan=True)
    assert not any(process["grams"] for process in others)  # one process writes


@pytest.mark.parametrize(("size", "name"), CASES)
def test_the_figures_are_there(alone, size, name):
    for step, values in alone[name]["records"]:
        for site in SITES:
            last_batch = step == 7 and site.startswith("hidden") and "probe" not in name
            for metric in ("gap/colour", "z/colour", "asymmetry", "rows"):
                assert math.isnan(values[f"semgeom_{site}/{metric}"]) == last_batch
        assert values["semgeom_unembedding/rows"] == (4 if "empty" in name else 13)


def sent_by(found, size, name):
    """(step, names of our collectives, [name, bytes] of others) of each record and process."""
    for process in found[size][name]:
        for step, sent in process["traffic"].items():
            ours = [kind for kind, _ in sent if kind in ("allreduce_", "_allgather_base_")]
            others = [[kind, size] for kind, size in sent if kind not in ours]
            yield int(step), ours, others


@pytest.mark.parametrize(("size", "name"), CASES)
def test_a_record_takes_three_collectives_and_one_more_at_first(found, size, name):
    """The first one, whose picture is due, is where the widths of hidden states are agreed on."""
    for step, ours, others in sent_by(found, size, name):
        probe, last = name.endswith("probe"), step == 7
        assert ours.count("allreduce_") == (3 if step == 0 else 2)
        if name != "fsdp2_probe":  # there the probe's forward gathers layers
            assert ours.count("_allgather_base_") == (0 if last and not probe else 1)
        moved = 1 if name == "tensor_columns" else 0  # cut by columns, the head has to move
        assert len(others) == moved, others


@pytest.mark.parametrize("name", ["fsdp2", "fsdp2_tied", "tensor_rows", "two_dimensions"])
def test_no_weight_is_gathered(found, name):
    size = 4 if name == "two_dimensions" else 2
    for process in found[size][name]:
        last = process["traffic"]["7"]  # weights alone
        values, moments, width, sites, pictured = 5, 2, models.WIDTH, 2, 13
        numbers = 3 + values * (1 + width) + moments * width**2 + pictured * width
        assert last == [
            ["allreduce_", 8 * sites * (width + 2)],
            ["allreduce_", 8 * sites * numbers],
        ]
