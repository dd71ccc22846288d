"""Pictures put together from stored images: the columns of the paper's figures, and rank lists.

What surrounds the images is transparent and its text grey, so that a file looks right on light and on dark
pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..core.files import write_whole
from ..core.images import png_bytes
from .look import FRAME, MARKS, draw_frame, fitting_font

INK = "#7a7d81"  # contrast 4.1 on white as on the dark page
COLUMN_HEIGHT, RANK_HEIGHT = 256, 128  # pixels: small images are enlarged to about this
GAP, GROUP_GAP, BLOCK_GAP = 4, 14, 36  # pixels between columns, groups of columns, blocks
HEADING, LETTER, LINE = 24, 30, 40  # pixels: text above groups, above columns, height of a line of either
INSET, RANK_GAP = 3, 8  # pixels: space between a ranked image and its frame, between tiles
RANK_LABEL, RANK_LINE = 18, 28  # pixels: text beneath tiles, height of its line


@dataclass(frozen=True)
class Column:
    """One column of a figure.

    Attributes:
        group: what stands above it; neighbours of one group share the heading.
        meaning: what the figure's caption says.
        images: RGB uint8 n×H×W×3, a row for each.
    """

    group: str
    meaning: str
    images: np.ndarray


def letter(index: int) -> str:
    """What names a column in figure and caption: (a), (b), …"""
    return f"({chr(ord('a') + index)})"


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a picture, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = png_bytes(picture)
    write_whole(path, content)


def image_strip(batch: np.ndarray) -> np.ndarray:
    """uint8 N×H×W×3 images side by side without gaps: H×(N·W)×3, at their own size."""
    return np.concatenate(list(batch), axis=1)


def enlarged(image: np.ndarray, height: int) -> Image.Image:
    """A uint8 H×W×3 image, each pixel repeated, by the whole factor that comes closest to a height."""
    scale = max(1, round(height / image.shape[0]))
    return Image.fromarray(image.repeat(scale, axis=0).repeat(scale, axis=1))


def columns_picture(columns: Sequence[Column], blocks: int = 1) -> Image.Image:
    """The columns side by side under their headings and letters, each row one image.

    Args:
        columns: the same number of images, of the same size, in each.
        blocks: the rows are split into so many parts, which stand side by side.

    Returns:
        an RGBA picture.
    """
    first = columns[0].images
    tile = enlarged(first[0], COLUMN_HEIGHT).size
    rows = -(-len(first) // blocks)
    blocks = -(-len(first) // rows)
    lefts, position = [], 0
    for index, column in enumerate(columns):
        if index:
            position += tile[0] + (GAP if column.group == columns[index - 1].group else GROUP_GAP)
        lefts.append(position)
    width = lefts[-1] + tile[0]
    canvas = Image.new(
        "RGBA",
        (blocks * (width + BLOCK_GAP) - BLOCK_GAP, 2 * LINE + rows * (tile[1] + GAP) - GAP),
        (0, 0, 0, 0),
    )
    draw = ImageDraw.Draw(canvas)
    for block in range(blocks):
        left = block * (width + BLOCK_GAP)
        _draw_headings(draw, columns, [left + each for each in lefts], tile[0])
        for column, offset in zip(columns, lefts, strict=True):
            for row, image in enumerate(column.images[block * rows : (block + 1) * rows]):
                canvas.paste(
                    enlarged(image, COLUMN_HEIGHT), (left + offset, 2 * LINE + row * (tile[1] + GAP))
                )
    return canvas


def _draw_headings(
    draw: ImageDraw.ImageDraw, columns: Sequence[Column], lefts: Sequence[int], width: int
) -> None:
    for group, indices in groupby(range(len(columns)), key=lambda index: columns[index].group):
        members = list(indices)
        start, end = lefts[members[0]], lefts[members[-1]] + width
        draw.text(
            ((start + end) / 2, LINE / 2 - 3),
            group,
            INK,
            fitting_font(group, HEADING, end - start),
            anchor="mm",
        )
        if len(members) > 1:
            draw.line((start, LINE - 4, end - 1, LINE - 4), INK, 2)
    for index, left in enumerate(lefts):
        draw.text(
            (left + width / 2, 1.5 * LINE),
            letter(index),
            INK,
            fitting_font(letter(index), LETTER, width),
            anchor="mm",
        )


def rank_list_picture(images: np.ndarray, matches: np.ndarray) -> Image.Image:
    """A row for each query: the query, then its gallery images in frames with their places beneath.

    A true match has a whole green frame and ✓, another person a dashed vermillion frame and ✗; places without
    an image stay empty.

    Args:
        images: RGB uint8 n×(1+k)×H×W×3.
        matches: n×k of 1, 0 and −1.

    Returns:
        an RGBA picture.
    """
    picture = enlarged(images[0, 0], RANK_HEIGHT)
    border = FRAME + INSET
    tile = (picture.width + 2 * border, picture.height + 2 * border)
    step = (tile[0] + RANK_GAP, tile[1] + RANK_LINE + RANK_GAP)
    canvas = Image.new(
        "RGBA", (images.shape[1] * step[0] - RANK_GAP, len(images) * step[1] - RANK_GAP), (0, 0, 0, 0)
    )
    draw = ImageDraw.Draw(canvas)
    for row, (pictures, found) in enumerate(zip(images, matches, strict=True)):
        for place, image in enumerate(pictures):
            match = None if place == 0 else int(found[place - 1])
            if match == -1:
                continue
            left, top, text = place * step[0], row * step[1], "query"
            if match is not None:
                same = bool(match)
                draw_frame(draw, left, top, *tile, same=same, dashed=not same)
                text = f"{place} {MARKS[same][0]}"
            canvas.paste(enlarged(image, RANK_HEIGHT), (left + border, top + border))
            middle = (left + tile[0] / 2, top + tile[1] + RANK_LINE / 2)
            draw.text(middle, text, INK, fitting_font(text, RANK_LABEL, tile[0]), anchor="mm")
    return canvas
