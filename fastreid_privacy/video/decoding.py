"""A video file opened and decoded: the frames that a player shows, and what of it is damage."""

from __future__ import annotations

import gc
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UserError
from ..core.extras import av

# libav's names; what is a list of other files is not among them
FORMATS = (
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,mjpeg,flv,ogg,asf,nut,gif,"
    "apng,ivf,yuv4mpegpipe,wav"
)
# H.264 is told to forget a picture that is not there. No pixel is made of it; before the second whole picture
# of a video that was cut out of a longer one, it was in the part that is gone.
FORGOTTEN_ALREADY = "mmco: unref short failure"
# What libav says of data beside the pictures, as what a camera tells of itself. No pixel is made of it.
BESIDE_PICTURES = re.compile(
    r"app: invalid len|unable to decode APP fields|EXIF (data|buffer)|SEI type \d+ size \d+ truncated"
)
# What libav's other threads say, as an encoder's, is nobody's: without a handler Python prints it.
logging.getLogger("libav").addHandler(logging.NullHandler())
# Frames and codecs have threads, which a forked process, as a loader's worker, does not have: it would wait
# for them for ever when it frees those that its parent has left in cycles. So it never does.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=gc.freeze)


@dataclass(frozen=True)
class Start:
    """Where a player begins to show a video.

    A file that was cut out of a longer one begins with packets that need pictures of the part that is gone.
    Players pass over them, up to the first picture that is whole.

    Attributes:
        time: of the first frame that is shown, in units of the stream; None: the stream has no times.
        passed_over: how many packets before it, in the order of times, show nothing.
    """

    time: int | None
    passed_over: int

    def passes_over(self, packet: av.Packet) -> bool:
        """Whether a packet belongs to those before the first frame, so that nothing is lost with it.

        Not those that an edit list hides, and not a whole picture: later frames are built upon them.
        """
        if self.time is None or packet.pts is None or packet.is_discard or packet.is_keyframe:
            return False
        return packet.pts < self.time


def open_video(path: str | Path, **options: str) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Open a video file.

    Args:
        path: of the file.
        **options: of libav's demuxer.

    Returns:
        The file, to be closed, and its first stream of moving pictures: not a cover.

    Raises:
        UserError: when the file holds no video that can be read.
    """
    safe = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    with libav_said():
        try:
            # Named as a file, whatever colons are in it; a playlist or a pattern would read other files.
            container = av.open(f"file:{path}", options={**options, **safe})
        except (av.FFmpegError, OSError) as error:
            raise UserError(f"{path} is no video that can be read ({error.strerror or error})") from None
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            # libav's own threads could wait for ever for Python's lock to say what is wrong
            stream.thread_type = "NONE"
            return container, stream
    container.close()
    raise UserError(f"{path} holds no video")


@contextmanager
def libav_said() -> Iterator[list[tuple[int, str, str]]]:
    """Collect what libav logs as an error in this thread: (level, who says it, text) each.

    Nothing of it is printed, and no line is left out because the one before was the same.
    """
    with _errors_logged, av.logging.Capture() as said:
        yield said


class _ErrorsLogged:
    """libav logs every error for as long as any thread asks for that: the whole process has one log level.

    A thread that restored by itself what it had found would turn the log off for the others.
    """

    def __init__(self) -> None:
        self.lock, self.asking = threading.Lock(), 0
        self.before: tuple[int | None, bool] = None, True

    def __enter__(self) -> None:
        with self.lock:
            if not self.asking:
                self.before = av.logging.get_level(), av.logging.get_skip_repeated()
                av.logging.set_level(av.logging.ERROR)
                av.logging.set_skip_repeated(False)
            self.asking += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.asking -= 1
            if not self.asking:
                level, skips = self.before
                av.logging.set_level(level)
                av.logging.set_skip_repeated(skips)


_errors_logged = _ErrorsLogged()


def start_of(path: str | Path) -> Start:
    """Where a player begins to show a video: decode to the first frame, then count what lies before it.

    Raises:
        UserError: when no frame can be decoded.
    """
    time = _first_time(path)
    if time is None:
        return Start(None, 0)
    passed_over = 0
    container, stream = open_video(path)
    with container, libav_said():
        for packet in container.demux(stream):
            if packet.pts is None or packet.pts > time:
                break
            passed_over += packet.pts < time and packet.size > 0 and not packet.is_discard
    return Start(time, passed_over)


def _first_time(path: str | Path) -> int | None:
    container, stream = open_video(path)
    wrong: list[str] = []
    with container:
        for _, frames, said in _steps(container, stream):
            if frames:
                return frames[0].pts
            wrong = wrong or said
    raise UserError(f"{path} holds no frame that can be decoded{f' ({wrong[0]})' if wrong else ''}")


def decoded(
    path: str | Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    start: Start,
    beside: list[str] | None = None,
) -> Iterator[av.VideoFrame]:
    """The frames that a player shows.

    libav conceals most damage and only logs it, so what it logs as an error is one, but for what it says of
    packets before the first frame, and of data beside the pictures.

    Args:
        path: for messages.
        container, stream: of :func:`open_video`.
        start: of :func:`start_of`.
        beside: gets a line for each packet whose data beside the picture is damaged.

    Raises:
        UserError: when a frame is damaged; the frames before it have been given.
    """
    whole_pictures = 0
    for packet, frames, said in _steps(container, stream):
        whole_pictures += packet is not None and packet.is_keyframe
        wrong = [text for text in said if not BESIDE_PICTURES.search(text)]
        if whole_pictures < 2:
            wrong = [text for text in wrong if FORGOTTEN_ALREADY not in text]
        if wrong and (packet is None or not start.passes_over(packet)):
            raise UserError(f"{path} is damaged ({wrong[0]})")
        if beside is not None:
            beside += [text for text in said if BESIDE_PICTURES.search(text)][:1]
        yield from frames


def _steps(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[tuple[av.Packet | None, list[av.VideoFrame], list[str]]]:
    """Each packet, the frames that come out of the decoder with it, and what went wrong with it.

    The packet is None where the file itself cannot be read further.
    """
    packets = container.demux(stream)
    packet: av.Packet | None
    while True:
        packet, frames = None, []
        with libav_said() as lines:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
                said = []
            except av.FFmpegError as error:
                said = [error.strerror or str(error)]
        said += [text.strip() for _, _, text in lines]
        if packet is not None or said:
            yield packet, frames, said
        if packet is None:
            return
