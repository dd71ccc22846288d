"""A video file as upright RGB frames with their times, and frames as a video file that holds nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from ..collection.run import HOPELESS
from ..core.errors import UserError
from ..core.extras import from_extra
from ..core.images import LARGEST
from ..core.pictures import over_white
from ..evaluation.image_quality import psnr_of_mse
from .boxes import Box

if TYPE_CHECKING:
    import av
else:
    av = from_extra("av")

FORMATS = (  # libav's names; what is a list of other files is not among them
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,mjpeg,flv,ogg,asf,nut,gif,apng,ivf,yuv4mpegpipe,wav"
)
THREADS = (
    4  # of a codec, whatever the machine has: the bytes of a video must not depend on the number of cores
)
LOSSLESS, LOSSY = "ffv1", "h264"
ENDINGS = {LOSSLESS: ".mkv", LOSSY: ".mp4"}
DEFAULT_CRF = 18  # of H.264: 0 to 51, larger is smaller and worse


@dataclass
class Frame:
    """One picture of a video.

    Attributes:
        number: from 1, as in MOT files.
        time: in units of the video's ``time_base``, from 0 for the first frame.
        pixels: uint8 H×W×3, RGB.
        boxes: where people are.
    """

    number: int
    time: int
    pixels: np.ndarray
    boxes: list[Box] = field(default_factory=list)


@dataclass(frozen=True)
class About:
    """What is to be known of a video before its frames: upright size, frames a second, and the unit of times
    in seconds."""

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    others: Sequence[str] = ()  # kinds of the streams that are not its first video: sound, subtitles


def about_video(path: str | Path) -> About:
    """Read a video's first frame.

    Raises:
        UserError: when the file holds no video that can be read.
    """
    with _open(path) as container:
        stream = _video(container)
        first = next(_decoded(path, container), None)
        if first is None:
            raise UserError(f"{path} holds no frame")
        if first.width * first.height > LARGEST:
            raise UserError(
                f"{path} has frames of {first.width:,}×{first.height:,} pixels, more than {LARGEST:,}"
            )
        height, width = _upright(first).shape[:2]
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        others = [item.type for item in container.streams if item is not stream]
        return About(width, height, Fraction(rate), Fraction(stream.time_base), others)


def count_frames(path: str | Path) -> int:
    """How many frames a video's packets announce, without decoding them.

    Raises:
        UserError: when the file says that there are more: some are lost, and boxes would come to lie on the
            wrong frames.
    """
    with _open(path) as container:
        stream = _video(container)
        packets = shown = 0
        for packet in container.demux(stream):
            packets += (
                packet.pts is not None or packet.dts is not None or packet.size > 0
            )  # the last one only says that it is the last
            shown += packet.size > 0 and not packet.is_discard
        if stream.frames and packets < stream.frames:
            raise UserError(
                f"{path} is damaged: it says that it has {stream.frames:,} frames, but {packets:,} are there"
            )
        return shown


def read_frames(path: str | Path) -> Iterator[Frame]:
    """The frames of a video's first video stream, turned upright as players turn them.

    Raises:
        UserError: when a frame is damaged or has another size than the first one; the frames before it have
            been given.
    """
    with _open(path) as container:
        stream = _video(container)
        step = round(1 / (Fraction(stream.average_rate or 25) * stream.time_base)) or 1
        start, last, size = None, -step, None
        for number, frame in enumerate(_decoded(path, container), start=1):
            if frame.is_corrupt:
                raise UserError(f"frame {number} of {path} is damaged")
            pixels = _upright(frame)
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


class VideoWriter:
    """Frames to a video without sound, text or anything else of the raw file.

    Args:
        file: to write to, which can be sought in.
        about: size, rate and unit of times.
        codec: "ffv1", which keeps RGB exactly, in a Matroska file, or "h264" in an MP4 file.
        crf: quality of "h264".
    """

    def __init__(self, file: BinaryIO, about: About, codec: str = LOSSLESS, crf: int = DEFAULT_CRF):
        self.lossless = codec == LOSSLESS
        bitexact = {"fflags": "+bitexact"}  # no random identifiers: the same frames give the same file
        self.container = av.open(file, "w", format="matroska" if self.lossless else "mp4", options=bitexact)
        if self.lossless:
            options, kind = {"level": "3", "slices": "4", "slicecrc": "1"}, "bgr0"
        else:
            # 4:2:0, which all players show, knows no odd sides
            options = {"crf": str(crf), "x264-params": "rc-lookahead=10"}
            kind = "yuv444p" if about.width % 2 or about.height % 2 else "yuv420p"
        self.stream = self.container.add_stream(
            "ffv1" if self.lossless else "libx264", rate=about.rate, options=options
        )
        self.stream.width, self.stream.height, self.stream.pix_fmt = about.width, about.height, kind
        context = self.stream.codec_context
        context.time_base, context.thread_count = about.time_base, THREADS
        context.flags |= av.codec.context.Flags.bitexact | av.codec.context.Flags.global_header
        self.time_base = about.time_base
        self.kept = Kept()

    def write(self, frame: Frame) -> None:
        """Add a frame; times must rise."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels), format="rgb24")
        picture.pts, picture.time_base = frame.time, self.time_base
        if not self.lossless:
            self.kept.expect(frame)
        self._encode(picture, f"frame {frame.number}")

    def close(self) -> None:
        """Write what is left."""
        self._encode(None, "the last frame")
        if not self.lossless:
            self.kept.finish()
        self.container.close()

    def _encode(self, picture: av.VideoFrame | None, name: str) -> None:
        try:
            for packet in self.stream.encode(picture):
                if not self.lossless:
                    self.kept.see(packet, self.stream.codec_context)
                self.container.mux(packet)
        except av.FFmpegError as error:
            if isinstance(error, OSError) and error.errno in HOPELESS:
                raise
            size = f"{self.stream.width}×{self.stream.height}"
            raise UserError(
                f"{name}, {size} pixels, cannot be written by this codec ({error.strerror})"
            ) from None


class Kept:
    """How much a lossy codec keeps of the frames, measured by decoding its packets as they come."""

    def __init__(self):
        self.decoder: av.CodecContext | None = None
        self.waiting: deque[Frame] = deque()
        self.errors, self.values = {"boxes": 0.0, "frames": 0.0}, {"boxes": 0, "frames": 0}

    def expect(self, frame: Frame) -> None:
        """A frame that has gone to the encoder."""
        self.waiting.append(frame)

    def see(self, packet: av.Packet, encoder: av.CodecContext) -> None:
        """A packet that has come out of it."""
        if self.decoder is None:
            self.decoder = av.CodecContext.create(LOSSY, "r")
            self.decoder.extradata = encoder.extradata
        self._compare(self.decoder.decode(packet))

    def finish(self) -> None:
        """The last frames."""
        if self.decoder is not None:
            self._compare(self.decoder.decode(None))

    def figures(self) -> dict[str, float | None]:
        """PSNR in dB of the stored frames against those before compression, inside the boxes and in all; None
        where nothing differs."""
        return {
            name: psnr_of_mse(self.errors[name] / self.values[name]) if self.errors[name] else None
            for name in self.errors
        }

    def _compare(self, decoded) -> None:
        for stored in decoded:
            frame = self.waiting.popleft()
            square = np.square(stored.to_ndarray(format="rgb24").astype(np.int32) - frame.pixels)
            inside = np.zeros(square.shape[:2], bool)
            for left, top, right, bottom in frame.boxes:
                inside[top:bottom, left:right] = True
            for name, values in (("boxes", square[inside]), ("frames", square)):
                self.errors[name] += float(values.sum(dtype=np.int64))
                self.values[name] += values.size


def _open(path: str | Path) -> av.container.InputContainer:
    try:
        # Named as a file, whatever colons are in it; a playlist or a pattern would read other files.
        container = av.open(
            f"file:{path}", options={"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        )
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path} is no video that can be read ({error.strerror or error})") from None
    if _video(container) is None:
        container.close()
        raise UserError(f"{path} holds no video")
    _video(
        container
    ).thread_type = "NONE"  # libav's own threads could wait for ever for Python's lock to say what is wrong
    return container


def _video(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first stream of moving pictures: not a cover."""
    moving = (
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
    )
    return next(moving, None)


def _decoded(path: str | Path, container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    """Frames; libav conceals most damage and only logs it, so what it logs as an error is one."""
    frames = container.decode(_video(container))
    level = av.logging.get_level()
    while True:
        av.logging.set_level(av.logging.ERROR)
        try:
            with av.logging.Capture() as said:
                frame = next(frames, None)
        except av.FFmpegError as error:
            raise UserError(f"{path} is damaged ({error.strerror or error})") from None
        finally:
            av.logging.set_level(level)
        if said:
            raise UserError(f"{path} is damaged ({said[0][2].strip()})")
        if frame is None:
            return
        yield frame


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """uint8 H×W×3; transparent pixels over white; a phone's display matrix says how often a quarter is
    turned."""
    if any(component.is_alpha for component in frame.format.components):
        pixels = over_white(Image.fromarray(frame.to_ndarray(format="rgba")))
    else:
        pixels = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, round(frame.rotation / 90) % 4) if frame.rotation else pixels
