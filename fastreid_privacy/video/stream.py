"""A video file as upright RGB frames with their times."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..core.errors import UserError, say
from ..core.extras import av
from ..core.images import LARGEST
from .decoding import decoded, libav_said, open_video, start_of
from .people import Box, Left, Person
from .pixels import UNKNOWN, lies_on_its_side, upright

STRANGE = 64  # times as wide as high: no camera has such pixels, but damaged heads say so


@dataclass
class Frame:
    """One picture of a video.

    Attributes:
        number: from 1, as in MOT files.
        time: in units of the video's ``time_base``, from 0 for the first frame.
        pixels: uint8 H×W×3, RGB.
        people: who is where, and is to be protected.
        left: who is to be left as they are.
    """

    number: int
    time: int
    pixels: np.ndarray
    people: list[Person] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    @property
    def boxes(self) -> list[Box]:
        """Where people are."""
        return [person.box for person in self.people]


@dataclass(frozen=True)
class VideoFormat:
    """What is to be known of a video before its frames.

    Attributes:
        width: in pixels, when it is upright.
        height: likewise.
        rate: frames a second.
        time_base: the unit of its times, in seconds.
        others: kinds of the streams that are not its first video: sound, subtitles.
        aspect: width of a pixel divided by its height, when it is upright; None: not said, so square.
        primaries: the colours that its red, green and blue are, by the numbers of ITU-T H.273.
        transfer: how its levels become light, likewise.
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    others: Sequence[str] = ()
    aspect: Fraction | None = None
    primaries: int = UNKNOWN
    transfer: int = UNKNOWN


def video_format(path: str | Path) -> VideoFormat:
    """The format of a video, of its head and its first frame.

    Raises:
        UserError: when the file holds no video that can be read.
    """
    start = start_of(path)
    container, stream = open_video(path)
    with container:
        first = next(decoded(path, container, stream, start))
        if first.width * first.height > LARGEST:
            raise UserError(
                f"{path} has frames of {first.width:,}×{first.height:,} pixels, more than {LARGEST:,}"
            )
        height, width = upright(first).shape[:2]
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        others = [item.type for item in container.streams if item is not stream]
        aspect = stream.sample_aspect_ratio
        if aspect and not 1 / STRANGE <= aspect <= STRANGE:
            aspect = None
        if aspect and lies_on_its_side(first):
            aspect = 1 / aspect
        colours = first.color_primaries, first.color_trc
        return VideoFormat(width, height, Fraction(rate), _time_base(stream), others, aspect, *colours)


def count_frames(path: str | Path) -> int:
    """How many frames a player shows of a video, by its packets: only the first frame is decoded.

    Where packets have no times, as in raw H.264, all are decoded: it cannot be seen which lead to no frame.

    Not among them: what an edit list cuts off, and packets before the first frame of a video that was cut out
    of a longer one.

    Raises:
        UserError: when the file says that there are more: some are lost, and boxes would come to lie on the
            wrong frames.
    """
    start = start_of(path)
    container, stream = open_video(path)
    with container, libav_said():
        packets, shown = _count_packets(container, stream)
        announced = stream.frames
    if packets < announced:  # what an edit list cuts off is in the file all the same
        container, stream = open_video(path, ignore_editlist="1")
        with container, libav_said():
            packets, _ = _count_packets(container, stream)
    if packets < announced:
        raise UserError(
            f"{path} is damaged: it says that it has {announced:,} frames, but {packets:,} are there"
        )
    if start.time is None:
        container, stream = open_video(path)
        with container:
            return sum(1 for _ in decoded(path, container, stream, start))
    return shown - start.passed_over


def _count_packets(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[int, int]:
    """How many packets there are, and how many of them are meant to be shown."""
    packets = shown = 0
    for packet in container.demux(stream):
        # the last one only says that it is the last
        packets += packet.pts is not None or packet.dts is not None or packet.size > 0
        shown += packet.size > 0 and not packet.is_discard
    return packets, shown


def read_frames(path: str | Path) -> Generator[Frame]:
    """The frames of a video's first video stream, turned upright as players turn them.

    Damage beside the pictures, as in what a camera tells of itself, is a warning on standard error.

    Raises:
        UserError: when a frame is damaged or has another size than the first one; the frames before it have
            been given.
    """
    begin = start_of(path)
    container, stream = open_video(path)
    with container:
        step = round(1 / (Fraction(stream.average_rate or 25) * _time_base(stream))) or 1
        beside: list[str] = []
        start: int | None = None
        last, size = -step, None
        for number, frame in enumerate(decoded(path, container, stream, begin, beside), start=1):
            if frame.is_corrupt:
                raise UserError(f"frame {number} of {path} is damaged")
            pixels = upright(frame)
            size = size or pixels.shape
            if pixels.shape != size:
                raise UserError(
                    f"frame {number} of {path} is {pixels.shape[1]}×{pixels.shape[0]}, the first one "
                    f"{size[1]}×{size[0]}"
                )
            start = frame.pts if start is None else start
            time = last + step if frame.pts is None or start is None else frame.pts - start
            last = max(time, last + 1)  # broken files repeat a time
            yield Frame(number, last, pixels)
        if beside:
            say(
                f"warning: data beside the pictures is damaged in {len(beside):,} packets of {path} "
                f"({beside[0]}); every frame is whole"
            )


def _time_base(stream: av.VideoStream) -> Fraction:
    """The unit of its times, in seconds; libav gives one to every stream that it has read."""
    assert stream.time_base is not None
    return Fraction(stream.time_base)
