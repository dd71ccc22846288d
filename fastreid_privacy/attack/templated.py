"""Row A7: a network draws people from their search templates, which are features of the raw images.

Who holds the search key opens the template of every protected file. From raw images of known people the
attacker learns what a template looks like as a picture: from the template alone, and from the template and
the protected file together, which they hold anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..keys.pairs import PrivateKey
from ..retrieval.templates import required_templates
from . import measures
from .cells import Cell, Found, Means, Target
from .judging import recovered
from .learned import Learned, Recovery, depth_of, pictures_of
from .subjects import Subject, Subjects

TEMPLATES_METRIC = "cosine"  # who holds the search key alone knows of no other one
FLATTEST = 1e-3  # of the largest spread of a value: one that spreads less tells nothing, and is not enlarged


def open_templates(subjects: Subjects, key: PrivateKey) -> dict[str, Tensor]:
    """The template of every image, by its name: D float32.

    Raises:
        UserError: naming files without a template that the key opens, or with one of another model.
    """
    images = {each.name: each.protected for each in (*subjects.known, *subjects.measured)}
    features = required_templates(list(images.values()), key)
    return dict(zip(images, torch.from_numpy(features), strict=True))


def templates_of(templates: Mapping[str, Tensor], subjects: Sequence[Subject]) -> Tensor:
    """N×D: the templates of some subjects."""
    return torch.stack([templates[each.name] for each in subjects])


class Drawing(nn.Module):
    """Pictures from templates: a linear layer to a coarse map, then layers that double it.

    Args:
        known: N×D templates of known people; each value is brought to their mean 0 and spread 1.
        width: channels of the last layer; of the coarser ones up to eight times as many.
        size: (height, width) of the pictures.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, known: Tensor, width: int, size: tuple[int, int]):
        super().__init__()
        spread, mean = torch.std_mean(known.double(), dim=0, correction=0)
        floor = FLATTEST * float(spread.max()) or 1.0
        self.register_buffer("mean", mean.float())
        self.register_buffer("spread", spread.clamp(min=floor).float())
        doublings = depth_of(size) - 1
        self.size = size
        self.coarse = [-(-side // 2**doublings) for side in size]
        channels = [width * min(2**level, 8) for level in reversed(range(doublings + 1))]
        self.spreading = nn.Linear(known.shape[1], channels[0] * self.coarse[0] * self.coarse[1])
        layers: list[nn.Module] = []
        for above, below in pairwise(channels):
            layers += [nn.BatchNorm2d(above), nn.ReLU(), nn.ConvTranspose2d(above, below, 4, 2, 1)]
        self.doubling = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(channels[-1], 3, 3, padding=1), nn.Tanh())

    def forward(self, templates: Tensor) -> Tensor:
        """N×D templates → N×3×H×W pictures, [−1, 1]."""
        height, width = self.size
        coarse = self.spreading((templates - self.mean) / self.spread)
        return self.doubling(coarse.unflatten(1, (-1, *self.coarse)))[..., :height, :width]


class Completion(nn.Module):
    """Pictures from protected images and templates: the U-Net of row A3 sees a drawing beside each image.

    Args:
        drawing: made of the template; it learns on.
        width: channels of the U-Net's first layer.
        size: (height, width) of the pictures.
    """

    def __init__(self, drawing: Drawing, width: int, size: tuple[int, int]):
        super().__init__()
        self.drawing, self.recovery = drawing, Recovery(width, size, beside=3)

    def forward(self, images: Tensor, templates: Tensor) -> Tensor:
        """N×3×H×W, 0–255, and N×D templates → N×3×H×W, [−1, 1]."""
        return self.recovery(images, self.drawing(templates))


def search_key_held(cell: Cell, target: Target, means: Means) -> Found:
    """Draw the queries from their templates, with the protected images and without, and find people by them.

    "recovery" is what the template and the protected image give together, "inverted" the template alone;
    "singling_out" is query templates in those of the gallery, what the search key is for.
    """
    attacker, known = means.attacker, means.subjects.known
    templates, pictures = partial(templates_of, target.templates), pictures_of(target.view)

    def alone(subjects: Sequence[Subject]) -> tuple[Tensor, ...]:
        return (templates(subjects),)

    def both(subjects: Sequence[Subject]) -> tuple[Tensor, ...]:
        return (*pictures(subjects), templates(subjects))

    build = partial(Drawing, templates(known), attacker.width)
    drawing = attacker.learn(build, alone, means.raw, known, cell.seed, f"{cell.name}, templates alone")
    told = attacker.told("U-Net with a drawing of the template", len(known))
    inverted = recovered(Learned(alone, drawing, attacker.device), means, told)
    complete = partial(Completion, drawing, attacker.width)
    network = attacker.learn(complete, both, means.raw, known, cell.seed, cell.name)
    found = recovered(Learned(both, network, attacker.device), means, told)
    query, gallery = (templates(side).numpy() for side in (means.subjects.query, means.subjects.gallery))
    single, singled = measures.found(query, gallery, means.subjects, TEMPLATES_METRIC)
    single["chance"] = measures.chance(means.subjects)
    return Found(
        {**found.figures, "inverted": inverted.figures["recovery"], "singling_out": single},
        {**found.hits, "inverted": inverted.hits["recovery"], "singling_out": singled},
        {**found.pictures, "inverted": inverted.pictures["recovery"]},
    )
