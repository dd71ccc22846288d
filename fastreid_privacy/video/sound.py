"""The sound of a raw video, copied packet by packet: nothing of it is decoded or changed but its times."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from ..core.errors import UserError
from ..core.extras import av
from .decoding import open_video, start_of

AUDIO = "audio"  # the kind of its streams


class Sound:
    """The streams of sound of a video, to be closed.

    What lies before the first frame that is shown is left out, and so is what a stream says of itself: its
    title, its language.

    Args:
        path: of the video.
    """

    def __init__(self, path: str | Path):
        self.path = path
        self.container, video = open_video(path)
        shown = start_of(path).time
        base = video.time_base or Fraction(1)
        self.start = Fraction(0) if shown is None else shown * base
        self.copies: dict[int, av.stream.Stream] = {}
        self.waiting: av.Packet | None = None
        self.packets = self._packets()

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def join(self, container: av.container.OutputContainer) -> None:
        """Give a video that is being written a stream for each of sound.

        Raises:
            UserError: when its kind of file cannot hold the sound.
        """
        streams = self.container.streams.audio
        try:
            for stream in streams:
                copy = self.copies[stream.index] = container.add_stream_from_template(stream)
                copy.metadata.clear()
            container.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            codecs = ", ".join(stream.codec_context.name for stream in streams)
            raise UserError(
                f"the sound of {self.path}, {codecs}, cannot be kept in this kind of file ({error}); take "
                "--format mkv, or leave --keep-audio out"
            ) from None

    def until(self, seconds: Fraction | None) -> Iterator[av.Packet]:
        """The packets up to a time from the first frame, which were not given yet; None: all."""
        while (packet := self.waiting or next(self.packets, None)) is not None:
            self.waiting = packet
            if seconds is not None and (packet.pts or 0) * packet.time_base > seconds:
                return
            self.waiting = None
            yield packet

    def _packets(self) -> Iterator[av.Packet]:
        try:
            for packet in self.container.demux(*self.container.streams.audio):
                if packet.size == 0 or packet.pts is None:
                    continue
                late = round(self.start / packet.time_base)
                packet.pts, packet.dts = packet.pts - late, packet.pts - late
                if packet.pts >= 0:
                    packet.stream = self.copies[packet.stream.index]
                    yield packet
        except av.FFmpegError as error:
            raise UserError(f"the sound of {self.path} is damaged ({error.strerror or error})") from None
