"""PSNR, SSIM and LPIPS of images against their raw originals, over a whole data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.errors import UserError
from .similarity import SMALLEST_SIDE, SimilarityTo

DATA_RANGE = 255.0


class Shown(NamedTuple):
    """What images show of the raw ones.

    Attributes:
        psnr: N, dB, float64; infinite where nothing differs.
        ssim: N, float64.
    """

    psnr: Tensor
    ssim: Tensor

    def of(self, rows: Tensor) -> Shown:
        """Of some of the images."""
        return Shown(self.psnr[rows], self.ssim[rows])

    def put(self, rows: Tensor, shown: Shown) -> None:
        """Replace what some of the images show."""
        self.psnr[rows], self.ssim[rows] = shown


def psnr_of_mse(mse: float) -> float:
    """10·log10(255² / mse), in dB, of values 0–255; infinite for an error of zero."""
    return 10 * math.log10(DATA_RANGE**2 / mse) if mse > 0 else math.inf


def squared_errors(images: Tensor, reference: Tensor) -> Tensor:
    """The sum of the squared differences of each image.

    Args:
        images: N×3×H×W, float32.
        reference: likewise.

    Returns:
        N, float64.
    """
    return (images - reference).square_().flatten(1).sum(1, dtype=torch.float64)


def psnr_of_mses(mses: Tensor) -> Tensor:
    """:func:`psnr_of_mse` of several: N to N, float64."""
    return 10 * torch.log10(DATA_RANGE**2 / mses.double())


def shown_by(images: Tensor, likeness: SimilarityTo) -> tuple[Shown, Tensor]:
    """What images show of the raw ones, and the sum of the squared differences of each.

    Args:
        images: N×3×H×W, float32, 0–255.
        likeness: to the raw images, of the same shape and range.
    """
    errors = squared_errors(images, likeness.reference)
    return Shown(psnr_of_mses(errors / images[0].numel()), likeness(images).double()), errors


def psnr_of_sum(squared_error: float, values: int) -> float | None:
    """PSNR in dB of values 0–255 from the sum of their squared errors; None where nothing differs.

    JSON knows no infinity, so figures that are written hold None instead.

    Args:
        squared_error: sum over all values.
        values: how many these are, each channel of a pixel counted.

    Example:
        >>> psnr_of_sum(255.0**2 * 3, 300)
        20.0
        >>> psnr_of_sum(0.0, 300) is None
        True
    """
    return psnr_of_mse(squared_error / values) if squared_error > 0 else None


@dataclass
class ImageQuality:
    """PSNR, SSIM and LPIPS over all images of one domain, gathered batch by batch.

    Only sums are kept, so accumulators of several processes can be sent, and merged, at the cost of eight
    numbers. ``lpips`` gives the N distances of a batch to its originals, or is None; it is neither sent nor
    merged.

    Example:
        >>> quality = ImageQuality()
        >>> shown = quality.update(torch.full((2, 3, 32, 16), 100.0), torch.full((2, 3, 32, 16), 110.0))
        >>> [round(psnr, 2) for psnr in shown.psnr.tolist()]
        [28.13, 28.13]
        >>> round(quality.compute()["PSNR"], 2)
        28.13
    """

    images: int = 0
    values: int = 0
    identical_images: int = 0
    squared_error: float = 0.0
    psnr: float = 0.0  # sum over the images that differ from their original
    ssim: float = 0.0
    lpips_images: int = 0
    lpips_sum: float = 0.0
    lpips: Callable[[Tensor, Tensor], Tensor] | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "lpips": None}

    @torch.no_grad()
    def update(self, images: Tensor, reference: Tensor) -> Shown:
        """Add a batch, and say what each of its images shows. Computed in float32, also under autocast.

        Args:
            images: N×3×H×W, 0–255, H and W at least 11.
            reference: the raw images, same shape and range.

        Raises:
            UserError: when the shapes differ or the images are smaller than SSIM's window.
        """
        if images.shape != reference.shape or images.ndim != 4:
            raise UserError(
                f"image quality compares N×3×H×W batches of one shape: got {tuple(images.shape)} and "
                f"{tuple(reference.shape)}"
            )
        if min(images.shape[2:]) < SMALLEST_SIDE:
            height, width = images.shape[2:]
            raise UserError(
                f"SSIM needs at least {SMALLEST_SIDE}×{SMALLEST_SIDE} pixels, these are {height}×{width}: "
                "raise INPUT.SIZE_TEST"
            )
        images, reference = images.float(), reference.float()
        (psnr, ssim), errors = shown_by(images, SimilarityTo(reference))
        differ = torch.isfinite(psnr)
        self.images += len(images)
        self.values += images.numel()
        self.identical_images += int((~differ).sum())
        self.squared_error += float(errors.sum())
        self.psnr += float(psnr[differ].sum(dtype=torch.float64))
        self.ssim += float(ssim.sum())
        if self.lpips is not None:
            self.lpips_images += len(images)
            self.lpips_sum += float(self.lpips(images, reference).sum(dtype=torch.float64))
        return Shown(psnr.cpu(), ssim.cpu())

    def merge(self, other: ImageQuality) -> None:
        """Add what another accumulator, for instance of another process, has gathered."""
        for name in (item.name for item in fields(self) if item.name != "lpips"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def compute(self) -> dict[str, float | int | None]:
        """The figures over all images so far.

        Returns:
            "PSNR": dB, of the mean squared error over the whole set, as the paper gives it; None when nothing
            differs from the originals. "PSNR_per_image": dB, mean over the
            images that differ from their original; None when none does. "identical_images": how many do not,
            and are not in that mean. "SSIM": mean over all images. "LPIPS": mean over all images, 0 or more,
            smaller is more alike; None where it was not measured of all.

        Raises:
            UserError: when there were no images.
        """
        if not self.images:
            raise UserError("image quality of no images was asked for: the data set is empty")
        different = self.images - self.identical_images
        return {
            "PSNR": psnr_of_sum(self.squared_error, self.values),
            "PSNR_per_image": self.psnr / different if different else None,
            "SSIM": self.ssim / self.images,
            "LPIPS": self.lpips_sum / self.images if self.lpips_images == self.images else None,
            "identical_images": self.identical_images,
        }
