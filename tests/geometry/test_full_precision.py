"""Figures do not depend on what products of the model's own may be taken in."""

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_semgeom import (
    AttributeTable,
    attribute_similarity,
    concepts,
    directions,
    eigenspectrum,
    linguistic_collapse,
    neural_collapse,
    partial_gap,
    spectrum,
    whitened,
)
from lightning_semgeom.geometry.full_precision import full_precision

CUDA, CPU = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
ROWS = torch.randn(60, 16, generator=torch.Generator().manual_seed(0))
CODES = torch.arange(60)[:, None] % torch.tensor([3, 4])


def settings():
    return CUDA.fp32_precision, CPU.fp32_precision, torch.get_float32_matmul_precision()


@pytest.fixture(params=["highest", "high", "medium"])
def allowed(request):
    kept = CUDA.fp32_precision, CPU.fp32_precision
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision("highest")
    CUDA.fp32_precision, CPU.fp32_precision = kept


class Products(TorchDispatchMode):
    """What products of fp32 may be taken in when there is one."""

    def __init__(self):
        super().__init__()
        self.allowed = set()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
        if function.__name__.split(".")[0] in ("mm", "addmm", "bmm", "baddbmm"):
            self.allowed |= {(CUDA.fp32_precision, str(t.dtype)) for t in tensors}
        return function(*arguments, **(keywords or {}))


FIGURES = {
    "similarity": lambda: attribute_similarity(ROWS, CODES, [3, 4]),
    "spectrum": lambda: spectrum(ROWS),
    "partial gap": lambda: {"": partial_gap(ROWS, CODES, [3, 4])},
    "collapse": lambda: neural_collapse(ROWS, CODES[:, 0], 3),
    "linguistic collapse": lambda: linguistic_collapse(ROWS, ROWS.flip(0)),
    "eigenspectrum": lambda: {"": eigenspectrum(ROWS)["rankme"]},
    "whitened": lambda: {"": whitened(ROWS)},
    "concepts": lambda: {"": concepts(ROWS, 3).singular_values},
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_the_same_whatever_is_allowed(name, allowed):
    with torch.autocast("cpu", torch.bfloat16), Products() as products:
        found = FIGURES[name]()
    assert products.allowed <= {("ieee", "torch.float32"), (CUDA.fp32_precision, "torch.float64")}
    torch.set_float32_matmul_precision("highest")
    for key, value in FIGURES[name]().items():
        torch.testing.assert_close(found[key], value, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_nearest_tokens_are_the_same_under_autocast():
    rows = torch.randn(3000, 8, generator=torch.Generator().manual_seed(1))
    table = AttributeTable.from_dict({"a": (torch.arange(3000) % 2).tolist()})
    with torch.autocast("cpu", torch.bfloat16):
        found = directions(rows, table)
    assert str(found) == str(directions(rows, table))


@pytest.mark.parametrize("error", [None, ArithmeticError])
def test_what_was_allowed_is_allowed_again(allowed, error):
    before = settings()
    with contextlib.suppress(ArithmeticError), torch.autocast("cpu", torch.bfloat16):
        with full_precision(torch.device("cpu")):
            assert (CUDA.fp32_precision, CPU.fp32_precision) == ("ieee", "ieee")
            assert not torch.is_autocast_enabled("cpu")
            if error is not None:
                raise error
        assert torch.is_autocast_enabled("cpu")
    assert settings() == before
