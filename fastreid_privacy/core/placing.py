"""Where training cuts an image out of its padded self, and whether it mirrors it."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.functional import pad


def placed(images: Tensor, places: Tensor, padding: int, mode: str = "constant") -> Tensor:
    """Pad images, cut each to its old size at its place, and mirror those that are to be.

    Args:
        images: N×C×H×W, any range; a constant padding is 0.
        places: N×3 whole numbers: top and left in the padded image, 0 to 2·padding, and 1 for mirrored.
        padding: pixels on each side.
        mode: of torchvision's ``pad``: constant, edge, reflect or symmetric.

    Returns:
        The same shape.

    Example:
        >>> image = torch.arange(1.0, 5.0).view(1, 1, 2, 2)
        >>> placed(image, torch.tensor([[0, 1, 1]]), 1)[0, 0].tolist()
        [[0.0, 0.0], [2.0, 1.0]]
    """
    height, width = images.shape[2:]
    padded = pad(images, [padding], padding_mode=mode) if padding else images
    found = []
    for image, (top, left, mirrored) in zip(padded, places.tolist(), strict=True):
        cut = image[:, top : top + height, left : left + width]
        found.append(cut.flip(2) if mirrored else cut)
    return torch.stack(found)
