"""An anonymizer or a recovery decoder over lists of pictures, in batches of one size."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.image_maps import ImageMap
from ..core.images import to_pictures
from ..desensitize.regions import as_batch
from .pipeline import Room

Mapped = TypeVar("Mapped")


class Told(NamedTuple):
    """What :meth:`ImageMap.levels` is told of images."""

    seeds: Sequence[int] | None
    people: Sequence[int] | None
    regions: Tensor | None


class Batches(Generic[Mapped]):
    """Something that is made of each picture of a list by an image map; :meth:`made` says what.

    The network always gets as many images as a batch has, so that a picture's bytes do not depend on how many
    others come with it.

    Args:
        image_map: the network or operator.
        batch_size: images at a time; places without one are black.
        noise_key: gives the key of noise; asked once. It is secret and new for each run: whoever
            could repeat the noise could subtract it.
    """

    def __init__(self, image_map: ImageMap, batch_size: int, noise_key: Callable[[], bytes] | None = None):
        self.image_map, self.batch_size, self.noise_key = image_map, batch_size, noise_key
        self.key, self.lock, self.room = b"", threading.Lock(), Room()

    @overload
    def __call__(
        self,
        pictures: Sequence[np.ndarray],
        people: Sequence[int | None] | None = None,
        regions: Sequence[np.ndarray | None] | None = None,
    ) -> Sequence[Mapped]: ...

    @overload
    def __call__(
        self,
        pictures: Sequence[np.ndarray | None],
        people: Sequence[int | None] | None = None,
        regions: Sequence[np.ndarray | None] | None = None,
    ) -> Sequence[Mapped | None]: ...

    def __call__(
        self,
        pictures: Sequence[np.ndarray | None],
        people: Sequence[int | None] | None = None,
        regions: Sequence[np.ndarray | None] | None = None,
    ) -> Sequence[Mapped | None]:
        """Map a batch.

        Args:
            pictures: ``batch_size`` at most: uint8 H×W×3 RGB, of the network's size, of any where it has
                none; None where there is no picture.
            people: who is shown in each picture, for an operator that depends on it.
            regions: the part of each picture, H×W bool, for an operator that changes a part.

        Returns:
            As many, None for None.

        Raises:
            UserError: as of :meth:`ImageMap.levels`.
        """
        if self.image_map.size is None:  # a conventional operator, each picture in its own size
            nothing = [None] * len(pictures)
            return [
                None if picture is None else self._map_alone(picture, person, region)
                for picture, person, region in zip(
                    pictures, people or nothing, regions or nothing, strict=True
                )
            ]
        if all(picture is None for picture in pictures):
            return [None] * len(pictures)
        batch = np.zeros((self.batch_size, *self.image_map.size, 3), np.uint8)
        for index, picture in enumerate(pictures):
            if picture is not None:
                batch[index] = picture
        told = ([*(each or ()), *[None] * self.batch_size][: self.batch_size] for each in (people, regions))
        mapped = self._map(batch, *told)
        return [None if picture is None else image for picture, image in zip(pictures, mapped, strict=False)]

    def _map_alone(self, picture: np.ndarray, person: int | None, region: np.ndarray | None) -> Mapped:
        with self.room.taken(picture.shape[0] * picture.shape[1]):
            return self._map(picture[None], [person], [region])[0]

    def _map(
        self, batch: np.ndarray, people: Sequence[int | None], regions: Sequence[np.ndarray | None]
    ) -> Sequence[Mapped]:
        """N×H×W×3 uint8; a place without a person or a region has no picture, or an operator of no need."""
        images = torch.from_numpy(batch).to(self.image_map.device).permute(0, 3, 1, 2).float()
        who = [person or 0 for person in people] if any(person is not None for person in people) else None
        parts = None
        if any(region is not None for region in regions):
            size = batch.shape[1:3]
            parts = as_batch([np.zeros(size, bool) if each is None else each for each in regions], size)
        return self.made(images, Told(self._seeds(batch), who, parts))

    def made(self, images: Tensor, told: Told) -> Sequence[Mapped]:
        """What is made of each image.

        Args:
            images: float32 N×3×H×W, RGB 0–255, on the network's device; black where there is no picture.
            told: of the images.
        """
        raise NotImplementedError

    def _seeds(self, batch: np.ndarray) -> list[int] | None:
        """Of the noise of each picture: a keyed hash, all its 256 bits, of the picture's size and pixels."""
        if self.noise_key is None:
            return None
        with self.lock:  # the first of several threads makes the key
            self.key = self.key or self.noise_key()
        pictures = [repr(image.shape).encode() + np.ascontiguousarray(image).tobytes() for image in batch]
        digests = [hmac.digest(self.key, picture, "sha256") for picture in pictures]
        return [int.from_bytes(digest, "little") for digest in digests]


class BatchMapper(Batches[np.ndarray]):
    """An image map over lists of pictures: to pictures of the same size."""

    def made(self, images: Tensor, told: Told) -> Sequence[np.ndarray]:
        return list(to_pictures(self.image_map.levels(images, *told)))
