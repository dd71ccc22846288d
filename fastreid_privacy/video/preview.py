"""A sheet of frames of a protected video, with its boxes, to look at before it goes out.

It is made of the protected file, so it shows nothing that the file does not show. Boxes are outlined by how
they came about, and those who were left as they are stand out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ..core.errors import UserError, brief
from ..core.files import LARGEST_INPUT, read_regular, write_whole
from ..core.images import png_bytes
from ..core.json_text import parse_json
from ..core.pictures import resize
from ..report.look import font
from .boxes import LARGEST_IDENTITY
from .people import CARRIED, DETECTED, GIVEN
from .records import LEFT
from .stream import read_frames

PREVIEW = ".preview.png"  # end of the name of a sheet, after the protected video's name
FRAMES, COLUMNS = 24, 4
TILE = 320  # pixels: the longer side of a frame in the sheet
CAPTION, GAP, FONT = 18, 4, 12  # pixels above a frame, between frames, and of letters
MOST_PIXELS = 2**20  # of a picture's side, by far
COLOURS = {GIVEN: (0, 120, 255), DETECTED: (0, 170, 60), CARRIED: (255, 150, 0), LEFT: (230, 0, 0)}
"""Of a box, by how it came about, or because it was left as it is."""


def chosen_frames(count: int, most: int = FRAMES) -> list[int]:
    """Numbers of frames from 1, evenly over a video: the first and the last among them."""
    return sorted({round(place) for place in np.linspace(1, count, min(count, most))})


def write_preview(folder: Path, entry: dict) -> Path:
    """Write the sheet of a protected video beside it.

    Args:
        folder: of the video.
        entry: its line of the manifest, with "audit".

    Returns:
        The path of the sheet.

    Raises:
        UserError: when the video or its audit log cannot be read.
    """
    path = folder / entry["path"]
    if "audit" not in entry:
        raise UserError(f"{path} is of an older version and has no audit log: protect it anew for --preview")
    wanted = set(chosen_frames(entry["frames"]))
    people = _people(folder / entry["audit"], wanted)
    tiles = [
        _tile(frame.pixels, frame.number, people.get(frame.number, []))
        for frame in read_frames(path)
        if frame.number in wanted
    ]
    sheet = path.with_name(path.name + PREVIEW)
    write_whole(sheet, png_bytes(_sheet(tiles), optimize=True))
    return sheet


class _Outline(NamedTuple):
    """Somebody in a frame: left, top, width, height in pixels, how these came about, and a number, if any."""

    box: tuple[int, int, int, int]
    how: str
    identity: int | None


def _people(log: Path, wanted: set[int]) -> dict[int, list[_Outline]]:
    """Who was where in some frames, by the audit log."""
    try:
        records = map(parse_json, read_regular(log, LARGEST_INPUT).splitlines()[1:-1])
        return {
            record["frame"]: [_outline(person) for person in record["people"]]
            for record in records
            if record["frame"] in wanted
        }
    except (UserError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{log} cannot be read ({brief(error)}): it is no audit log") from None


def _outline(person: dict) -> _Outline:
    """Somebody in a record.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: when the record is none.
    """
    how = LEFT if LEFT in person else person["how"]
    left, top, width, height = person["box"]
    identity = person.get("identity")
    whole = all(type(side) is int and 0 <= side < MOST_PIXELS for side in (left, top, width, height))
    numbered = identity is None or (type(identity) is int and 0 < identity < LARGEST_IDENTITY)
    if how not in COLOURS or not whole or not numbered:
        raise ValueError(f"a person is {person}")
    return _Outline((left, top, width, height), how, identity)


def _tile(pixels: np.ndarray, number: int, people: Sequence[_Outline]) -> Image.Image:
    """A frame with the outlines of its boxes, and a caption above it."""
    height, width = pixels.shape[:2]
    scale = TILE / max(height, width)
    small = resize(pixels, (max(1, round(scale * height)), max(1, round(scale * width))))
    tile = Image.new("RGB", (max(small.shape[1], TILE), small.shape[0] + CAPTION), "white")
    tile.paste(Image.fromarray(small), (0, CAPTION))
    draw, text_font = ImageDraw.Draw(tile), font(FONT)
    left = sum(person.how == LEFT for person in people)
    counted = f"frame {number}: {len(people) - left} protected" + (
        f", {left} left as they are" if left else ""
    )
    draw.text((2, 2), counted, fill=COLOURS[LEFT] if left or not people else "black", font=text_font)
    for person in people:
        edge, top, across, down = (scale * value for value in person.box)
        colour = COLOURS[person.how]
        box = edge, CAPTION + top, max(edge, edge + across - 1), CAPTION + max(top, top + down - 1)
        draw.rectangle(box, outline=colour, width=2)
        if person.identity is not None:
            draw.text((edge + 3, CAPTION + top + 2), str(person.identity), fill=colour, font=text_font)
    return tile


def _sheet(tiles: Sequence[Image.Image]) -> Image.Image:
    """Tiles in rows, below a line that says what the colours mean."""
    columns, (width, height) = min(COLUMNS, len(tiles)), tiles[0].size
    rows = math.ceil(len(tiles) / columns)
    size = columns * (width + GAP) + GAP, CAPTION + rows * (height + GAP) + GAP
    sheet = Image.new("RGB", size, "white")
    draw, text_font, across = ImageDraw.Draw(sheet), font(FONT), GAP
    for word, colour in COLOURS.items():
        text = "left as they are" if word == LEFT else word
        draw.text((across, 2), text, fill=colour, font=text_font)
        across += round(draw.textlength(text, font=text_font)) + 12
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        sheet.paste(tile, (GAP + column * (width + GAP), CAPTION + row * (height + GAP)))
    return sheet
