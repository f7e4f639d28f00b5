import torch

from lightning_semgeom.settings.latent import (
    SYNONYMS,
    VOCABULARY,
    LatentModel,
    latent_attributes,
    latent_tokens,
)


def test_each_context_is_new_and_hints_at_its_values():
    tokens, codes = latent_tokens(0), latent_attributes().codes
    assert tokens.shape == (64, 14)
    assert len({tuple(row) for row in tokens.tolist()}) == 64
    assert len(set(tokens[:, 0].tolist())) == len(set(tokens[:, -1].tolist())) == 1
    first = 66  # after the labels, BOS and the query
    for a, (number, part) in enumerate(((2, tokens[:, 1:5]), (4, tokens[:, 5:13]))):
        values = (part - first) // SYNONYMS
        assert values.min() == 0
        assert values.max() == number - 1
        # .8 + .2 / number of the tokens are of the context's own value.
        share = (values == codes[:, a, None]).double().mean()
        assert abs(share - (0.8 + 0.2 / number)) < 0.08
        first += number * SYNONYMS
    assert tokens.max() < VOCABULARY == first


def test_the_attributes_are_balanced():
    table = latent_attributes()
    assert table.names == ("a", "b")
    assert table.num_values == (2, 4)
    combinations, counts = table.codes.unique(dim=0, return_counts=True)
    assert len(combinations) == 8
    assert counts.tolist() == [8] * 8


def test_seeds_decide_the_contexts_and_others_are_fresh():
    assert torch.equal(latent_tokens(3), latent_tokens(3))
    fresh = {tuple(row) for row in latent_tokens(4, contexts=16).tolist()}
    assert len(fresh) == 128
    assert not fresh & {tuple(row) for row in latent_tokens(3).tolist()}


def test_the_model_starts_as_the_recipe_says():
    model = LatentModel(0)
    assert abs(model.block.mlp[0].weight.std() - 0.01) < 0.001
    assert abs(model.lm_head.weight.std() - 0.02) < 0.001
    assert model.eps == 1e-4
