"""The operator: images N×3×H×W, RGB, 0–255, of the Re-ID model's size, to the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fastreid_privacy import UserError
from fastreid_privacy.core.files import read_once
from fastreid_privacy.core.images import to_bytes
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, Description, described
from fastreid_privacy.retrieval import Extractor, load_extractor

from .fading import Features, fade, noise_and_order

NODE = "PRIVACY.DESENSITIZER"
MOST = 10_000  # iterations


def describe(
    pixel_fade_model: str, pixel_fade_mse: float, pixel_fade_iterations: int, pixel_fade_share: float
) -> Description:
    """What the images depend on, and their size; refuses options that make no sense.

    Raises:
        UserError: naming the option.
    """
    if not (math.isfinite(pixel_fade_mse) and pixel_fade_mse > 0):
        raise UserError(f"{NODE}.PIXEL_FADE_MSE is {pixel_fade_mse}; it must be a positive number")
    if not 1 <= pixel_fade_iterations <= MOST:
        raise UserError(
            f"{NODE}.PIXEL_FADE_ITERATIONS is {pixel_fade_iterations}; it lies between 1 and {MOST:,}"
        )
    if not 0 < pixel_fade_share <= 1:
        raise UserError(f"{NODE}.PIXEL_FADE_SHARE is {pixel_fade_share}; it lies above 0, and at most at 1")
    extract = _extractor(pixel_fade_model)
    about = {
        "reid": extract.fingerprint,
        "feature_mse": pixel_fade_mse,
        "iterations": pixel_fade_iterations,
        "share": pixel_fade_share,
    }
    return Description(about, extract.size)


@DESENSITIZER_REGISTRY.register()
@described(describe)
def pixel_fade(
    images: Tensor,
    seeds: Sequence[int] | Tensor | None,
    pixel_fade_model: str = "",
    pixel_fade_mse: float = 0.03,
    pixel_fade_iterations: int = 100,
    pixel_fade_share: float = 0.05,
) -> Tensor:
    """Replace pixels by noise as far as the features of ``pixel_fade_model`` allow; see :mod:`.fading`.

    Raises:
        UserError: for images of another size than the model's.
    """
    extract = _extractor(pixel_fade_model)
    if tuple(images.shape[2:]) != extract.size:
        height, width = extract.size
        raise UserError(
            f"pixel_fade makes images of {height}×{width}, the size of {pixel_fade_model}; these have "
            f"{images.shape[2]}×{images.shape[3]}"
        )
    noise, order = (told.to(images.device) for told in noise_and_order(images.shape, seeds))
    faded = fade(
        images,
        noise,
        order,
        features_of(extract, images),
        mse=pixel_fade_mse,
        iterations=pixel_fade_iterations,
        share=pixel_fade_share,
    )
    return faded if images.is_floating_point() else to_bytes(faded)


def features_of(extract: Extractor, images: Tensor) -> Features:
    """The features of a model, of the image as it stands and not of its mirror image, where images are."""
    with torch.inference_mode(False):  # weights are kept, and gradients go through them
        model = extract.model.to(images.device).requires_grad_(False)
    return lambda batch: model.reid_features(batch, False)


@read_once
@torch.inference_mode(False)
def _extractor(path: str) -> Extractor:
    if not path:
        raise UserError(
            f"pixel_fade needs {NODE}.PIXEL_FADE_MODEL, the Re-ID model that is to find people on its images"
        )
    if not Path(path).is_file():
        raise UserError(f"{NODE}.PIXEL_FADE_MODEL {path} is missing, or no regular file")
    return load_extractor(path, "cpu")
