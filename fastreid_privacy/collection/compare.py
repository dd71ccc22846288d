"""How near recovered pictures come to the raw ones: PSNR and SSIM of each, and in all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from ..core.errors import UserError
from ..core.packed import Folder
from ..core.pictures import read_picture
from ..evaluation.image_quality import SMALLEST_SIDE, ImageQuality, psnr_of_sum
from .pipeline import side_by_side
from .source import folder_source, targets


def raw_files(
    raw: str | Path, made: Collection[str], pseudonym_key: bytes | None = None, option: str = "--verify"
) -> dict[str, Path]:
    """The raw image of each protected or recovered one that has one.

    Args:
        raw: folder of the raw images.
        made: paths of the protected or recovered images in their folder.
        pseudonym_key: the key of the names, where they are pseudonyms.
        option: that names the folder.

    Raises:
        UserError: when none of them has one.
    """
    ending = next((Path(path).suffix for path in made), ".png")
    names, wanted = targets(folder_source(raw, option).paths, ending, pseudonym_key), set(made)
    found = {name: Path(raw, path) for path, name in names.items() if name in wanted}
    if not found:
        key = "" if pseudonym_key else "; where names are pseudonyms, give their key with --pseudonymize"
        raise UserError(f"{option} {raw} holds no image of this collection{key}")
    return found


def compare_collection(
    folder: Folder, paths: Iterable[str], originals: dict[str, Path], workers: int | None = None
) -> Iterator[dict]:
    """Compare recovered images with their raw ones, in raw size.

    Args:
        folder: of the recovered images, as :func:`fastreid_privacy.manifest.files_of` gives it.
        paths: of the images in it.
        originals: of :func:`raw_files`.
        workers: threads; None: as many as there are cores.

    Yields:
        For each path, in order: "path" and the figures of :func:`compare`, or "path" and "failed", why not.
    """

    def measure(path: str) -> dict:
        try:
            if path not in originals:
                raise UserError("there is no raw image of it")
            return {"path": path, **compare(read_picture(folder / path), read_picture(originals[path]))}
        except UserError as error:
            return {"path": path, "failed": str(error)}

    yield from side_by_side(paths, measure, workers)


def compare(recovered: np.ndarray, raw: np.ndarray) -> dict[str, float | None]:
    """Compare two uint8 H×W×3 pictures.

    Returns:
        "PSNR" in dB, None where nothing differs; "SSIM", None where a side is shorter than its window, 11;
        "squared_error", a sum over all "values", and how many these are.

    Raises:
        UserError: when their sizes differ.
    """
    if recovered.shape != raw.shape:
        sizes = ["×".join(map(str, image.shape[:2])) for image in (recovered, raw)]
        raise UserError(
            f"its raw image has another size ({sizes[1]}) than the one that was protected ({sizes[0]})"
        )
    squared_error = float(np.square(recovered.astype(np.int64) - raw).sum())
    ssim = None
    if min(raw.shape[:2]) >= SMALLEST_SIDE:
        quality = ImageQuality()
        quality.update(*(torch.from_numpy(image).permute(2, 0, 1)[None] for image in (recovered, raw)))
        ssim = quality.compute()["SSIM"]
    psnr = psnr_of_sum(squared_error, raw.size)
    return {"PSNR": psnr, "SSIM": ssim, "squared_error": squared_error, "values": raw.size}


def in_all(compared: list[dict]) -> dict[str, float | None]:
    """PSNR of the mean squared error over all values, and mean SSIM, of several comparisons."""
    squared_error = sum(figures["squared_error"] for figures in compared)
    values = sum(figures["values"] for figures in compared)
    ssim = [figures["SSIM"] for figures in compared if figures["SSIM"] is not None]
    return {"PSNR": psnr_of_sum(squared_error, values), "SSIM": sum(ssim) / len(ssim) if ssim else None}


def figures_text(figures: dict) -> str:
    """PSNR and SSIM of :func:`compare` or :func:`in_all`, for a line of output."""
    psnr = "identical" if figures["PSNR"] is None else f"{figures['PSNR']:6.2f} dB"
    return f"{psnr:>9}  SSIM {'   –  ' if figures['SSIM'] is None else format(figures['SSIM'], '.4f')}"
