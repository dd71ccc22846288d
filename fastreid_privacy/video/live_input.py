"""A camera or an address as a stream of upright RGB frames, never further behind than a few frames.

One thread reads and decodes; whoever is slower than the camera loses frames, which are counted. Frames wait
in memory only.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from queue import Empty, Full, Queue

from ..core.errors import UserError, brief
from ..core.extras import av
from ..core.images import LARGEST
from ..core.remote import shown
from ..core.tars import is_tars
from .decoding import FORMATS, libav_said
from .pixels import upright
from .stream import Frame, VideoFormat

PROTOCOLS = {  # of an address, and those that libav needs for it
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtsps,rtp,tls,tcp",
    "http": "http,tcp",
    "https": "https,tls,tcp",
    "tcp": "tcp",
    "udp": "udp",
}
OTHER_PROTOCOLS = (
    "rtmp",
    "rtmps",
    "rtmpt",
    "rtmpe",
    "srt",
    "rtp",
    "srtp",
    "rist",
    "mms",
    "mmsh",
    "mmst",
    "hls",
)
CAMERA = re.compile(r"camera:(\d{1,3})")
LIVE_FORMATS = f"{FORMATS},rtsp,rtp,sdp,mpjpeg,v4l2,video4linux2"
WAITING = 25  # frames between the reader and whoever protects them, at most
SECONDS = 10.0  # to wait for a connection, and for data
TIME_BASE = Fraction(1, 1000)  # of the frames' times, in seconds


def is_live(text: str) -> bool:
    """Whether an input is a camera or an address, not a file."""
    return bool(CAMERA.fullmatch(text)) or ("://" in text and text.partition("://")[0].lower() in PROTOCOLS)


def is_video(text: str) -> bool:
    """Whether an input is a video or a live input, not a collection of images."""
    return is_live(text) or (Path(text).is_file() and not is_tars(text))


def refuse_other_streams(text: str) -> None:
    """Refuse the address of a stream that is not read, before a store is looked for under it.

    Raises:
        UserError: naming its protocol.
    """
    protocol = text.partition("://")[0].lower() if "://" in text else ""
    if protocol in OTHER_PROTOCOLS:
        raise UserError(
            f"--input {shown(text)}: streams of {protocol} are not read; the address of a live input begins "
            f"with {', '.join(PROTOCOLS)}"
        )


class LiveInput:
    """Frames of a camera or an address, to be closed.

    Args:
        address: "camera:0", "rtsp://…".

    Attributes:
        name: of the input, for messages.
        format: of its frames; times are milliseconds from the first one.
        read: how many frames came, but for damaged ones.
        dropped: how many of these were dropped, for nobody took them in time.
        damaged: how many frames came damaged, and were dropped.
        failed: why it ended before it was stopped, for messages; "" where it came to its end.

    Raises:
        UserError: when nothing can be read from it.
    """

    def __init__(self, address: str):
        self.name, self.read, self.dropped, self.damaged = shown(address), 0, 0, 0
        self.waiting: Queue[Frame | None] = Queue(WAITING)
        self.stopped, self.failed = threading.Event(), ""
        self.container = _opened(address, self.name)
        video = next(iter(self.container.streams.video), None)
        if video is None:
            self.container.close()
            raise UserError(f"--input {self.name} sends no video")
        video.thread_type = "NONE"
        self.stream, self.start, self.last = video, Fraction(0), -1
        self.frames = self._decoded()
        first = next(self.frames, None)
        if first is None:
            self.container.close()
            raise UserError(f"--input {self.name} sends no picture that can be read {self.failed}".rstrip())
        height, width = first.pixels.shape[:2]
        rate = Fraction(video.average_rate or video.guessed_rate or 25)
        self.format = VideoFormat(width, height, rate, TIME_BASE)
        self.thread = threading.Thread(target=self._read, args=(first,), name="camera", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Stop reading."""
        self.stopped.set()
        self.thread.join()
        self.container.close()

    def stop(self) -> None:
        """Read no further; the frames that wait are still given."""
        self.stopped.set()

    def __iter__(self) -> Generator[Frame]:
        """The frames that were not dropped, until the end; their numbers, from 1, count those as well."""
        while True:
            try:
                frame = self.waiting.get(timeout=0.1)
            except Empty:  # a reader that had no room for its last word
                if self.thread.is_alive():
                    continue
                return
            if frame is None:
                return
            yield frame

    def _read(self, first: Frame) -> None:
        frame: Frame | None = first
        while frame is not None and not self.stopped.is_set():
            self.read += 1
            frame.number = self.read
            try:
                self.waiting.put_nowait(frame)
            except Full:
                self.dropped += 1
            try:
                frame = next(self.frames, None)
            except Exception as error:  # of any frame that cannot be shown; what came before it stays
                frame, self.failed = None, f"({brief(error)})"
        try:
            self.waiting.put_nowait(None)
        except Full:  # whoever takes the frames sees that this thread has ended
            return

    def _decoded(self) -> Generator[Frame]:
        """Frames that are whole, of one size, with rising times."""
        size, packets = None, self.container.demux(self.stream)
        while True:
            with libav_said() as said:
                try:
                    packet = next(packets, None)
                except av.error.ExitError:  # what PyAV makes of a time that is over
                    packet, self.failed = None, f"(nothing came for {SECONDS:g} seconds)"
                except av.FFmpegError as error:
                    packet, self.failed = (
                        None,
                        f"({error.strerror or type(error).__name__})",
                    )  # its text may have the address
                if packet is None:
                    return
                try:
                    frames = packet.decode()
                except av.FFmpegError:  # what was lost on the way; the next whole picture is one again
                    self.damaged += 1
                    continue
            if said or packet.is_corrupt or any(frame.is_corrupt for frame in frames):
                self.damaged += len(frames)
                continue
            for frame in frames:
                pixels = upright(frame)
                size = size or pixels.shape
                if pixels.shape != size or pixels.shape[0] * pixels.shape[1] > LARGEST:
                    self.failed = f"(frames of {pixels.shape[1]}×{pixels.shape[0]} pixels came)"
                    return
                yield Frame(0, self._time(frame), pixels)

    def _time(self, frame: av.VideoFrame) -> int:
        """Milliseconds from the first frame; without a time of its own, a frame comes in its turn."""
        if frame.pts is None or frame.time_base is None:
            self.last += round(1000 / (self.stream.average_rate or 25))
            return self.last
        seconds = frame.pts * frame.time_base
        if self.last < 0:
            self.start = seconds
        self.last = max(self.last + 1, round((seconds - self.start) / TIME_BASE))
        return self.last


def _opened(address: str, name: str) -> av.container.InputContainer:
    """The stream of a camera or an address."""
    camera = CAMERA.fullmatch(address)
    options = {"format_whitelist": LIVE_FORMATS}
    if camera:
        device = Path(f"/dev/video{camera[1]}")
        if not device.exists():
            raise UserError(
                f"--input {name}: there is no {device}; cameras are found on Linux, elsewhere give the "
                "address of a stream (rtsp://…)"
            )
        file, kind = str(device), "v4l2"
    else:
        options["protocol_whitelist"] = PROTOCOLS[address.partition("://")[0].lower()]
        file, kind = address, None
    with libav_said():
        try:
            return av.open(file, format=kind, options=options, timeout=SECONDS)
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no stream that can be read"
            raise UserError(f"--input {name} cannot be read: {reason}") from None
