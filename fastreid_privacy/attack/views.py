"""The same images as different people see them: raw, protected, under an operator, through a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ..checkpoints.image_maps import ImageMap
from ..core.errors import named
from ..core.images import quantize, scaled
from ..core.pictures import read_picture, resize
from ..desensitize import Desensitizer
from ..desensitize.regions import RegionFinder, fitted, regions_of
from ..model.image_stages import path_seeds
from .subjects import Subject

BATCH = 64
Item = TypeVar("Item")

View = Callable[[Sequence[Subject]], Tensor]
"""Images of some subjects: float32 N×3×H×W, RGB, whole numbers 0–255, as files keep them."""


@dataclass(frozen=True)
class Files:
    """The raw or the protected files, all brought to one size.

    Attributes:
        size: (height, width).
        protected: which of the two.
    """

    size: tuple[int, int]
    protected: bool = False

    def __call__(self, subjects: Sequence[Subject]) -> Tensor:
        """The images: see :data:`View`.

        Raises:
            UserError: naming a file that cannot be read.
        """
        return torch.stack([self._read(each.protected if self.protected else each.raw) for each in subjects])

    def _read(self, path: Path) -> Tensor:
        with named(path):
            pixels = resize(read_picture(path), self.size)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()


@dataclass(frozen=True)
class Operated:
    """Raw images under a conventional operator, or an anonymizer, as 8-bit files would hold them.

    Attributes:
        raw: the view of the raw images.
        operator: N×3×H×W, 0–255, the seeds of its noise, the people who are shown and the regions of the
            images, to the same.
        finder: tells the regions of raw files; None: the operator needs none.
    """

    raw: View
    operator: Callable[[Tensor, Tensor, Sequence[int], Tensor | None], Tensor]
    finder: RegionFinder | None = None

    def __call__(self, subjects: Sequence[Subject]) -> Tensor:
        """The images: see :data:`View`."""
        names, images = [each.name for each in subjects], self.raw(subjects)
        height, width = images.shape[2:]
        regions = regions_of(self.finder, [each.raw for each in subjects], (height, width), names)
        return quantize(self.operator(images, path_seeds(names), [each.pid for each in subjects], regions))


@dataclass(frozen=True)
class Mapped:
    """A view, and what somebody makes of it.

    Attributes:
        view: what they see.
        mapping: N×3×H×W, 0–255, to the same.
    """

    view: View
    mapping: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, subjects: Sequence[Subject]) -> Tensor:
        """The images: see :data:`View`."""
        return quantize(self.mapping(self.view(subjects)))


class Held:
    """A view of some subjects, made once and kept.

    Args:
        view: what is kept.
        subjects: of whom; no others can be asked for.
    """

    def __init__(self, view: View, subjects: Sequence[Subject]):
        self._images = {
            each.name: image
            for some in batches(subjects)
            for each, image in zip(some, view(some).byte(), strict=True)
        }

    def __call__(self, subjects: Sequence[Subject]) -> Tensor:
        """The images: see :data:`View`."""
        return torch.stack([self._images[each.name] for each in subjects]).float()


def at_size_of(network: ImageMap) -> Callable[..., Tensor]:
    """A trained network as a map of images of any size: scaled to its own, and back.

    The map also takes seeds of noise, people and regions, as the network does.
    """

    def mapping(
        images: Tensor,
        seeds: Tensor | None = None,
        people: Sequence[int] | None = None,
        regions: Tensor | None = None,
    ) -> Tensor:
        height, width = images.shape[2:]
        if network.size in (None, (height, width)):
            return network(images, seeds, people, regions)
        assert network.size is not None
        parts = None if regions is None else fitted(regions, network.size)
        return scaled(network(scaled(images, network.size), seeds, people, parts), (height, width))

    return mapping


def operated(raw: View, name: str) -> Operated:
    """Raw images under a registered conventional operator of the paper's strength."""
    operator = Desensitizer(name)
    return Operated(raw, operator, operator.finder)


def batches(subjects: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The subjects, or pairs of them, some at a time, in their order."""
    for start in range(0, len(subjects), BATCH):
        yield subjects[start : start + BATCH]
