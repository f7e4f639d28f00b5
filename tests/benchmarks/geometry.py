"""What the geometry costs, as ratios measured side by side: `make bench`.

The machine's speed drifts, so the timings of a round are taken one after the other and the median
of the ratios over the rounds is told.
"""

import argparse
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from lightning_semgeom import AttributeTable
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.similarity import similarity_from_sums
from lightning_semgeom.geometry.sums import mean_sums, row_sums
from lightning_semgeom.measure.site import measure, plan_site

NUM_VALUES = [2, 4, 12, 40, 200]


def timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def ratio_of(numerator, denominator, rounds):
    """Median of numerator / denominator over rounds in which both are timed."""
    numerator(), denominator()
    return statistics.median(timed(numerator) / timed(denominator) for _ in range(rounds))


def made(rows, width):
    torch.manual_seed(0)
    codes = torch.stack([torch.randint(0, m, (rows,)) for m in NUM_VALUES], dim=1)
    return torch.randn(rows, width), codes


def masks_on_the_gram(weight, codes):
    """The plain way: all cosines, then a mask an attribute."""
    unit = torch.nn.functional.normalize(weight - weight.mean(0))
    gram = unit @ unit.T
    off_diagonal = ~torch.eye(len(gram), dtype=torch.bool)
    gaps = []
    for column in codes.T:
        same = column[:, None] == column[None, :]
        gaps.append(gram[same & off_diagonal].mean() - gram[~same].mean())
    return torch.stack(gaps)


def extra_memory(rows, width, null):
    """Peak of a fresh process during the sums, over what it held before, in sizes of the weight."""
    torch.manual_seed(0)
    weight = torch.empty(rows, width).normal_()
    codes = torch.stack([torch.randint(0, m, (rows,)) for m in NUM_VALUES], dim=1)
    plan = CodePlan(codes, NUM_VALUES)
    tiny = torch.randn(64, 8)
    row_sums(tiny, CodePlan(codes[:64], NUM_VALUES), mean_sums(tiny).mean)  # loads the libraries
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    row_sums(weight, plan, mean_sums(weight).mean, second=null)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (peak - before) / (weight.numel() * weight.element_size())


def record_of(attributes, rows, width, own_patterns):
    """Takes one record of a hidden site: plan, sums, figures and picture."""
    codes = torch.randint(0, 2, (rows, attributes))
    if own_patterns:
        codes[torch.rand(codes.shape) < 0.05] = -1
    names = tuple(f"f{a}" for a in range(attributes))
    table = AttributeTable(codes, names, (("no", "yes"),) * attributes)
    x, row_ids = torch.randn(rows, width), torch.arange(rows)

    def record():
        measure(x, plan_site(table, row_ids, 96)).picture()

    return record


def tell_many_attributes(rows, width, rounds):
    """How the time of a record grows with the attributes, against 50 of them."""
    for own_patterns, what in ((False, "all rows"), (True, "95 % of the rows, each its own")):
        few = record_of(50, rows, width, own_patterns)
        print(f"a record of {rows} rows of width {width}, attributes that label {what}, by number")
        for attributes in (100, 200, 400, 1000):
            many = record_of(attributes, rows, width, own_patterns)
            print(
                f"time / time of 50 {attributes:8} {ratio_of(many, few, rounds):13.1f}   "
                f"(linear: {attributes / 50:.0f})"
            )


def in_a_fresh_process(function, *arguments):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50257)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    memory = [
        in_a_fresh_process(extra_memory, options.rows, options.width, null)
        for null in (False, True)
    ]
    weight, codes = made(options.rows, options.width)
    plan = CodePlan(codes, NUM_VALUES)
    small, small_codes = weight[:8192], codes[:8192]
    small_plan = CodePlan(small_codes, NUM_VALUES)

    def sums(rows=weight, plan=plan, null=False):
        return row_sums(rows, plan, mean_sums(rows).mean, second=null)

    def norm():
        torch.linalg.vector_norm(weight, dim=1)

    def with_null():
        return sums(null=True)

    def product():
        return weight.T @ weight

    rounds = options.rounds
    cost = ratio_of(sums, norm, rounds)
    null_times = [(timed(with_null) - timed(sums)) / timed(product) for _ in range(rounds)]
    slow = timed(lambda: masks_on_the_gram(small, small_codes))

    def all_figures():
        return similarity_from_sums(sums(small, small_plan), NUM_VALUES)

    fast = statistics.median(timed(all_figures) for _ in range(rounds))
    print(f"{options.rows} rows of width {options.width}, fp32, attributes of {NUM_VALUES} values")
    print(f"sums / vector_norm             {cost:8.1f}   (aim 4, at most 8)")
    print(f"null / W.T @ W                 {statistics.median(null_times):8.2f}   (at most 1.5)")
    print(f"masks on the Gram / sums, 8192 {slow / fast:8.0f}   (at least 200)")
    print(f"extra memory / W, null off     {memory[0]:8.1%}   (at most 10 %)")
    print(f"extra memory / W, null on      {memory[1]:8.1%}")
    tell_many_attributes(rows=1000, width=64, rounds=3)
    return 0


if __name__ == "__main__":
    sys.exit(main())
