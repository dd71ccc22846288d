"""Regions: the part of each image that an operator changes, and where that is found.

An operator that asks for ``regions`` is marked with :func:`finds_regions`: its maker of a finder tells the
region of each image file. The package has no such operator of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from ..core.errors import named

REGION, REGIONS = "region", "regions"  # in a manifest: of a file, and of the run

Operator = TypeVar("Operator", bound=Callable[..., Tensor])


class Region(NamedTuple):
    """The part of an image that is to be changed.

    Attributes:
        mask: H×W bool, of the raw image's size.
        source: a word for the manifest: how it was found.
    """

    mask: np.ndarray
    source: str


class RegionFinder(Protocol):
    """Tells the regions of images. Several threads ask.

    Attributes:
        about: what the manifest's first line says of it; a run is continued only with the same.
    """

    about: Mapping[str, str]

    def __call__(self, path: Path, name: str | None, size: tuple[int, int] | None) -> Region:
        """The region of one image.

        Args:
            path: of the raw file.
            name: of the image in its collection: the path below the folder or below FASTREID_DATASETS; None:
                not known.
            size: (height, width) of the upright picture; None: it is read from the file.

        Raises:
            UserError: the reason why there is none, without the path.
        """
        ...


FinderMaker = Callable[[str], RegionFinder]
"""The value of DATASETS.REGIONS to a finder; raises UserError where nothing can be read there."""


def finds_regions(make: FinderMaker) -> Callable[[Operator], Operator]:
    """Mark an operator that asks for ``regions`` with what finds them."""

    def mark(operator: Operator) -> Operator:
        operator.make_finder = make  # type: ignore[attr-defined]
        return operator

    return mark


def regions_of(
    finder: RegionFinder | None,
    paths: Sequence[str | Path],
    size: tuple[int, int],
    names: Sequence[str] | None = None,
) -> Tensor | None:
    """The regions of image files.

    Args:
        finder: of a :class:`.desensitizer.Desensitizer`.
        paths: N, of the raw files.
        size: (height, width) of the images that are to be desensitized.
        names: as of the finder; None: not known.

    Returns:
        N×1×H×W float32, 0 or 1; None where there is no finder.

    Raises:
        UserError: naming the file of which nothing tells the region.
    """
    if finder is None:
        return None
    masks = []
    known: Sequence[str | None] = names or [None] * len(paths)
    for path, name in zip(map(Path, paths), known, strict=True):
        with named(path):
            masks.append(as_batch([finder(path, name, None).mask], size))
    return torch.cat(masks) if masks else torch.zeros(0, 1, *size)


def as_batch(masks: Sequence[np.ndarray], size: tuple[int, int]) -> Tensor:
    """Regions for an operator: each at the size of its image.

    A pixel is inside where the region touches it, so that nothing gets lost when a mask shrinks.

    Args:
        masks: H×W bool each, of any sizes.
        size: (height, width) of the images.

    Returns:
        N×1×height×width float32, 0 or 1.
    """
    return torch.cat([fitted(torch.from_numpy(mask)[None, None].float(), size) for mask in masks])


def at_size(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """H×W bool at another size, as :func:`as_batch`."""
    return as_batch([mask], size)[0, 0].numpy() > 0


def fitted(regions: Tensor, size: Sequence[int]) -> Tensor:
    """N×1×H×W regions at another size, as :func:`as_batch`."""
    return regions if tuple(regions.shape[2:]) == tuple(size) else adaptive_max_pool2d(regions, tuple(size))
