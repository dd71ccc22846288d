"""Batches of raw pictures to protected ones, held to the thresholds by the guard where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..checkpoints.image_maps import ImageMap
from ..core.errors import UserError
from ..core.images import to_pictures
from ..desensitize.regions import RegionFinder
from ..evaluation.similarity import SMALLEST_SIDE
from ..model.storage import ImageStorage
from ..model.supervision import Thresholds
from .batch_mapper import Batches, Told
from .guard import WHOLE, Guard, hold


class Protected(NamedTuple):
    """A protected picture.

    Attributes:
        picture: uint8 H×W×3.
        kept: the share of the anonymizer's image in it, 0 to 1; None where there is no guard.
    """

    picture: np.ndarray
    kept: float | None


class ProtectingBatches(Batches[Protected]):
    """An anonymizer over lists of pictures, each held to the thresholds by itself.

    Args:
        image_map: the anonymizer.
        batch_size: as of :class:`Batches`.
        noise_key: likewise; asked where something draws noise.
        storage: the format of the files.
        guard: None: what the anonymizer makes is stored as it is.

    Raises:
        UserError: when there is a guard, and the operator that the anonymizer was trained with is not there,
            or the images are smaller than the window of SSIM.
    """

    def __init__(
        self,
        image_map: ImageMap,
        batch_size: int,
        noise_key: Callable[[], bytes],
        storage: ImageStorage,
        guard: Guard | None,
    ):
        self.stored_as, self.guard = storage, guard
        self.desensitizer, self.thresholds = None, Thresholds()
        if guard is not None:
            constraint, size = image_map.constraint, image_map.size
            assert constraint is not None  # a guard is for trained anonymizers
            if size is None or min(size) < SMALLEST_SIDE:
                raise UserError(
                    f"--guard needs images of at least {SMALLEST_SIDE}×{SMALLEST_SIDE} pixels for SSIM, the "
                    f"anonymizer's have {size}: give --no-guard"
                )
            self.thresholds = constraint.thresholds
            try:
                self.desensitizer = constraint.desensitizer()
            except UserError as error:
                raise UserError(
                    f"{error}; the guard holds images against this operator: register it with --project, or "
                    "give --no-guard"
                ) from None
        drawn = self.desensitizer is not None and self.desensitizer.is_seeded
        self.is_random = image_map.is_random or drawn
        super().__init__(image_map, batch_size, noise_key if self.is_random else None)

    @property
    def needs_people(self) -> bool:
        """Whether something depends on who is shown."""
        held_against = self.desensitizer is not None and self.desensitizer.needs_people
        return self.image_map.needs_people or held_against

    @property
    def finder(self) -> RegionFinder | None:
        """What tells the region of each raw file; None: nothing depends on it.

        Raises:
            UserError: as of :attr:`Desensitizer.finder`.
        """
        asking = self.image_map.of_regions or self.desensitizer
        return asking.finder if asking is not None else None

    def made(self, images: Tensor, told: Told) -> Sequence[Protected]:
        if self.guard is None or self.desensitizer is None:
            levels = self.image_map.levels(images, *told)
            return [Protected(picture, None) for picture in to_pictures(levels)]
        both = self.image_map.levels_and_desensitized(images, self.desensitizer, *told)
        held = hold(images, *both, self.stored_as, self.thresholds)
        # a place without a picture is black
        self.guard.count(held, images.flatten(1).any(1).nonzero().flatten().tolist())
        kept = [percent / WHOLE for percent in held.kept.tolist()]
        return list(map(Protected, to_pictures(held.images), kept))
