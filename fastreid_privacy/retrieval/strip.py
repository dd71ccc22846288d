"""Queries and what was found for them as one picture: a row for each query, the query on the left, the ranked
images beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..data.datasets import MARKET_NAME
from ..report.figures import GREEN, LIGHT, VERMILLION

PER_LINE = 10  # ranked images beside each other
MOST = 100  # ranked images of one query that are drawn
TILE = (128, 256)  # width, height, pixels, of a picture
FRAME, GAP, MARGIN = (
    5,
    10,
    16,
)  # pixels: the mark of truth around a picture, the space between tiles, around everything
CAPTION = 42  # pixels: two lines of text under a picture
FONTS = {"title": ("bold", 14), "mark": ("bold", 18), "name": ("normal", 12)}  # weight, pixels
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
    match = MARKET_NAME.match(path.replace("\\", "/").rsplit("/", 1)[-1])
    return int(match[1]) if match and int(match[1]) >= 0 else None


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
    fonts = {use: ImageFont.truetype(_font_file(weight), pixels) for use, (weight, pixels) in FONTS.items()}
    top = MARGIN
    for (query, ranked), height in zip(rows, lines, strict=True):
        _draw_tile(canvas, draw, fonts, query, MARGIN, top)
        divider = MARGIN + step_x + GAP // 2 - 1  # sets what was asked apart from what was found
        draw.line((divider, top, divider, top + height * step_y - GAP), fill=LIGHT["grid"], width=2)
        for place, tile in enumerate(ranked[:MOST]):
            line, column = divmod(place, PER_LINE)
            _draw_tile(canvas, draw, fonts, tile, MARGIN + (1 + column) * step_x + GAP, top + line * step_y)
        top += height * step_y + GAP
    return canvas


def _font_file(weight: str) -> str:
    return font_manager.findfont(
        font_manager.FontProperties(family="DejaVu Sans", weight=weight)
    )  # comes with matplotlib


def _draw_tile(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, fonts: dict, tile: Tile, left: int, top: int
) -> None:
    width, height = TILE[0] + 2 * FRAME, TILE[1] + 2 * FRAME
    if tile.same_person is not None:
        draw.rectangle(
            (left, top, left + width - 1, top + height - 1), fill=GREEN if tile.same_person else VERMILLION
        )
    if tile.picture is None:
        draw.rectangle(
            (left + FRAME, top + FRAME, left + width - FRAME - 1, top + height - FRAME - 1), fill=GREY
        )
        draw.text(
            (left + width / 2, top + height / 2),
            "missing",
            fill=LIGHT["ink"],
            font=fonts["title"],
            anchor="mm",
        )
    else:
        picture = ImageOps.pad(tile.picture, TILE, Image.Resampling.LANCZOS, color=LIGHT["grid"])
        canvas.paste(picture, (left + FRAME, top + FRAME))
    baseline = top + height + 17
    draw.text((left, baseline), tile.title, fill=LIGHT["ink"], font=fonts["title"], anchor="ls")
    if tile.same_person is not None:
        mark, colour = ("✓", GREEN) if tile.same_person else ("✗", VERMILLION)
        draw.text((left + width, baseline), mark, fill=colour, font=fonts["mark"], anchor="rs")
    name = _shortened(tile.name, fonts["name"], width)
    draw.text((left, baseline + 18), name, fill=MUTED, font=fonts["name"], anchor="ls")


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """A name cut in its middle to fit, for both ends tell names apart."""
    kept, short = len(text), text
    while font.getlength(short) > width and kept > 2:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short
