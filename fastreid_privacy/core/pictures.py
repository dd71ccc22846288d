"""An image file of any kind as upright RGB pixels, or the reason why it is none."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from .errors import UserError, out_of_memory
from .files import read_regular
from .images import LARGEST
from .members import Readable

LARGEST_FILE = 2**30  # bytes: as many pixels as there may be, with 16 bits and transparency, uncompressed
# those of core.folders.ENDINGS, whatever a file is called: Pillow knows thirty more, and starts Ghostscript
# for one of them
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "AVIF", "JPEG2000", "TGA")
# MPO is not among them: a phone's JPEG with previews behind it, also as .mpo, is its first picture
ANIMATED = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")
FILMS = ("GIF", "PNG")  # of these, what is read as a video, too
WHITE_IS_ZERO = 0  # of a TIFF file's PhotometricInterpretation
UNKNOWN = {  # modes of Pillow whose range nothing tells
    "I": "whole numbers with a sign or of more than 16 bits",
    "F": "floating-point numbers",
}

# Large images are measured here, and broken tags do not harm pixels. Once and for all: catch_warnings, which
# takes filters away again, is not safe where several threads read pictures.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_picture(source: str | Readable | bytes) -> np.ndarray:
    """Pixels as a viewer shows them.

    EXIF rotation is applied, transparency lies over white, 16 bits are scaled to 8; colour profiles are not
    applied.

    Args:
        source: of the file, or its content.

    Returns:
        uint8 H×W×3, RGB.

    Raises:
        UserError: the reason, without the path, when there is no such picture: empty, damaged, truncated,
            animated, more than 100 million pixels or 1 GiB, too large for the memory, or values without a
            known range.
    """
    content = source if isinstance(source, bytes) else read_regular(source, LARGEST_FILE)
    if not content:
        raise UserError("the file is empty")
    try:
        with opened(io.BytesIO(content)) as file:
            return _pixels(file)
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError("it is no image file that can be read") from None
    except Image.DecompressionBombError:
        raise UserError(f"it has more than {LARGEST:,} pixels") from None
    except Exception as error:  # a damaged image can end in any exception of its decoder
        if out_of_memory(error):
            raise UserError("there is not enough memory to read it") from None
        raise UserError(f"it is damaged ({error})") from None


def opened(file: str | Path | BinaryIO) -> Image.Image:
    """Pillow's picture of a file, not decoded yet, of one of :data:`FORMATS` alone.

    Raises:
        UnidentifiedImageError: when it is of none of them.
        OSError: when it cannot be read.
    """
    return Image.open(file, formats=FORMATS)


def is_film(path: str | Path) -> bool:
    """Whether a picture's file is an animation that can be protected as a video: a GIF or a PNG."""
    try:
        with opened(path) as file:
            return file.format in FILMS and getattr(file, "n_frames", 1) > 1
    except Exception:  # whoever reads it says what is wrong
        return False


def open_picture(file: str | Readable, name: object = None) -> Image.Image:
    """An image file as an upright RGB picture of Pillow: :func:`read_picture`, and the file is named.

    Args:
        file: that is read.
        name: what messages call it; None: as itself.

    Raises:
        UserError: naming the file and the reason, when it cannot be read.
    """
    try:
        return Image.fromarray(read_picture(file))
    except UserError as error:
        reason = str(error).removeprefix("it cannot be read: ")
        raise UserError(f"image {name or file} cannot be read: {reason}") from None


def _pixels(file: Image.Image) -> np.ndarray:
    width, height = file.size
    if width * height > LARGEST:
        raise UserError(f"it has {width:,} × {height:,} pixels, more than {LARGEST:,}")
    frames = getattr(file, "n_frames", 1)
    if frames > 1 and file.format in ANIMATED:
        or_whole = ", or protect the file as a video" if file.format in FILMS else ""
        raise UserError(
            f"it holds {frames} pictures (an animation or pages): save each as an image of its own{or_whole}"
        )
    file.load()
    picture = ImageOps.exif_transpose(file)
    # Pillow brings levels of PGM files beyond 8 bits to 16, and calls them as those of 32
    if picture.mode.startswith("I;16") or (picture.mode == "I" and file.format == "PPM"):
        return np.repeat(_of_8_bits(np.asarray(picture), file)[..., None], 3, axis=2)
    if picture.mode in UNKNOWN:
        raise UserError(
            f"its values are {UNKNOWN[picture.mode]}, whose black and white are not known: convert it to 8 "
            "or 16 bits"
        )
    if picture.has_transparency_data:
        return over_white(picture.convert("RGBA"))
    return np.array(picture.convert("RGB"))


def _of_8_bits(levels: np.ndarray, file: Image.Image) -> np.ndarray:
    """Levels of a deeper grey picture; what is transparent is white.

    Those of a TIFF file are as they are stored: of 12 bits, or with white as 0, as where no tag tells.
    """
    white, inverted = 2**16 - 1, False
    if isinstance(file, TiffImageFile):
        white = 2 ** file.tag_v2[BITSPERSAMPLE][0] - 1
        inverted = file.tag_v2.get(PHOTOMETRIC_INTERPRETATION, WHITE_IS_ZERO) == WHITE_IS_ZERO
    scaled = np.rint(levels.astype(np.float32) * (255 / white)).astype(np.uint8)
    if inverted:
        scaled = 255 - scaled
    transparent = file.info.get("transparency")
    return scaled if transparent is None else np.where(levels == transparent, np.uint8(255), scaled)


def over_white(picture: Image.Image) -> np.ndarray:
    """An RGBA picture as a viewer shows it on white, so that hidden pixels stay hidden: uint8 H×W×3."""
    return np.array(Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB"))


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic with antialiasing, as fastreid's test transform.

    Args:
        pixels: uint8 H×W×3.
        size: (height, width).

    Returns:
        uint8 of that size; the same array where it has it already.
    """
    if pixels.shape[:2] == tuple(size):
        return pixels
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BICUBIC))
