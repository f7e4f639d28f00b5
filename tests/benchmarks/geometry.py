"""What the geometry costs, as ratios measured side by side: `make bench`.

The machine's speed drifts, so the timings of a round are taken one after the other and the median
of the ratios over the rounds is told.
"""

import argparse
import resource
import statistics
import sys
import time

import torch

from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.similarity import similarity_from_sums
from lightning_semgeom.geometry.sums import mean_sums, row_sums

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


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50257)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    weight, codes = made(options.rows, options.width)
    plan = CodePlan(codes, NUM_VALUES)
    small, small_codes = weight[:8192], codes[:8192]
    small_plan = CodePlan(small_codes, NUM_VALUES)

    def sums(rows=weight, plan=plan, null=False):
        found = row_sums(rows, plan, mean_sums(rows).mean, second=null)
        return similarity_from_sums(found, NUM_VALUES)

    # Memory first: the peak of the process only ever rises. The first call loads what stays loaded.
    sums(small, small_plan, null=True)
    memory = []
    for null in (False, True):
        before = peak_bytes()
        sums(null=null)
        memory.append((peak_bytes() - before) / (weight.numel() * weight.element_size()))

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
    fast = statistics.median(timed(lambda: sums(small, small_plan)) for _ in range(rounds))
    print(f"{options.rows} rows of width {options.width}, fp32, attributes of {NUM_VALUES} values")
    print(f"sums / vector_norm             {cost:8.1f}   (aim 4, at most 8)")
    print(f"null / W.T @ W                 {statistics.median(null_times):8.2f}   (at most 1.5)")
    print(f"masks on the Gram / sums, 8192 {slow / fast:8.0f}   (at least 200)")
    print(f"extra memory / W, null off     {memory[0]:8.1%}   (at most 10 %)")
    print(f"extra memory / W, null on      {memory[0] + memory[1]:8.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
