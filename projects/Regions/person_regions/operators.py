"""The operators, one for each way of hiding and each part: images N×3×H×W, RGB, 0–255, to the same.

Outside of the part every pixel stays as it is. The strength is that of the package's own operators and has
their config keys: ``PRIVACY.DESENSITIZER.BLUR_SIGMA`` is also that of ``blur_head``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from fastreid_privacy.core.images import to_bytes
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, finds_regions, mask_out
from fastreid_privacy.desensitize.desensitizer import blur, noise, pixelate
from fastreid_privacy.desensitize.operations import MID_GREY

from .parts import PARTS
from .sources import PersonRegions

RADIUS = 6  # pixels at a height of 256: how far inpainting looks


def mask(images: Tensor) -> Tensor:
    """Mid grey."""
    return mask_out(images)


def inpaint(images: Tensor, regions: Tensor, scale: float) -> Tensor:
    """What the surroundings let expect: OpenCV's inpainting after Telea.

    An image without surroundings becomes mid grey.

    Args:
        images: N×3×H×W RGB, 0–255, float or uint8; floats are rounded.
        regions: N×1×H×W, 0 or 1: what is filled in.
        scale: height / 256.

    Returns:
        The same shape; uint8 for uint8, else float32.
    """
    filled = torch.empty(images.shape)
    radius = max(1.0, RADIUS * scale)
    pictures = to_bytes(images.float()).permute(0, 2, 3, 1).cpu().numpy()
    holes = (regions[:, 0] > 0).byte().cpu().numpy()
    for target, picture, hole in zip(filled, pictures, holes, strict=True):
        if hole.all():
            target[:] = MID_GREY
        else:
            # along the edges of an image OpenCV reads what is in the hole
            known = np.where(hole[..., None], np.uint8(128), picture)
            done = cv2.inpaint(known, hole, radius, cv2.INPAINT_TELEA)
            target[:] = torch.from_numpy(done).permute(2, 0, 1)
    filled = filled.to(images.device)
    return filled if images.is_floating_point() else to_bytes(filled)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "blur": blur,
    "pixelate": pixelate,
    "noise": noise,
    "mask": mask,
    "inpaint": inpaint,
}


def _register(way: str, part: str) -> None:
    hide = OPERATORS[way]
    _, *wanted = inspect.signature(hide).parameters.values()
    asks = any(parameter.name == "regions" for parameter in wanted)

    def operator(images: Tensor, regions: Tensor, **options: Any) -> Tensor:
        if not len(images):
            return images if images.dtype == torch.uint8 else images.float()
        hidden = hide(images, regions, **options) if asks else hide(images, **options)
        return torch.where(regions > 0, hidden, images.to(hidden.dtype))

    # pickle finds a function of a module by its name
    operator.__name__ = operator.__qualname__ = f"{way}_{part}"
    globals()[operator.__name__] = operator
    operator.__doc__ = f"{way} the {part.replace('_', ' ')}, and nothing else."
    kinds = inspect.Parameter
    own = [] if asks else [kinds("regions", kinds.POSITIONAL_OR_KEYWORD)]
    operator.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [kinds("images", kinds.POSITIONAL_OR_KEYWORD), *own, *wanted]
    )
    DESENSITIZER_REGISTRY.register(finds_regions(partial(PersonRegions, part))(operator))


for _part in PARTS:
    for _way in OPERATORS:
        _register(_way, _part)
