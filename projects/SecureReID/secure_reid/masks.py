"""The masks as operators: images N×3×H×W, RGB, 0–255, float or uint8, to the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY

NUMBER_BYTES = 33  # of a seed of 256 bits and its sign


def mask_of(number: int, shape: Sequence[int]) -> Tensor:
    """The mask that belongs to a number: int32 of a shape, each value equally likely 0–255.

    SHAKE-256 of the number, so that it is the same on every machine.
    """
    told = number.to_bytes(NUMBER_BYTES, "little", signed=True)
    content = hashlib.shake_256(b"secure_reid mask" + told).digest(torch.Size(shape).numel())
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).view(*shape).int()


@DESENSITIZER_REGISTRY.register()
def label_mask(images: Tensor, people: Sequence[int]) -> Tensor:
    """Add the person's mask modulo 256: 8-bit files keep all of the image, for who knows the label."""
    return _like(images, (_levels(images) + _masks(people, images)) % 256)


@DESENSITIZER_REGISTRY.register()
def label_mask_clipped(images: Tensor, people: Sequence[int]) -> Tensor:
    """Add the person's mask, and cut the sum to 0–255, as a file has to keep a sum of floats."""
    return _like(images, (_levels(images) + _masks(people, images)).clamp(0, 255))


@DESENSITIZER_REGISTRY.register()
def fresh_mask(images: Tensor, seeds: Sequence[int] | Tensor | None) -> Tensor:
    """Add a mask of its own to each image, modulo 256; without seeds it is of torch's default generator."""
    if seeds is None:
        masks = torch.randint(0, 256, images.shape, dtype=torch.int32).to(images.device)
    else:
        masks = _masks(seeds, images)
    return _like(images, (_levels(images) + masks) % 256)


def unmask(images: Tensor, numbers: Sequence[int]) -> Tensor:
    """What ``label_mask`` of these people, or ``fresh_mask`` of these seeds, was made of."""
    return _like(images, (_levels(images) - _masks(numbers, images)) % 256)


def _masks(numbers: Sequence[int] | Tensor, images: Tensor) -> Tensor:
    if not len(numbers):
        return torch.zeros(images.shape, dtype=torch.int32, device=images.device)
    return torch.stack([mask_of(int(number), images.shape[1:]) for number in numbers]).to(images.device)


def _levels(images: Tensor) -> Tensor:
    return (images.round() if images.is_floating_point() else images).int()


def _like(images: Tensor, levels: Tensor) -> Tensor:
    """Whole levels in the kind of number that was given; any float as float32."""
    return levels.to(torch.float32 if images.is_floating_point() else images.dtype)
