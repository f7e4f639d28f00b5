"""What the anchor keeps without attributes is what their gap would have chosen."""

import pytest
import torch

from lightning_semgeom import (
    GeometryRegularizer,
    GramAnchor,
    SemanticGeometry,
    attribute_similarity,
)
from lightning_semgeom.settings.controlled import NETWORKS, network_setting
from tests import models


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("setting", NETWORKS)
def test_the_rows_that_are_kept_have_nearly_the_largest_gap(tmp_path, setting, seed):
    made, anchor = (
        network_setting(setting, seed),
        GramAnchor(len(network_setting(setting, 0).table)),
    )
    semgeom = SemanticGeometry(made.table, every_n_steps=2, growth=None, gram_size=2)
    # Without a weight the run is that of the setting.
    follow = GeometryRegularizer(anchor, weight=0.0)
    models.trainer(tmp_path, semgeom, follow, max_steps=90).fit(made.model, made.data)
    assert anchor.holds
    kept = anchor.state_dict()["_state.unembedding"].view(torch.float32)
    gap = attribute_similarity(kept, made.table.codes, made.table.num_values)["gap"].mean()
    largest = max(semgeom.history.curve("semgeom/gap")[1])
    assert float(gap) > 0.98 * largest
