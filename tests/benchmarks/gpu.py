"""What the geometry costs on a GPU, as ratios: `python -m tests.benchmarks.gpu`, wherever CUDA is.

All timings are of one run; the card is named beside them.
"""

import argparse
import statistics
import sys
from functools import partial

import torch

from lightning_semgeom import AttributeTable
from lightning_semgeom.geometry.quick import quick_mean, quick_sums
from lightning_semgeom.geometry.sums import RowSums
from lightning_semgeom.measure.plan import plan_site
from lightning_semgeom.measure.reduced import reduced
from tests.benchmarks.geometry import NUM_VALUES, made, partly_labelled
from tests.benchmarks.hidden import cost_of_a_site, seconds


def table_of(rows, partly):
    """The attributes of `make bench`."""
    _, codes = made(rows, width=1)
    values = tuple(tuple(map(str, range(m))) for m in NUM_VALUES)
    return AttributeTable(partly_labelled(codes) if partly else codes, tuple("abcde"), values)


def median_seconds(function, device, rounds):
    function()
    return statistics.median(seconds(function, device) for _ in range(rounds))


def error_of_moments(weight, sums):
    """The relative error of ||C||^2 against products in fp64."""
    x = weight.double()
    unit = torch.nn.functional.normalize(x - x.mean(0))
    exact = torch.linalg.matrix_norm(unit.T @ unit).square()
    found = torch.linalg.matrix_norm(sums.second[0]).square()
    return float((found - exact).abs() / exact)


def peak_of(function, device):
    """Bytes that `function` needs at its peak, over what is there before."""
    if device.type != "cuda":
        return float("nan")
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    function()
    return torch.cuda.max_memory_allocated(device) - before


def tell(rows, width, dtype, device, rounds):
    weight = torch.randn(rows, width, device=device).to(dtype)
    plans = {
        sets: plan_site(table_of(rows, partly), torch.arange(rows), 96).to(device)
        for sets, partly in ((1, False), (3, True))
    }
    time = partial(median_seconds, device=device, rounds=rounds)

    def sums(sets=1, second=False):
        return quick_sums(weight, plans[sets].codes, quick_mean(weight).mean, second)

    norm = time(lambda: torch.linalg.vector_norm(weight, dim=1))
    gemm = time(lambda: weight.T @ weight)
    whole = {sets: sums(sets, second=True) for sets in plans}
    without = {sets: time(partial(sums, sets)) for sets in plans}
    with_second = {sets: time(partial(sums, sets, second=True)) for sets in plans}
    figures = partial(reduced, whole[1], plans[1], whole[1].count * 0)
    memory = peak_of(partial(sums, 1, second=True), device) / weight.nbytes
    print(f"\n[{rows}, {width}] {dtype}, rounds of {rounds}")
    print(f"vector_norm, W.T @ W, ms           {norm * 1e3:8.3f} {gemm * 1e3:.2f}")
    print(f"mean and sums / vector_norm        {without[1] / norm:8.1f}   (aim 4, at most 8)")
    for sets in plans:
        cost = (with_second[sets] - without[sets]) / gemm
        print(f"second moments / W.T @ W, {sets} set(s) {cost:7.2f}   (at most 4 for one)")
    error = error_of_moments(weight, whole[1])
    print(f"error of ||C||^2                   {error:8.1e}   (at most 1e-6)")
    for eigenvalues in (False, True):
        took = time(partial(figures, eigenvalues=eigenvalues)) * 1000
        print(f"figures, ms, eigenvalues {eigenvalues!s:5}      {took:8.1f}   (at most 10 without)")
    print(f"extra peak memory / W              {memory:8.1%}   (at most 20 %)")
    size = RowSums.packed_size(plans[1].codes, width) * 8 / 2**20
    print(f"packed for the all-reduce, MB      {size:8.1f}")
    first, *others = (sums(3, second=True).packed() for _ in range(5))
    print(f"five calls give the same bits      {all(map(first.equal, others))!s:>8}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device here.")
        return 0
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{name}, torch {torch.__version__}")
    sizes = [(50257, 768, torch.float32), (128256, 4096, torch.bfloat16)]
    hidden = (32, 8192, 4096)
    if options.small:
        sizes, hidden = [(n // 20, d // 16, dtype) for n, d, dtype in sizes], (3, 512, 64)
    for rows, width, dtype in sizes:
        tell(rows, width, dtype, device, options.rounds)
    cost = cost_of_a_site(*hidden, torch.bfloat16, device, rounds=3)
    print(
        f"\na record of {hidden[0]} hidden sites [{hidden[1]}, {hidden[2]}], bf16, no eigenvalues"
    )
    print(f"a site / linear layer's forward    {cost:8.2f}   (at most 4)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
