"""What the anchor keeps without attributes is what their gap would have chosen."""

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from lightning_semgeom import GramAnchor, attribute_similarity
from lightning_semgeom.settings.controlled import NETWORKS, network_setting

STEPS = 50  # at least: the gaps are largest after 28 to 46; the anchor holds from 44 to 66 on


class Gap:
    """Of rows, the mean over attributes without missing values; a tenth of the package's time."""

    def __init__(self, table):
        same = (table.codes[:, None] == table.codes).permute(2, 0, 1).float()
        other = 1 - same
        for pairs in (same, other):
            pairs.diagonal(dim1=1, dim2=2).zero_()
            pairs /= pairs.sum((1, 2), keepdim=True)
        self.weights = (same - other).mean(0)

    def __call__(self, rows):
        unit = normalize(rows - rows.mean(0))
        return float((self.weights * (unit @ unit.T)).sum())


# Without a Trainer, which would take a third of the time: GeometryRegularizer calls its loss in
# this way, as its own tests show.
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("setting", NETWORKS)
def test_the_rows_that_are_kept_have_nearly_the_largest_gap(setting, seed):
    made = network_setting(setting, seed)
    model, table = made.model, made.table
    (optimizer,), (warm_up,) = model.configure_optimizers()
    anchor, gap, gaps = GramAnchor(len(table)), Gap(table), []
    while len(gaps) < STEPS or not anchor.holds:
        assert len(gaps) < 80
        rows = model.lm_head.weight.detach()
        gaps.append(gap(rows[: len(table)]))
        anchor(rows)
        cross_entropy(model(made.data.batch), made.data.batch["labels"]).backward()
        optimizer.step()
        optimizer.zero_grad()
        warm_up["scheduler"].step()
    kept = anchor.state_dict()["_state.unembedding"].view(torch.float32)
    found = attribute_similarity(kept, table.codes, table.num_values)["gap"].mean()
    assert gap(kept) == pytest.approx(float(found), abs=1e-5)
    assert float(found) > 0.98 * max(gaps)
