import pytest
import torch

from lightning_semgeom import SemanticGeometry
from lightning_semgeom.settings.factored import (
    VOCABULARY,
    FactoredData,
    FactoredModel,
    factored_attributes,
    factored_tokens,
)
from tests import models


def test_each_context_spells_its_values_and_has_an_id_of_its_own():
    tokens, table = factored_tokens(), factored_attributes()
    assert tokens.shape == (64, 6)
    assert tokens.max() < VOCABULARY
    assert len({tuple(row) for row in tokens.tolist()}) == 64
    assert len(set(tokens[:, 1].tolist())) == 64
    for a, position in enumerate((2, 3, 4)):
        assert len(set(tokens[:, position].tolist())) == table.num_values[a]
        codes, spelled = table.codes[:, a], tokens[:, position]
        assert torch.equal(codes[:, None] == codes, spelled[:, None] == spelled)
    assert len(set(tokens[:, 0].tolist())) == len(set(tokens[:, 5].tolist())) == 1


def test_the_seed_alone_decides_the_weights():
    state = torch.get_rng_state()
    one, same, other = FactoredModel(1), FactoredModel(1), FactoredModel(2)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert one.lm_head.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert one.token_embedding.weight.std().item() == pytest.approx(0.1, rel=0.1)


def test_structure_emerges_early_and_decays_and_the_control_does_not(tmp_path):
    options = {"hidden": "final_norm", "positions": "last", "every_n_steps": 25}
    geometry = SemanticGeometry(factored_attributes(), **options)
    control = SemanticGeometry(factored_attributes().shuffled(0), name="control", **options)
    trainer = models.trainer(tmp_path, geometry, control, max_steps=400)
    trainer.fit(FactoredModel(0), FactoredData())
    steps, gaps = geometry.history.curve("semgeom_unembedding/gap")
    assert abs(gaps[0]) < 0.02
    assert 0.15 <= gaps.max() <= 0.31
    assert 25 <= steps[gaps.argmax()] <= 65
    assert gaps[-1] < 0.5 * gaps.max()
    for (site, _), detector in geometry.phases.items():
        assert site != "unembedding" or detector.onset_step is not None
    for milestone in ("onset_step", "peak_step"):
        last = geometry.history.records[-1].values[f"semgeom_unembedding/{milestone}/b"]
        assert last == getattr(geometry.phases["unembedding", "b"], milestone)
    assert all(detector.onset_step is None for detector in control.phases.values())
    hidden = geometry.history.curve("semgeom_hidden.final_norm/rows")[1]
    assert hidden[0] == 64
