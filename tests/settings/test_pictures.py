import pytest
import torch

from lightning_semgeom.settings.pictures import (
    KINDS,
    PicturesModel,
    draw_pictures,
    pictures_attributes,
)


def test_pictures_are_centred_of_unit_size_and_four_of_each_kind():
    pictures, labels = draw_pictures(0)
    assert pictures.shape == (256, 3, 12, 12)
    assert torch.bincount(labels).tolist() == [4] * 64
    assert pictures.square().mean((1, 2, 3)).tolist() == pytest.approx([1.0] * 256, abs=1e-5)
    assert pictures.mean(0).abs().max() < 0.15


@pytest.mark.parametrize("attribute", ["tint", "shape", "stripes"])
def test_pictures_of_a_value_are_nearer_to_each_other(attribute):
    pictures, labels = draw_pictures(1)
    table = pictures_attributes()
    codes = table.codes[labels, table.names.index(attribute)]
    rows = pictures.flatten(1)
    cosines = rows @ rows.T / rows.shape[1]
    same = codes[:, None] == codes
    other_kind = labels[:, None] != labels
    gap = cosines[same & other_kind].mean() - cosines[~same].mean()
    assert gap > 0.03


def test_the_seed_decides_the_pictures():
    assert torch.equal(draw_pictures(2)[0], draw_pictures(2)[0])
    assert not torch.equal(draw_pictures(2)[0], draw_pictures(3)[0])
    assert len(set(KINDS)) == 64


def test_the_model_starts_as_the_recipe_says():
    model = PicturesModel(0)
    first = model.mlp[1].weight
    assert abs(first.std() * 432**0.5 - 0.1) < 0.005
    assert model.mlp[1].bias.abs().max() == 0
    assert model.eps == 1e-3
    logits = model({"pictures": draw_pictures(0)[0]})
    assert logits.shape == (256, 64)
