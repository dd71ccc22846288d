"""Training images together with what they were cut from, for desensitizing before padding and cropping."""

from __future__ import annotations

from typing import Any

import torch
from fastreid.data.transforms.transforms import ToTensor
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms as T
from torchvision.transforms.functional import crop, hflip


class PlacedTransform:
    """fastreid's training transforms, which also tell where an image was cut from.

    The images are those of the transforms alone, draw by draw.

    Args:
        steps: of ``build_transforms``: resize; pad, random crop, random mirroring where they are on; tensor.

    Raises:
        ValueError: for another augmentation, which the resized image would not have.
    """

    def __init__(self, steps: T.Compose):
        self.resize, *self.steps = steps.transforms
        known = (T.Pad, T.RandomCrop, T.RandomHorizontalFlip, ToTensor)
        if not isinstance(self.resize, T.Resize) or not all(isinstance(step, known) for step in self.steps):
            raise ValueError(f"an image cannot be placed after {steps}")
        self.to_tensor = ToTensor()

    def __call__(self, image: Image.Image) -> dict[str, torch.Tensor]:
        """
        Returns:
            images: 3×H×W, 0–255, as training sees it; whole: the resized image, the same shape, uint8;
            places: top, left and 1 for mirrored, as ``core.placing.placed`` takes them.
        """
        whole = seen = self.resize(image)
        top = left = mirrored = 0
        for step in self.steps:
            if isinstance(step, T.RandomCrop):
                top, left, height, width = step.get_params(seen, step.size)
                seen = crop(seen, top, left, height, width)
            elif isinstance(step, T.RandomHorizontalFlip):
                if torch.rand(1) < step.p:
                    seen, mirrored = hflip(seen), 1
            else:
                seen = step(seen)
        places = torch.tensor([top, left, mirrored])
        return {"images": seen, "whole": self.to_tensor(whole).byte(), "places": places}


class PlacedImages(Dataset):
    """A data set of fastreid whose transform is a :class:`PlacedTransform`: its parts become keys of an item.

    Args:
        images: the data set; what is asked of it beside items, it answers itself.
    """

    def __init__(self, images: Dataset):
        self.placed = images

    def __len__(self) -> int:
        return len(self.placed)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.placed[index]
        return {**item, **item["images"]}

    def __getattr__(self, name: str) -> Any:
        if name == "placed":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.placed, name)
