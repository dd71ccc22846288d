"""Where people are in the frames of a video: rectangles in pixels, from a MOT file or a manifest."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import NAMED, UserError, named, some_of
from ..core.files import read_regular
from .people import Box, Person


def whole_pixels(left: float, top: float, right: float, bottom: float, width: int, height: int) -> Box | None:
    """The pixels that a rectangle touches inside a frame of ``width`` × ``height``; None: it lies outside."""
    box = (
        max(0, math.floor(left)),
        max(0, math.floor(top)),
        min(width, math.ceil(right)),
        min(height, math.ceil(bottom)),
    )
    return box if box[0] < box[2] and box[1] < box[3] else None


class Detector:
    """Finds the people in the frames of a video.

    Attributes:
        name: for messages.
        about: for the manifest: what found the boxes.
    """

    name: str
    about: Mapping[str, object]

    def __call__(self, number: int, pixels: np.ndarray) -> list[Box]:
        """The boxes of a frame, those of the lowest score first, so that the surest lie on top.

        Args:
            number: of the frame; not used.
            pixels: uint8 H×W×3, RGB.
        """
        raise NotImplementedError

    def check(self, frames: int, size: tuple[int, int], video: Path) -> None:
        """Nothing to be checked: the boxes come from the video itself."""

    def outside(self, size: tuple[int, int]) -> list[int]:
        """None: whoever is found is in the picture."""
        return []


PIXEL, FRACTION, PERCENT = "pixel", "fraction", "percent"
UNITS = (PIXEL, FRACTION, PERCENT)  # of the picture's sides
# Pixels of both sides, from which boxes that all end by 100 are hardly pixels; half of it where they reach
# beyond 50, as percent do of somebody who stands anywhere but in the upper left quarter.
PLAIN_PERCENT = 400
OUTSIDE = 0.25  # share of boxes outside of the picture from which they are another picture's
LARGEST_FILE = 2**28  # bytes of a file of boxes
MOST_BOXES = 10_000  # of a frame
LARGEST_IDENTITY = 2**53  # up to which a float tells whole numbers apart


@dataclass(frozen=True)
class _Line:
    """A box as its file has it: the line's number, left, top, right and bottom in the file's unit, and whose
    it is, 0 where no whole number from 1 says so."""

    number: int
    edges: tuple[float, float, float, float]
    identity: int


class MotBoxes:
    """Boxes of a MOT file.

    A line for each: ``frame, identity, left, top, width, height`` and whatever follows, between commas or, in
    a line without any, blanks; frames count from 1. Every line counts, whatever its confidence or class: a
    box too many hides a stranger's car, one too few shows a person. Tools differ in whether the first pixel
    is 0 or 1, so a box reaches one pixel further to the left and to the top.

    Args:
        path: of the file.
        units: "pixel", "fraction" or "percent" of the picture's sides; None: pixels, and :meth:`check`
            refuses boxes that look like something else.
        option: that names the file, for messages.

    Attributes:
        about: for the manifest: which boxes were protected.

    Raises:
        UserError: for a file that cannot be read or holds no box, and for a line that is none.
    """

    def __init__(self, path: str | Path, units: str | None = None, option: str = "--boxes"):
        self.named = f"{option} {path}"
        with named(self.named):
            content = read_regular(path, LARGEST_FILE)
        self.units = units
        self.of_frame: dict[int, list[_Line]] = defaultdict(list)
        for number, text in enumerate(content.decode("utf-8-sig", "replace").splitlines(), start=1):
            if text.strip():
                frame, line = self._line(number, text)
                self.of_frame[frame].append(line)
        if not self.of_frame:
            raise UserError(f"{self.named} holds no box")
        frame = max(self.of_frame, key=lambda number: len(self.of_frame[number]))
        if (count := len(self.of_frame[frame])) > MOST_BOXES:
            raise UserError(
                f"{self.named} has {count:,} boxes of frame {frame}; a frame has at most {MOST_BOXES:,}"
            )
        self.about = {"boxes": "mot", "boxes_sha256": hashlib.sha256(content).hexdigest()}
        if units in (FRACTION, PERCENT):
            self.about["box_units"] = units

    def _line(self, number: int, text: str) -> tuple[int, _Line]:
        """The frame and the box of a line."""
        # not at both: the fields behind an empty one, or a decimal comma, would take each other's places
        words = text.split("," if "," in text else None)
        try:
            frame, whose, left, top, width, height = (float(word) for word in words[:6])
            finite = all(map(math.isfinite, (frame, left + width, top + height)))
            if not finite or frame < 1 or frame % 1 or width <= 0 or height <= 0:
                raise ValueError
        except ValueError:
            raise UserError(
                f"line {number} of {self.named} is {text.strip()[:80]!r}; a MOT line is frame, "
                "identity (-1: not known), left, top, width, height in pixels, with frames from 1 and sides "
                "above 0"
            ) from None
        identity = int(whose) if 1 <= whose < LARGEST_IDENTITY and whose % 1 == 0 else 0
        return int(frame), _Line(number, (left, top, left + width, top + height), identity)

    @property
    def says_who(self) -> bool:
        """Whether every line says whose its box is."""
        return all(line.identity for of_frame in self.of_frame.values() for line in of_frame)

    def people(self, number: int, pixels: np.ndarray) -> list[Person]:
        """Who is in a frame, in boxes of whole pixels inside it, in the file's order."""
        height, width = pixels.shape[:2]
        lines = self.of_frame.get(number, ())
        boxes = ((line, self._pixels(line, width, height)) for line in lines)
        return [Person(box, line.identity) for line, box in boxes if box]

    def __call__(self, number: int, pixels: np.ndarray) -> list[Box]:
        """The boxes of a frame, as those of :meth:`people`."""
        return [person.box for person in self.people(number, pixels)]

    def _pixels(self, line: _Line, width: int, height: int) -> Box | None:
        whole = {FRACTION: 1, PERCENT: 100}.get(self.units or PIXEL)
        across, down = (width / whole, height / whole) if whole else (1, 1)
        left, top, right, bottom = line.edges
        return whole_pixels(left * across - 1, top * down - 1, right * across, bottom * down, width, height)

    def outside(self, size: tuple[int, int]) -> list[int]:
        """Numbers of the file's lines whose boxes lie outside of the picture and protect nothing.

        Args:
            size: (width, height) of the frames.
        """
        lines = (line for of_frame in self.of_frame.values() for line in of_frame)
        return sorted(line.number for line in lines if not self._pixels(line, *size))

    def check(self, frames: int, size: tuple[int, int], video: Path) -> None:
        """Refuse boxes that are not this video's, or not in the unit that they are taken for.

        Args:
            frames: how many the video has.
            size: (width, height) of the frames.
            video: for the message.

        Raises:
            UserError: when boxes are of frames that the video does not have, look like another unit, or all
                lie outside of the picture; without ``units``, also when many do.
        """
        self._check_frames(frames, video)
        self._check_units(size)
        outside, count = self.outside(size), sum(map(len, self.of_frame.values()))
        if len(outside) < count and (self.units or len(outside) <= OUTSIDE * count):
            return
        every = len(outside) == count
        which = f"all {count:,}" if every else f"{len(outside):,} of {count:,}"
        raise UserError(
            f"{which} boxes of {self.named} lie outside of the {size[0]} × {size[1]} pixels of "
            f"{video}{': nothing would be protected' if every else ''} ({named_lines(outside)}); are they of "
            "another size or unit? Scale them, or say what they are: --box-units fraction, percent or pixel"
        )

    def _check_units(self, size: tuple[int, int]) -> None:
        """Refuse values that fit another unit than that of the boxes."""
        lines = [line for of_frame in self.of_frame.values() for line in of_frame]
        largest = max(abs(edge) for line in lines for edge in line.edges)
        if largest <= 1.5:
            fits, why = FRACTION, "all its boxes would lie within one pixel"
        elif largest <= 100.5 and min(size) >= PLAIN_PERCENT / (2 if largest > 50 else 1):
            fits, why = PERCENT, f"all its boxes end by 100, in a picture of {size[0]} × {size[1]} pixels"
        else:
            fits, why = PIXEL, f"its boxes reach {largest:g}"
        wrong = {  # where the unit was said, people may stand far outside of the picture
            None: fits != PIXEL,
            FRACTION: largest > 3,
            PERCENT: fits == FRACTION or largest > 300,
        }
        if wrong.get(self.units):
            asked = f"--box-units {self.units}" if self.units else "pixels are expected"
            raise UserError(
                f"{self.named}: {why}, but {asked}; say what they are: --box-units fraction, percent "
                f"or pixel ({fits} by the look of them)"
            )

    def _check_frames(self, frames: int, video: Path) -> None:
        beyond = [str(number) for number in sorted(self.of_frame) if number > frames]
        if beyond:
            raise UserError(
                f"{self.named} has boxes of frame {some_of(beyond, 1)}, but {video} has {frames:,} "
                "frames; do they belong together?"
            )


def named_lines(numbers: Sequence[int]) -> str:
    """Lines of a file by their numbers, the first few of many."""
    return f"line{'s' * (len(numbers) > 1)} {some_of(list(map(str, numbers)), NAMED)}"


def manifest_rows(numbered: Iterable[tuple[int, Sequence[Box]]]) -> list[list[int]]:
    """Boxes as a manifest keeps them: [frame, left, top, width, height] each."""
    return [
        [number, left, top, right - left, bottom - top]
        for number, boxes in numbered
        for left, top, right, bottom in boxes
    ]


class ManifestBoxes:
    """The boxes of a protected video, from its line of the manifest.

    Args:
        entry: with ``boxes``, ``width``, ``height`` and ``frames``.

    Raises:
        UserError: when they are no boxes inside its frames.
    """

    def __init__(self, entry: dict):
        self.of_frame: dict[int, list[Box]] = defaultdict(list)
        try:
            if type(entry["frames"]) is not int:
                raise ValueError
            for number, left, top, width, height in entry["boxes"]:
                if any(type(value) is not int for value in (number, left, top, width, height)):
                    raise ValueError
                if not 1 <= number <= entry["frames"] or min(width, height) < 1 or min(left, top) < 0:
                    raise ValueError
                if left + width > entry["width"] or top + height > entry["height"]:
                    raise ValueError
                self.of_frame[number].append((left, top, left + width, top + height))
                if len(self.of_frame[number]) > MOST_BOXES:
                    raise ValueError
        except (ValueError, TypeError, KeyError):
            raise UserError(f"the manifest's boxes of {entry['path']} are damaged") from None

    def __call__(self, number: int, pixels: np.ndarray) -> list[Box]:
        """The boxes of a frame, in the order in which they were put into it."""
        return self.of_frame.get(number, [])
