"""The operators: images N×3×H×W, RGB, 0–255, and regions to images with new people in the regions."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from fastreid_privacy import UserError
from fastreid_privacy.core.files import read_file
from fastreid_privacy.core.images import to_bytes
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, Description, described, finds_regions
from fastreid_privacy.desensitize.noise_stream import KEY_BITS

from .filling import fill
from .finding import PersonMasks
from .looks import LOOKS, NONE
from .model_file import load_model, model_hash

KEY = "PRIVACY.DESENSITIZER.REALISTIC_BODY_KEY"
LOOK = "PRIVACY.DESENSITIZER.REALISTIC_BODY_LOOK"
SHORTEST_KEY, LONGEST_KEY = 16, 2**20  # bytes


def describe_body(realistic_body_model: str = "", realistic_body_look: str = NONE) -> Description:
    """What the images of :func:`realistic_body` depend on."""
    return _described(realistic_body_model, "full_body", realistic_body_look)


def describe_head(realistic_body_model: str = "", realistic_body_look: str = NONE) -> Description:
    """What the images of :func:`realistic_head` depend on."""
    return _described(realistic_body_model, "head", realistic_body_look)


def describe_person(
    realistic_body_model: str = "", realistic_body_look: str = NONE, realistic_body_key: str = ""
) -> Description:
    """What the images of :func:`realistic_person` depend on; of the key a digest that does not tell it."""
    digest = hmac.digest(read_key(realistic_body_key), b"realistic person, which key", "sha256").hex()
    return _described(realistic_body_model, "full_body", realistic_body_look, key=digest)


def _described(model: str, part: str, look: str, **more: str) -> Description:
    check_look(look)
    network = load_model(model, part)
    shape = {"part": part, "size": list(network.shape.size), "knows_joints": network.pose is not None}
    return Description({"network": model_hash(model), **shape, "look": look, **more})


@DESENSITIZER_REGISTRY.register()
@described(describe_body)
@finds_regions(partial(PersonMasks, "full_body"))
def realistic_body(
    images: Tensor,
    regions: Tensor,
    seeds: Sequence[int] | Tensor | None,
    realistic_body_model: str = "",
    realistic_body_look: str = NONE,
) -> Tensor:
    """A new body in each image, drawn anew for each.

    Args:
        images: N×3×H×W, RGB, 0–255, float or uint8.
        regions: N×1×H×W, 0 or 1: what is filled in; everything else stays exactly as it is.
        seeds: one secret number for each image; None: of the system's randomness.
        realistic_body_model: file of a network of the part full_body.
        realistic_body_look: of :data:`.looks.LOOKS`.

    Returns:
        The same shape; uint8 for uint8, else float32.

    Raises:
        UserError: when the file is missing or of another method or part, or there is no such look.
    """
    return _filled(
        images, regions, _numbers(seeds, images), realistic_body_model, "full_body", realistic_body_look
    )


@DESENSITIZER_REGISTRY.register()
@described(describe_head)
@finds_regions(partial(PersonMasks, "head"))
def realistic_head(
    images: Tensor,
    regions: Tensor,
    seeds: Sequence[int] | Tensor | None,
    realistic_body_model: str = "",
    realistic_body_look: str = NONE,
) -> Tensor:
    """A new head in each image, drawn anew for each; as :func:`realistic_body`, of the part head."""
    return _filled(
        images, regions, _numbers(seeds, images), realistic_body_model, "head", realistic_body_look
    )


@DESENSITIZER_REGISTRY.register()
@described(describe_person)
@finds_regions(partial(PersonMasks, "full_body"))
def realistic_person(
    images: Tensor,
    regions: Tensor,
    people: Sequence[int],
    realistic_body_model: str = "",
    realistic_body_look: str = NONE,
    realistic_body_key: str = "",
) -> Tensor:
    """A new body in each image, the same for all images of one person under one key.

    Args:
        images: as of :func:`realistic_body`.
        regions: likewise.
        people: the identity of each image: of a person, or of a track.
        realistic_body_model: likewise.
        realistic_body_look: likewise.
        realistic_body_key: file of at least 16 secret bytes, from which and the identity the new body is
            drawn. Who has it can make each person's new body again.

    Returns:
        As of :func:`realistic_body`.

    Raises:
        UserError: likewise, and when the key cannot be read or is too short.
    """
    key = read_key(realistic_body_key)
    numbers = [number_of(key, person) for person in people]
    return _filled(images, regions, numbers, realistic_body_model, "full_body", realistic_body_look)


def number_of(key: bytes, person: int) -> int:
    """The number from which a person's new body is drawn: HMAC-SHA256 of the identity."""
    return int.from_bytes(hmac.digest(key, b"realistic person %d" % person, "sha256"), "little")


def read_key(path: str) -> bytes:
    """The content of a key's file.

    Raises:
        UserError: when none is named, or it cannot be read or is too short.
    """
    how = "make one: head -c 32 /dev/urandom > FILE"
    if not path:
        raise UserError(f"{KEY} names no file; realistic_person needs secret bytes, {how}")
    try:
        key = read_file(path, LONGEST_KEY)
    except UserError as error:
        raise UserError(f"{KEY} {error}; {how}") from None
    if len(key) < SHORTEST_KEY:
        raise UserError(
            f"{KEY} {path} has {len(key)} bytes, which can be guessed; {SHORTEST_KEY} are the least: {how}"
        )
    return key


def check_look(look: str) -> None:
    """Refuse an unknown look.

    Raises:
        UserError: naming those that there are.
    """
    if look not in LOOKS:
        raise UserError(f"{LOOK} is {look!r}; allowed: {', '.join(LOOKS)}")


def _numbers(seeds: Sequence[int] | Tensor | None, images: Tensor) -> list[int]:
    if seeds is None:
        return [secrets.randbits(KEY_BITS) for _ in images]
    return [int(seed) for seed in seeds]


def _filled(
    images: Tensor, regions: Tensor, numbers: Sequence[int], model: str, part: str, look: str
) -> Tensor:
    check_look(look)
    with torch.inference_mode(False):  # weights are kept, and gradients go through them
        network = load_model(model, part).to(images.device)
    if not len(images):
        return images if images.dtype == torch.uint8 else images.float()
    with torch.autocast(images.device.type, enabled=False):
        filled = fill(network, images.float(), regions, numbers, look)
    return filled if images.is_floating_point() else to_bytes(filled)
