"""How pictures and figures look: colours, text, and the mark and the frame of a ranked image."""

from __future__ import annotations

from functools import cache

from matplotlib import font_manager
from PIL import ImageDraw, ImageFont

from ..core.errors import one_line

# Okabe and Ito's colours, told apart with all common colour-vision deficiencies; black and yellow left out
# for light and dark pages
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
VERMILLION, SKY, PURPLE = "#D55E00", "#56B4E9", "#CC79A7"
LIGHT = {"ink": "#24292f", "paper": "#ffffff", "grid": "#d8dee4", "blue": BLUE}
# Okabe and Ito's blue is too dark on a dark page
DARK = {"ink": "#d0d7de", "paper": "#16191d", "grid": "#353b43", "blue": "#5aa9e6"}

# Whether a ranked image shows the query's person → its symbol and its colour
MARKS = {True: ("✓", GREEN), False: ("✗", VERMILLION)}
# What a check can change of the supervision: colour, line and mark of each in the training curve.
CHANGES = {
    "upgrade": (GREEN, "-", "^"),
    "fall back": (VERMILLION, ":", "v"),
    "restore": (SKY, "--", "^"),
}
FRAME = 5  # pixels: the frame of a ranked image
DASH = 12  # pixels: about the length of a dash of a dashed frame


@cache
def font(pixels: int, weight: str = "normal") -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, so that pictures look the same everywhere."""
    properties = font_manager.FontProperties(family="DejaVu Sans", weight=weight)
    return ImageFont.truetype(font_manager.findfont(properties), pixels)


def fitting_font(text: str, pixels: int, width: int) -> ImageFont.FreeTypeFont:
    """The largest font of at most so many pixels in which a text is no wider than ``width``; at least 6."""
    sizes = range(pixels, 6, -1)
    return next((font(size) for size in sizes if font(size).getlength(text) <= width), font(6))


def shortened(text: str, used: ImageFont.FreeTypeFont, width: int) -> str:
    """A text in one line, cut in its middle to fit ``width`` pixels, for both ends tell names apart."""
    text = one_line(text)
    kept, short = len(text), text
    while used.getlength(short) > width and kept > 2:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short


def draw_frame(
    draw: ImageDraw.ImageDraw, left: int, top: int, width: int, height: int, same: bool, dashed: bool = False
) -> None:
    """Frame a ranked image.

    Args:
        draw: the canvas.
        left, top, width, height: of the frame's outside, pixels.
        same: whether the image shows the query's person.
        dashed: leave spaces, which become transparent: for canvases with transparency.
    """
    right, bottom = left + width - 1, top + height - 1
    draw.rectangle((left, top, right, bottom), outline=MARKS[same][1], width=FRAME)
    if not dashed:
        return
    for first, last in _spaces(width):  # what is between two dashes is taken away again
        for edge in (top, bottom - FRAME + 1):
            draw.rectangle((left + first, edge, left + last, edge + FRAME - 1), (0, 0, 0, 0))
    for first, last in _spaces(height):
        for edge in (left, right - FRAME + 1):
            draw.rectangle((edge, top + first, edge + FRAME - 1, top + last), (0, 0, 0, 0))


def _spaces(length: int) -> list[tuple[int, int]]:
    """First and last pixel of the spaces of a dashed line that begins and ends with a dash."""
    parts = 2 * max(1, round((length / DASH - 1) / 2)) + 1
    ends = [round(length * part / parts) for part in range(parts + 1)]
    return [(ends[part], ends[part + 1] - 1) for part in range(1, parts, 2)]
