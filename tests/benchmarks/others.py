"""What users may take instead for the same attributes, beside ours: `make bench`.

None of them gives cosines within and between values; each needs a pass or more an attribute.
"""

import sys

import torch
from sklearn.metrics import calinski_harabasz_score
from torchmetrics.functional.clustering import calinski_harabasz_score as of_torchmetrics

from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.quick import quick_mean, quick_sums
from tests.benchmarks.geometry import NUM_VALUES, made, options_of, ratio_of


def accumulated(rows, labels, classes):
    """Means, then squares about them, as rhubarbwu/neural-collapse's accumulators have them.

    These are the lines of `MeanAccumulator` and `VarNormAccumulator`, with all rows in one batch;
    the package is on no index.
    """
    indicators = (labels[:, None] == torch.arange(classes)).mT.to(rows.dtype)
    means = indicators @ rows / indicators.sum(1, keepdim=True)
    return means, (indicators @ (rows - means[labels]) ** 2).sum(dim=-1)


def main():
    options = options_of(__doc__, rounds=5)
    weight, codes = made(options.rows, options.width)
    plan, columns = CodePlan(codes, NUM_VALUES), codes.unbind(1)

    def ours(second):
        return quick_sums(weight, plan, quick_mean(weight).mean, second)

    ways = {
        "ours, mean and sums": lambda: ours(second=False),
        "ours, and second moments, for z": lambda: ours(second=True),
        "neural-collapse's accumulators": lambda: [
            accumulated(weight, column, count)
            for column, count in zip(columns, NUM_VALUES, strict=True)
        ],
        "torchmetrics' calinski_harabasz_score": lambda: [
            of_torchmetrics(weight, column) for column in columns
        ],
        "scikit-learn's calinski_harabasz_score": lambda: [
            calinski_harabasz_score(weight.numpy(), column.numpy()) for column in columns
        ],
    }

    def norm():
        torch.linalg.vector_norm(weight, dim=1)

    print(f"{options.rows} rows of width {options.width}, fp32, attributes of {NUM_VALUES} values")
    for name, take in ways.items():
        print(f"{name:40} / vector_norm {ratio_of(take, norm, options.rounds):8.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
