"""Takes sums by the kernels of CUDA, which Triton's interpreter runs on the host.

A process of its own, since torch would import Triton in each process that can find it:
`python -m tests.geometry.interpreted CASES FOUND`, with TRITON_INTERPRET=1.
"""

import sys

import torch

from lightning_semgeom.geometry import class_kernels, fused, kernels, moment_kernels, pieces
from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.fused import FusedSums
from lightning_semgeom.geometry.plan import CodePlan

# So that small cases have several blocks, batches and lengths of pieces.
fused._SMALLEST = 128
pieces._ALWAYS, pieces._FEW = 0, 280


def found(rows, codes, num_values, mean):
    plan = CodePlan(codes, num_values)
    sums = FusedSums(rows, plan, mean, plan.patterns)
    second = sums.second()
    # One more than there are attributes: its matrix is the first, and so has two vectors.
    vectors = torch.cat([second[:, 0], second[:1].sum(1)])
    index = (*range(len(second)), 0)
    norms, forms = moment_kernels.norms_and_forms_of(second, vectors, index)
    return {
        "lengths": sums.lengths,
        "value_sums": sums.value_sums(),
        "second": second,
        "norms": norms,
        "forms": forms,
        "total": kernels.total_of(rows),
        "offsets": class_kernels.offsets_of(rows, Bags.of(codes[:, 1 % len(num_values)], 80)),
    }


if __name__ == "__main__":
    cases, answers = sys.argv[1:]
    torch.save([found(*case) for case in torch.load(cases)], answers)
