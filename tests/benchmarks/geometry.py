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
from lightning_semgeom.geometry.quick import quick_mean, quick_sums
from lightning_semgeom.geometry.similarity import similarity_from_sums
from lightning_semgeom.measure.plan import plan_site
from lightning_semgeom.measure.site import measure

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
    quick_sums(tiny, CodePlan(codes[:64], NUM_VALUES), quick_mean(tiny).mean)  # loads the libraries
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    quick_sums(weight, plan, quick_mean(weight).mean, second=null)
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


def partly_labelled(codes):
    """The second attribute labels 70 % of the rows and the fourth 10 %."""
    codes = codes.clone()
    for a, share in ((1, 0.7), (3, 0.1)):
        codes[torch.rand(len(codes)) > share, a] = -1
    return codes


def in_a_fresh_process(function, *arguments):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def options_of(doc, rounds):
    """How large the weight is, GPT-2's by default, and how often all is timed."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50257)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=rounds)
    return parser.parse_args()


def main():
    options = options_of(__doc__, rounds=15)
    memory = [
        in_a_fresh_process(extra_memory, options.rows, options.width, null)
        for null in (False, True)
    ]
    weight, codes = made(options.rows, options.width)
    plan = CodePlan(codes, NUM_VALUES)
    small, small_codes = weight[:8192], codes[:8192]
    small_plan = CodePlan(small_codes, NUM_VALUES)

    def sums(rows=weight, plan=plan, null=False):
        return quick_sums(rows, plan, quick_mean(rows).mean, second=null)

    def norm():
        torch.linalg.vector_norm(weight, dim=1)

    def product():
        return weight.T @ weight

    rounds = options.rounds
    cost = ratio_of(sums, norm, rounds)
    partly = CodePlan(partly_labelled(codes), NUM_VALUES)

    def null_times(plan):
        def without():
            return sums(plan=plan)

        def with_null():
            return sums(plan=plan, null=True)

        without(), with_null()
        return [(timed(with_null) - timed(without)) / timed(product) for _ in range(rounds)]

    slow = timed(lambda: masks_on_the_gram(small, small_codes))

    def all_figures():
        return similarity_from_sums(sums(small, small_plan), NUM_VALUES)

    fast = statistics.median(timed(all_figures) for _ in range(rounds))
    print(f"{options.rows} rows of width {options.width}, fp32, attributes of {NUM_VALUES} values")
    one_set, three_sets = (statistics.median(null_times(p)) for p in (plan, partly))
    print(f"sums / vector_norm             {cost:8.1f}   (aim 3, at most 4)")
    print(f"null / W.T @ W, one label set  {one_set:8.2f}   (at most 1.15)")
    print(f"null / W.T @ W, three          {three_sets:8.2f}   (at most 1.15)")
    print(f"masks on the Gram / sums, 8192 {slow / fast:8.0f}   (at least 200)")
    print(f"extra memory / W, null off     {memory[0]:8.1%}   (at most 10 %)")
    print(f"extra memory / W, null on      {memory[1]:8.1%}   (at most 20 %)")
    tell_many_attributes(rows=1000, width=64, rounds=3)
    return 0


if __name__ == "__main__":
    sys.exit(main())
