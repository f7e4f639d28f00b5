"""S3, the pictures setting: 64 kinds of small pictures, told apart by an MLP.

Tint 4 x shape 4 x stripes 4; a picture `[3, 12, 12]` is .5 of its tint + .8 of a white shape near
the centre + .4 of stripes of period 4 at one of four angles + .3 of a texture of its kind + .3 of
noise, centred and of unit root mean square; four pictures of each kind. In the spirit of Zhao,
Papadimitriou & Thrampoulidis, "Structure Before Collapse" (arXiv 2606.26749); the details are ours.
"""

from __future__ import annotations

import itertools
from math import pi

import torch
from torch import Tensor, nn

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.settings.recipe import CLASSES, WIDTH, Batch, FullBatch, LabelModel

TINTS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "grey": (0.58, 0.58, 0.58)}
SHAPES = ("disc", "square", "cross", "ring")
ANGLES = {"horizontal": 0.0, "rising": pi / 4, "vertical": pi / 2, "falling": 3 * pi / 4}
SIZE = 12
SAMPLES = 4
KINDS = list(itertools.product(TINTS, SHAPES, ANGLES))
WIDTHS = (3 * SIZE * SIZE, 128, 128, WIDTH)


def pictures_attributes() -> AttributeTable:
    """The attributes of the 64 labels, which are the rows of the unembedding."""
    columns = zip(*KINDS, strict=True)
    return AttributeTable.from_dict(dict(zip(("tint", "shape", "stripes"), columns, strict=True)))


def draw_pictures(seed: int, samples: int = SAMPLES) -> tuple[Tensor, Tensor]:
    """Pictures fp32 `[64 * samples, 3, 12, 12]` and their labels int64 `[64 * samples]`.

    Args:
        seed: of textures, places and noise.
        samples: pictures of each kind.
    """
    generator = torch.Generator().manual_seed(seed)
    textures = torch.randn(CLASSES, 3, SIZE, SIZE, generator=generator)
    drawn = []
    for (tint, shape, angle), texture in zip(KINDS, textures, strict=True):
        for _ in range(samples):
            place = 0.5 * torch.randn(2, generator=generator)
            picture = 0.5 * torch.tensor(TINTS[tint])[:, None, None] + 0.8 * _shape(shape, place)
            picture = picture + 0.4 * _stripes(ANGLES[angle]) + 0.3 * texture
            drawn.append(picture + 0.3 * torch.randn(picture.shape, generator=generator))
    pictures = torch.stack(drawn)
    pictures -= pictures.mean(0)
    pictures /= pictures.square().mean((1, 2, 3), keepdim=True).sqrt()
    return pictures, torch.arange(CLASSES).repeat_interleave(samples)


def _grid() -> tuple[Tensor, Tensor]:
    """Row and column of each pixel from the centre, `[12, 12]` each."""
    place = torch.arange(SIZE) - (SIZE - 1) / 2
    rows, columns = torch.meshgrid(place, place, indexing="ij")
    return rows, columns


def _shape(name: str, place: Tensor) -> Tensor:
    """1 inside the shape around `place` `[2]`, 0 outside: `[12, 12]`."""
    rows, columns = (axis - shift for axis, shift in zip(_grid(), place, strict=True))
    from_centre = (rows.square() + columns.square()).sqrt()
    inside: dict[str, Tensor] = {
        "disc": from_centre <= 4,
        "square": torch.maximum(rows.abs(), columns.abs()) <= 4.5,
        "cross": torch.minimum(rows.abs(), columns.abs()) <= 1.2,
        "ring": (from_centre >= 3.5) & (from_centre <= 5.5),
    }
    return inside[name].float()


def _stripes(angle: float) -> Tensor:
    """Stripes of period 4 at `angle`, 1 and -1 by turns: `[12, 12]`."""
    rows, columns = _grid()
    across = torch.tensor(angle)
    return torch.sin(2 * pi / 4 * (rows * across.cos() + columns * across.sin())).sign()


class PicturesData(FullBatch):
    """All pictures at each step: `pictures` fp32 `[256, 3, 12, 12]` and `labels` int64 `[256]`.

    Args:
        seed: of the pictures.
        steps_per_epoch: batches an epoch.
    """

    def __init__(self, seed: int = 0, steps_per_epoch: int = 100) -> None:
        pictures, labels = draw_pictures(seed)
        super().__init__({"pictures": pictures, "labels": labels}, steps_per_epoch)


class PicturesModel(LabelModel):
    """An MLP that names the kind of a picture.

    `final_norm` gives the features `[B, 64]`; `lm_head` is the unembedding, a row a kind.

    Args:
        seed: of the initial weights; the global generators are left as they are.
        learning_rate: after a warm-up of 10 steps.
        label_smoothing: share of each label that is spread over all others.
    """

    def __init__(
        self, seed: int = 0, learning_rate: float = 2e-3, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(learning_rate, eps=1e-3, label_smoothing=label_smoothing)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layers: list[nn.Module] = [nn.Flatten()]
            for before, after in itertools.pairwise(WIDTHS):
                linear = nn.Linear(before, after)
                nn.init.normal_(linear.weight, std=0.1 * before**-0.5)
                nn.init.zeros_(linear.bias)
                layers += [linear, nn.GELU()]
            self.mlp = nn.Sequential(*layers[:-1])
            self.final_norm = nn.LayerNorm(WIDTH)
            self.lm_head = nn.Linear(WIDTH, CLASSES, bias=False)
            nn.init.normal_(self.lm_head.weight, std=0.02)

    def forward(self, batch: Batch) -> Tensor:
        """Logits `[B, 64]`."""
        logits: Tensor = self.lm_head(self.final_norm(self.mlp(batch["pictures"])))
        return logits
