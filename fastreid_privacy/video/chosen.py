"""Who of a video's people is protected: all, or those at certain times, in certain parts, by number."""

from __future__ import annotations

import math
import re
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from ..core.errors import UserError
from .boxes import MotBoxes
from .people import Box, Left, Person
from .stream import Frame

TIME, REGION, PERSON = "time", "region", "person"
LONGEST = 10**9  # seconds of a video
_NOBODY = "nobody would be protected"
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")


class Span(NamedTuple):
    """A part of a video's time, in seconds from its first frame; both ends belong to it."""

    start: Fraction
    end: Fraction


class Region(NamedTuple):
    """A part of the picture: left, top, width and height in pixels, or as fractions of its sides."""

    left: float
    top: float
    width: float
    height: float

    def pixels(self, width: int, height: int) -> tuple[float, float, float, float]:
        """left, top, right, bottom in pixels of a picture."""
        across, down = (width, height) if max(self) <= 1 else (1, 1)
        right, bottom = self.left + self.width, self.top + self.height
        return self.left * across, self.top * down, right * across, bottom * down


@dataclass(frozen=True)
class Chosen:
    """Who is protected. Without anything everybody is; whoever is not is left as they are, for all to see.

    Attributes:
        only_between: only boxes at these times are protected.
        only_regions: only boxes that touch one of these.
        leave_regions: not those that lie wholly in one of these.
        only_people: only boxes of these numbers.
        leave_people: not those of these numbers.
    """

    only_between: tuple[Span, ...] = ()
    only_regions: tuple[Region, ...] = ()
    leave_regions: tuple[Region, ...] = ()
    only_people: frozenset[int] = frozenset()
    leave_people: frozenset[int] = frozenset()

    @property
    def about(self) -> dict:
        """For the manifest: what was asked for; {} where everybody is protected."""
        about: dict = {
            "only_between": [[float(span.start), float(span.end)] for span in self.only_between],
            "only_region": [list(region) for region in self.only_regions],
            "leave_region": [list(region) for region in self.leave_regions],
            "only_people": sorted(self.only_people),
            "leave_people": sorted(self.leave_people),
        }
        return {word: value for word, value in about.items() if value}

    def check(self, boxes: object) -> None:
        """Refuse numbers that no box has.

        Raises:
            UserError: naming those that there are.
        """
        if not (asked := self.only_people | self.leave_people):
            return
        if not isinstance(boxes, MotBoxes):
            raise UserError(
                "--only-people and --leave-people go with --boxes: whom a detector finds has no number "
                "before it has looked; protect everybody first, and take the .boxes.txt that lies beside the "
                "video"
            )
        known = {line.identity for lines in boxes.of_frame.values() for line in lines if line.identity}
        if unknown := sorted(asked - known):
            told = ", ".join(map(str, sorted(known)[:20])) or "none"
            raise UserError(f"{boxes.named} has no boxes of number {unknown[0]}; there are: {told}")

    def check_live(self, size: tuple[int, int], duration: float | None) -> None:
        """Refuse what would leave everybody as they are, before a frame of a live input is written.

        Args:
            size: (width, height) of the frames.
            duration: seconds after which it ends; None: that is not known.

        Raises:
            UserError: naming the option.
        """
        picture = 0, 0, *size
        if any(_within(picture, each.pixels(*size)) for each in self.leave_regions):
            raise UserError(f"--leave-region is the whole picture ({size[0]}×{size[1]}): {_NOBODY}")
        if self.only_regions and not any(_touches(picture, each.pixels(*size)) for each in self.only_regions):
            raise UserError(f"--only-region lies outside of the picture ({size[0]}×{size[1]}): {_NOBODY}")
        if duration is not None and self.only_between and min(self.only_between).start >= duration:
            raise UserError(f"--only-between begins when --duration {duration:g} is over: {_NOBODY}")

    def why_left(self, person: Person, seconds: Fraction, size: tuple[int, int]) -> str | None:
        """Why somebody is left as they are; None: they are protected.

        Args:
            person: who.
            seconds: from the first frame.
            size: (width, height) of the frames.
        """
        if self.only_between and not any(start <= seconds <= end for start, end in self.only_between):
            return TIME
        only, leave = (
            [each.pixels(*size) for each in some] for some in (self.only_regions, self.leave_regions)
        )
        if only and not any(_touches(person.box, region) for region in only):
            return REGION
        if any(_within(person.box, region) for region in leave):
            return REGION
        if person.identity in self.leave_people or (
            self.only_people and person.identity not in self.only_people
        ):
            return PERSON
        return None


def choose(frames: Generator[Frame], chosen: Chosen, time_base: Fraction) -> Generator[Frame]:
    """Frames with their people, told apart into those who are protected and those who are left."""
    with closing(frames):
        for frame in frames:
            height, width = frame.pixels.shape[:2]
            whys = [chosen.why_left(each, frame.time * time_base, (width, height)) for each in frame.people]
            frame.left = [Left(person, why) for person, why in zip(frame.people, whys, strict=True) if why]
            frame.people = [person for person, why in zip(frame.people, whys, strict=True) if not why]
            yield frame


def _touches(box: Box, region: tuple[float, float, float, float]) -> bool:
    return box[0] < region[2] and region[0] < box[2] and box[1] < region[3] and region[1] < box[3]


def _within(box: Box, region: tuple[float, float, float, float]) -> bool:
    return region[0] <= box[0] and region[1] <= box[1] and box[2] <= region[2] and box[3] <= region[3]


def span(text: str) -> Span:
    """A span of time as users write it: "00:10-00:20", "75-80.5", "1:02:03-1:02:10".

    Raises:
        ValueError: when it is none, ends before it begins, or after more than thirty years.
    """
    start, _, end = text.partition("-")
    found = Span(_seconds(start), _seconds(end))
    if not found.start <= found.end < LONGEST:
        raise ValueError
    return found


def _seconds(text: str) -> Fraction:
    if not (found := _CLOCK.fullmatch(text.strip())):
        raise ValueError
    hours, minutes, seconds = found.groups()
    return Fraction(hours or 0) * 3600 + Fraction(minutes or 0) * 60 + Fraction(seconds)


def region(text: str) -> Region:
    """A part of the picture as users write it: left,top,width,height in pixels or, all up to 1, in fractions.

    Raises:
        ValueError: when it is none.
    """
    found = Region(*map(float, text.split(","))) if text.count(",") == 3 else None
    if found is None or not all(map(math.isfinite, found)) or min(found) < 0 or min(found[2:]) <= 0:
        raise ValueError
    return found


def people(text: str) -> frozenset[int]:
    """Numbers of people as users write them: "3,7".

    Raises:
        ValueError: when one is no whole number from 1.
    """
    numbers = frozenset(map(int, text.split(",")))
    if min(numbers) < 1:
        raise ValueError
    return numbers
