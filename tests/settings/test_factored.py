import pytest
import torch

from lightning_semgeom.settings.factored import (
    VOCABULARY,
    FactoredModel,
    factored_attributes,
    factored_tokens,
)


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
