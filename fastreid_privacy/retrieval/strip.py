"""Queries and what was found for them as one picture: a row each, the ranked images beside the query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageOps

from ..compat.labels import MARKET_FOLDER
from ..core.errors import UserError
from ..report.look import FRAME, LIGHT, MARKS, draw_frame, font, shortened

PER_LINE = 10  # ranked images beside each other
MOST = 100  # ranked images of one query that are drawn
TILE = (128, 256)  # width, height, pixels, of a picture
GAP, MARGIN = 10, 16  # pixels: the space between tiles, around everything
CAPTION = 42  # pixels: two lines of text under a picture
TITLE, MARK, NAME = (14, "bold"), (18, "bold"), (12, "normal")  # pixels and weight of text
GREY, MUTED = "#c9ced4", "#6e7781"


@dataclass
class Tile:
    """One picture of the strip.

    Attributes:
        picture: RGB, any size; None: missing, a grey tile.
        title: above all else under the picture, such as "1  0.913".
        name: of the file, shortened to the tile's width.
        same_person: whether it shows the query's person; None: not known, no frame.
    """

    picture: Image.Image | None
    title: str
    name: str
    same_person: bool | None = None


def identity(path: str) -> int | None:
    """The identity in a file name of Market-1501's scheme; None for other names and for junk (−1)."""
    try:
        pid, _ = MARKET_FOLDER.read(path.replace("\\", "/"))
    except UserError:
        return None
    return pid if pid >= 0 else None


def same_person(query: str, found: str) -> bool | None:
    """Whether two files show one person, by their names; None where a name does not say.

    Distractors (identity 0) are different people under one number: never the same.
    """
    one, other = identity(query), identity(found)
    if one is None or other is None:
        return None
    return one == other != 0


def draw_strip(rows: Sequence[tuple[Tile, Sequence[Tile]]]) -> Image.Image:
    """Draw queries and their ranked images.

    A frame says what the names say: green with ✓ for the query's person, vermillion with ✗ for another one.

    Args:
        rows: (query, ranked images) of each query, at least one; of the images the first 100 are drawn.

    Returns:
        an RGB picture.
    """
    columns = 1 + max(1, min(PER_LINE, max(len(ranked) for _, ranked in rows)))
    step_x, step_y = TILE[0] + 2 * FRAME + GAP, TILE[1] + 2 * FRAME + CAPTION + GAP
    lines = [max(1, -(-min(len(ranked), MOST) // PER_LINE)) for _, ranked in rows]
    size = (
        2 * MARGIN + columns * step_x + GAP,
        2 * MARGIN + sum(lines) * step_y - GAP + (len(rows) - 1) * GAP,
    )
    canvas = Image.new("RGB", size, LIGHT["paper"])
    draw = ImageDraw.Draw(canvas)
    top = MARGIN
    for (query, ranked), height in zip(rows, lines, strict=True):
        _draw_tile(canvas, draw, query, MARGIN, top)
        divider = MARGIN + step_x + GAP // 2 - 1  # sets what was asked apart from what was found
        draw.line((divider, top, divider, top + height * step_y - GAP), fill=LIGHT["grid"], width=2)
        for place, tile in enumerate(ranked[:MOST]):
            line, column = divmod(place, PER_LINE)
            _draw_tile(canvas, draw, tile, MARGIN + (1 + column) * step_x + GAP, top + line * step_y)
        top += height * step_y + GAP
    return canvas


def _draw_tile(canvas: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int) -> None:
    width, height = TILE[0] + 2 * FRAME, TILE[1] + 2 * FRAME
    if tile.same_person is not None:
        draw_frame(draw, left, top, width, height, tile.same_person)
    if tile.picture is None:
        inside = (left + FRAME, top + FRAME, left + width - FRAME - 1, top + height - FRAME - 1)
        draw.rectangle(inside, fill=GREY)
        middle = (left + width / 2, top + height / 2)
        draw.text(middle, "missing", fill=LIGHT["ink"], font=font(*TITLE), anchor="mm")
    else:
        picture = ImageOps.pad(tile.picture, TILE, Image.Resampling.LANCZOS, color=LIGHT["grid"])
        canvas.paste(picture, (left + FRAME, top + FRAME))
    baseline = top + height + 17
    draw.text((left, baseline), tile.title, fill=LIGHT["ink"], font=font(*TITLE), anchor="ls")
    if tile.same_person is not None:
        mark, colour = MARKS[tile.same_person]
        draw.text((left + width, baseline), mark, fill=colour, font=font(*MARK), anchor="rs")
    name = shortened(tile.name, font(*NAME), width)
    draw.text((left, baseline + 18), name, fill=MUTED, font=font(*NAME), anchor="ls")
