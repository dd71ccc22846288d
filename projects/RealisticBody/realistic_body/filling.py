"""Images, regions and numbers to images with new people in the regions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid_privacy.desensitize.noise_stream import standard_normal

from .looks import NONE, OPTIMIZE, optimized, with_look
from .networks import BodyNetwork
from .windows import Seen, put_back, seen, windows_of

AT_ONCE = 64  # windows that go through the network together, which bounds the memory


@torch.inference_mode(False)  # under it no gradient goes to z
@torch.no_grad()
def fill(
    network: BodyNetwork, images: Tensor, regions: Tensor, numbers: Sequence[int], look: str = NONE
) -> Tensor:
    """Fill new people in; outside of the regions every pixel stays exactly as it is.

    Args:
        network: of one part, without gradients.
        images: N×3×H×W, RGB, 0–255, float32, on the network's device.
        regions: N×1×H×W, 0 or 1; where it is empty, the image stays as it is.
        numbers: N whole numbers from 0 of at most 256 bits: the same number gives the same new person. An
            image with several people takes more of its number's stream, the first for the largest.
        look: of :data:`.looks.LOOKS`.

    Returns:
        The same shape.
    """
    images, regions = images.clone(), regions.clone()  # a gradient may need them
    size, length = network.shape.size, network.shape.latent
    masks = regions[:, 0].cpu().numpy() > 0
    windows = [windows_of(mask, size, network.shape.part) for mask in masks]
    if not any(windows):
        return images
    found = [seen(image, some, size) for image, some in zip(images, windows, strict=True) if some]
    drawn = [
        torch.from_numpy(standard_normal(number, length * len(some))).view(-1, length)
        for number, some in zip(numbers, windows, strict=True)
    ]
    whole, latents = Seen(*map(torch.cat, zip(*found, strict=True))), torch.cat(drawn).to(images.device)
    filled = torch.cat(
        [
            _filled(network, Seen(*parts), some, look)
            for *parts, some in zip(*(each.split(AT_ONCE) for each in (*whole, latents)), strict=True)
        ]
    )
    made = filled.split([len(some) for some in windows])
    return torch.stack([put_back(*each) for each in zip(images, windows, made, strict=True)])


def _filled(network: BodyNetwork, there: Seen, latents: Tensor, look: str) -> Tensor:
    """N×3×h×w, 0–255."""
    joints = network.found_joints(there.raw)

    def make(latents: Tensor) -> Tensor:
        return network(there.around, there.regions, joints, latents)

    if look == OPTIMIZE:
        latents = optimized(make, latents, there.around, there.regions)
    return with_look(look, make(latents), there.around, there.regions)
