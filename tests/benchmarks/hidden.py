"""What a record of many hidden sites costs, against the forward of one layer: `make bench`."""

import argparse
import statistics
import sys
import time

import torch

from lightning_semgeom import AttributeTable
from lightning_semgeom.capture.activations import HiddenRows
from lightning_semgeom.measure.hidden import HiddenFigures

LABELS = 5000


def table():
    """Three attributes; the last one labels four of five rows."""
    return AttributeTable.from_dict(
        {
            "colour": [i % 3 for i in range(LABELS)],
            "kind": [i % 40 for i in range(LABELS)],
            "part": [i % 7 if i % 5 else None for i in range(LABELS)],
        }
    )


def labels_of(positions):
    """Few labels are frequent and many are rare, as words are."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(positions, generator=generator) ** 3 * LABELS).long()


def seconds(function, device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def cost_of_a_site(sites, positions, width, dtype, device, rounds):
    """The time of a record's hidden sites, a site, over that of one linear layer's forward."""
    outputs = [torch.randn(positions, width, device=device, dtype=dtype) for _ in range(sites)]
    layer = torch.nn.Linear(width, width, bias=False, device=device, dtype=dtype)
    labels, measuring = labels_of(positions), HiddenFigures(table(), 96)

    def record():
        rows = {f"layers.{k}": HiddenRows(output, labels) for k, output in enumerate(outputs)}
        measuring.measure(rows, eigenvalues=False)

    @torch.no_grad()
    def forward():
        layer(outputs[0])

    measuring.measure({"layers.0": HiddenRows(outputs[0], labels)}, eigenvalues=False)
    forward()
    ratios = []
    for _ in range(rounds):
        whole = statistics.median(seconds(forward, device) for _ in range(5))
        ratios.append(seconds(record, device) / sites / whole)
    return statistics.median(ratios)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sites", type=int, default=32)
    parser.add_argument("--positions", type=int, default=8192)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    given = options.sites, options.positions, options.width
    cost = cost_of_a_site(*given, torch.float32, torch.device("cpu"), options.rounds)
    print(f"a record of {given[0]} hidden sites [{given[1]}, {given[2]}], fp32, no eigenvalues")
    print(f"a site / linear layer's forward {cost:7.2f}   (at most 4)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
