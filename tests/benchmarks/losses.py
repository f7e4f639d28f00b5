"""What the losses on cosines cost, forward and backward, as ratios measured side by side.

Beside them stands a part of what each step of a language model costs anyway: the logits of 1024
positions, forward and backward.
"""

import statistics
import sys

import torch

from lightning_semgeom import AttributeAlignment, AttributeTable, GramAnchor, GramDispersion
from tests.benchmarks.geometry import NUM_VALUES, made, options_of, timed

DRAWN = (1024, 2048, 4096, 8192)
POSITIONS = 1024


def logits_of(weight):
    hidden = torch.randn(POSITIONS, weight.shape[1])

    def step():
        (hidden @ weight.T).square().mean().backward()
        weight.grad = None

    return step


def step_of(loss, weight):
    def step():
        loss(weight).backward()
        weight.grad = None

    return step


def anchor_of(weight, max_rows):
    anchor = GramAnchor(warm_up=0, max_rows=max_rows)
    anchor(weight)
    # More than there can be: it is past its top.
    top = torch.tensor(2.0, dtype=torch.float64).view(torch.int64)
    anchor.load_state_dict(anchor.state_dict() | {"_state.top": top})
    anchor(weight + 0.1 * torch.randn_like(weight))
    assert anchor.holds
    return anchor


def main():
    options = options_of(__doc__, rounds=3)
    weight, codes = made(options.rows, options.width)
    weight.requires_grad_()
    columns = {f"a{m}": column.tolist() for m, column in zip(NUM_VALUES, codes.T, strict=True)}
    table = AttributeTable.from_dict(columns)
    sizes = (*DRAWN, options.rows)
    makers = {
        "anchor": lambda rows: anchor_of(weight.detach(), rows),
        "alignment": lambda rows: AttributeAlignment(table, max_rows=rows),
        "dispersion": lambda rows: GramDispersion(max_rows=rows),
    }
    logits = logits_of(weight)
    print(f"{options.rows} rows of width {options.width}; shares of the logits of {POSITIONS}")
    print("rows drawn  " + "".join(f"{size:>10}" for size in sizes))
    for name, make in makers.items():
        shares = []
        for size in sizes:
            step = step_of(make(size), weight)
            step()
            shares.append(
                statistics.median(timed(step) / timed(logits) for _ in range(options.rounds))
            )
        print(f"{name:12}" + "".join(f"{share:10.1%}" for share in shares), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
