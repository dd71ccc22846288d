"""What a stored file keeps of an image: the protected image that Re-ID and recovery see.

Networks produce float images, people exchange files. A recovery trained on float images can fail on files,
because it may read detail that lies in fractions of a level. So the stored image is what every later stage
gets: in the forward pass bit for bit what writing the file and reading it back gives, in the backward pass a
gradient that is useful.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import UserError
from ..core.files import write_whole
from ..core.images import png_bytes, quantize, to_pictures

# JFIF: full-range BT.601; rows Y, Cb, Cr, without the offset of 128 of Cb and Cr.
RGB_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
YCC_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def subsample_chroma(images: Tensor) -> Tensor:
    """A JPEG's 4:2:0 chroma subsampling alone: what stands for the whole JPEG in the backward pass.

    A differentiable JPEG whose rounding passes the gradient straight through has exactly this gradient: its
    DCT and the inverse, its division and multiplication by quantization steps cancel, whatever the quality.
    Gradients that vanish for coefficients quantized to zero, or everywhere between two steps, were tried
    instead: a recovery trained with them was worse.

    Args:
        images: float32 N×3×H×W RGB, 0–255.

    Returns:
        float32 N×3×H×W RGB: brightness unchanged, colour averaged over 2×2 pixels and interpolated back, as
        libjpeg does by default.

    Reference: Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013
    (straight-through).
    """
    height, width = images.shape[-2:]
    planes = torch.einsum("cr,nrhw->nchw", images.new_tensor(RGB_TO_YCC), images)
    chroma = functional.pad(planes[:, 1:], (0, width % 2, 0, height % 2), mode="replicate")
    chroma = functional.interpolate(
        functional.avg_pool2d(chroma, 2), scale_factor=2, mode="bilinear", align_corners=False
    )
    planes = torch.cat([planes[:, :1], chroma[..., :height, :width]], dim=1)
    return torch.einsum("rc,nchw->nrhw", images.new_tensor(YCC_TO_RGB), planes)


class ImageStorage(nn.Module):
    """Images as a file would hold them.

    The gradient of "none" is the identity, and so is that of "png": straight through rounding and clamping,
    so that a value beyond the range can still be pulled back. That of "jpegNN" is that of
    :func:`subsample_chroma`.

    Args:
        name: "none" (float images pass unchanged), "png" (8 bit, lossless), or "jpeg1" to "jpeg100" (JPEG of
            that quality, 4:2:0).

    Raises:
        UserError: The name is none of these.

    Example:
        >>> ImageStorage("png")(torch.full((1, 3, 1, 1), 99.7)).flatten().tolist()
        [100.0, 100.0, 100.0]
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        match = re.fullmatch(r"none|png|jpeg([1-9][0-9]?|100)", str(name))
        if match is None:
            raise UserError(
                f"PRIVACY.STORAGE is {name!r}; it must be none, png, or jpeg with a quality of 1 to 100, "
                "for instance jpeg75"
            )
        self.name = name
        self.quality = int(match[1]) if match[1] else None

    @property
    def extension(self) -> str:
        """How the names of files end: ".jpg", or ".png", also for "none": a file holds 8 bits at best."""
        return ".png" if self.quality is None else ".jpg"

    def forward(self, images: Tensor) -> Tensor:
        """Write images and read them back, without the file.

        Args:
            images: float N×3×H×W RGB, nominally 0–255; values outside are clamped.

        Returns:
            float32 N×3×H×W RGB on the same device: whole numbers 0–255, or the input itself for "none".
        """
        images = images.float()
        if self.name == "none":
            return images
        stored = quantize(images) if self.quality is None else self._through_files(images)
        if not images.requires_grad:
            return stored
        surrogate = images
        if self.quality is not None:
            with torch.autocast(images.device.type, enabled=False):
                surrogate = subsample_chroma(images)
        # Not the usual surrogate + (stored − surrogate).detach(): that sum can miss the level by a rounding
        # error; this adds an exact 0.
        return stored + (surrogate - surrogate.detach())

    def encode(self, image: np.ndarray) -> bytes:
        """The content of the file of one image.

        Args:
            image: uint8 H×W×3 RGB.

        Returns:
            A PNG file, or a JPEG file of the storage's quality.
        """
        if self.quality is None:
            return png_bytes(image)
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="JPEG", quality=self.quality, subsampling="4:2:0")
        return buffer.getvalue()

    def save(self, image: Tensor, path: str | os.PathLike[str]) -> None:
        """Write one image to a file that reads back as what ``forward`` returns ("none": as "png").

        The file appears complete or not at all.

        Args:
            image: 3×H×W RGB, 0–255, float or uint8, on any device.
            path: The file; its name must end as ``extension`` says, or readers would take it for something
                else.

        Raises:
            ValueError: The name ends otherwise, or the image has another shape or holds NaN.
        """
        path = Path(path)
        if path.suffix.lower() != self.extension:
            raise ValueError(f"{path} does not end in {self.extension}, but the storage is {self.name}")
        if image.dim() != 3 or image.shape[0] != 3:
            raise ValueError(f"an image to save must be 3×H×W, not {tuple(image.shape)}")
        if image.isnan().any():
            raise ValueError(f"the image for {path} holds NaN")
        content = self.encode(to_pictures(image[None])[0])
        write_whole(path, content)

    def extra_repr(self) -> str:
        return repr(self.name)

    def _through_files(self, images: Tensor) -> Tensor:
        """Encode and decode each image on the CPU; one with NaN has no file and stays NaN."""
        stored = torch.empty(images.shape)
        broken = images.isnan().flatten(1).any(1).tolist()
        for index, picture in enumerate(to_pictures(images)):
            if broken[index]:
                stored[index] = float("nan")
                continue
            with Image.open(io.BytesIO(self.encode(picture))) as file:
                stored[index] = torch.from_numpy(np.array(file)).permute(2, 0, 1)
        return stored.to(images.device)
