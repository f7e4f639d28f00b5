"""The kernels of CUDA, interpreted on the host, against loops; on a card: tests/test_cuda.py."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from lightning_semgeom.geometry import fused
from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.classes import class_offsets

NUM_VALUES = (3, 70, 2)
ROOT = Path(__file__).parents[2]
# Rows, width, dtype, share of labelled rows, centre: more rows than a piece has, widths that are
# not a multiple of anything, one value that most rows have.
SHAPES = {
    "fp32": (300, 33, torch.float32, 0.7, True),
    "bf16": (260, 70, torch.bfloat16, 0.7, True),
    "fp16, wide": (90, 300, torch.float16, 1.0, True),
    "not centred": (140, 16, torch.float32, 0.7, False),
    "one column": (150, 1, torch.float32, 0.7, True),
    "no label": (130, 20, torch.float32, 0.0, True),
}


def case(rows, width, dtype, labelled, centred):
    generator = torch.Generator().manual_seed(rows)
    x = (torch.randn(rows, width, generator=generator) + 0.5).to(dtype)
    if width > 1:
        x[:, width // 2] = 0.25  # a column without any spread
    codes = torch.stack([torch.randint(0, m, (rows,), generator=generator) for m in NUM_VALUES], 1)
    codes[: rows // 2, 2] = 0
    codes[torch.rand(rows, generator=generator) >= labelled, 1:] = -1
    return x, codes, NUM_VALUES, x.double().mean(0) if centred else None


@pytest.fixture(scope="module")
def cases():
    made = {name: case(*shape) for name, shape in SHAPES.items()}
    part = torch.randn(120, 50, generator=torch.Generator().manual_seed(0))[:, 5:45]
    codes = torch.arange(120)[:, None] % 3
    made["a part of wider rows"] = (part, codes, (3,), part.double().mean(0))
    made["a row that is not finite"] = case(*SHAPES["fp32"])
    made["a row that is not finite"][0][7] = torch.nan
    zero = torch.randn(140, 24, generator=torch.Generator().manual_seed(0))
    codes = torch.stack([torch.arange(140) % 3, torch.arange(140) % 20], dim=1)
    zero[codes[:, 1] == 4] = 0
    made["classes of zero rows"] = (zero, codes, (3, 20), None)
    return made


@pytest.fixture(scope="module")
def found(cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("interpreted")
    torch.save([*cases.values()], folder / "cases")
    path = [str(ROOT)]
    if find_spec("triton") is None:
        path.append(str(Path(sys.prefix) / "triton"))  # where `make` puts it
    environment = {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(path)}
    subprocess.run(
        [sys.executable, "-m", "tests.geometry.interpreted", folder / "cases", folder / "found"],
        env=os.environ | environment,
        check=True,
        cwd=ROOT,
        timeout=250,
    )
    return dict(zip(cases, torch.load(folder / "found"), strict=True))


def unit_rows(rows, mean):
    x = rows.double() - (0 if mean is None else mean)
    return x / torch.linalg.vector_norm(x, dim=1, keepdim=True)


NAMES = [*SHAPES, "a part of wider rows"]


@pytest.mark.processes
def test_offsets_of_classes_are_those_that_torch_takes(cases, found):
    """Which loops are held against in test_collapse.py."""
    for name, (rows, codes, num_values, _) in cases.items():
        members = Bags.of(codes[:, 1 % len(num_values)], 80)
        expected = class_offsets(rows, members)
        assert expected.isnan().any() == (name == "a row that is not finite")
        torch.testing.assert_close(
            found[name]["offsets"], expected, rtol=1e-6, atol=1e-10, equal_nan=True
        )


@pytest.mark.processes
@pytest.mark.parametrize("name", NAMES)
def test_sums_of_values_are_those_of_loops(cases, found, name):
    rows, codes, num_values, mean = cases[name]
    unit = unit_rows(rows, mean)
    expected = [
        unit[codes[:, a] == value].sum(0) for a, m in enumerate(num_values) for value in range(m)
    ]
    torch.testing.assert_close(found[name]["value_sums"], torch.stack(expected), rtol=0, atol=2e-5)
    torch.testing.assert_close(found[name]["total"], rows.double().sum(0), rtol=1e-5, atol=1e-5)


@pytest.mark.processes
@pytest.mark.parametrize("name", NAMES)
def test_second_moments_are_symmetric_and_near_those_in_fp64(cases, found, name):
    rows, codes, _, mean = cases[name]
    unit, second = unit_rows(rows, mean), found[name]["second"]
    labelled = [torch.ones(len(rows), dtype=torch.bool)]
    for mask in (codes >= 0).T:
        if not any(mask.equal(known) for known in labelled):
            labelled.append(mask)
    assert len(second) == len(labelled)
    for ours, mask in zip(second, labelled, strict=True):
        exact = unit[mask].T @ unit[mask]
        assert torch.equal(ours, ours.T)
        # Each entry of u is rounded to 1/65024 of its column's largest, by chance up or down.
        bound = 4 * len(unit) ** 0.5 * float(unit.abs().max()) ** 2 / 65024
        torch.testing.assert_close(ours, exact, rtol=0, atol=bound)
        norms = torch.linalg.matrix_norm(torch.stack([ours, exact])).square()
        torch.testing.assert_close(norms[0], norms[1], rtol=3e-6, atol=1e-12)


@pytest.mark.processes
@pytest.mark.parametrize("name", NAMES)
def test_norms_of_moments_and_their_forms_are_those_of_products(found, name):
    second = found[name]["second"]
    vectors = [*second[:, 0], second[0].sum(0)]
    forms = [s @ c @ s for s, c in zip(vectors, [*second, second[0]], strict=True)]
    norms = [(c * c).sum() for c in second]
    torch.testing.assert_close(found[name]["forms"], torch.stack(forms), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[name]["norms"], torch.stack(norms), rtol=1e-12, atol=1e-12)


@pytest.mark.processes
def test_rows_that_are_not_sound_are_seen_in_the_lengths_and_moments_stay_finite(found):
    one = found["a row that is not finite"]
    assert one["lengths"].isnan().nonzero()[:, 0].tolist() == [7]
    assert one["second"].isfinite().all()


@pytest.fixture
def card(monkeypatch):
    """As if there were a card of the capability that is asked for, and Triton."""

    def of(capability):
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(fused, "find_spec", lambda name: name)
        fused._kernels_run.cache_clear()
        return torch.device("cpu")

    yield of
    fused._kernels_run.cache_clear()


def test_where_triton_does_not_compile_it_is_told_once_and_torch_does_it(card, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)  # its import fails
    monkeypatch.delitem(sys.modules, "lightning_semgeom.geometry.kernels", raising=False)
    device = card((9, 0))
    with pytest.warns(UserWarning, match=r"Triton cannot compile for cpu: .*torch's own operators"):
        assert not fused._kernels_run(device)
    assert not fused._kernels_run(device)


def test_an_old_card_is_not_asked(card):
    assert not fused._kernels_run(card((7, 5)))
