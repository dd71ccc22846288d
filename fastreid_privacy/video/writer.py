"""Frames as a video file that holds nothing else: FFV1, without loss, or H.264, and what that one keeps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from ..core.errors import UserError
from ..core.extras import av
from ..core.files import HOPELESS
from ..evaluation.image_quality import psnr_of_sum
from .matroska import PLACEHOLDER, write_aspect
from .pixels import LIMITED, guessed_matrix, stored, upright
from .sound import Sound
from .stream import Frame, VideoFormat

THREADS = 4  # of a codec, whatever the machine has: a video's bytes must not depend on the number of cores
LOSSLESS, LOSSY = "ffv1", "h264"
ENDINGS = {LOSSLESS: ".mkv", LOSSY: ".mp4"}
DEFAULT_CRF = 18  # of H.264: 0 to 51, larger is smaller and worse


class VideoWriter:
    """Frames to a video without text or anything else of the raw file but how it is to be shown.

    Args:
        file: to write to, which can be sought in.
        format: size, rate and unit of times, the shape of its pixels and the meaning of its colours.
        codec: "ffv1", which keeps RGB exactly, in a Matroska file, or "h264" in an MP4 file.
        crf: quality of "h264".
        sound: to be copied into it; None: it has none.
    """

    def __init__(
        self,
        file: BinaryIO,
        format: VideoFormat,
        codec: str = LOSSLESS,
        crf: int = DEFAULT_CRF,
        sound: Sound | None = None,
    ):
        self.lossless = codec == LOSSLESS
        bitexact = {"fflags": "+bitexact"}  # no random identifiers: the same frames give the same file
        self.container = av.open(file, "w", format="matroska" if self.lossless else "mp4", options=bitexact)
        if self.lossless:
            options, kind = {"level": "3", "slices": "4", "slicecrc": "1"}, "bgr0"
        else:
            # 4:2:0, which all players show, knows no odd sides
            options = {"crf": str(crf), "x264-params": "rc-lookahead=10"}
            kind = "yuv444p" if format.width % 2 or format.height % 2 else "yuv420p"
        self.stream = self.container.add_stream(
            "ffv1" if self.lossless else "libx264", rate=format.rate, options=options
        )
        self.stream.width, self.stream.height, self.stream.pix_fmt = format.width, format.height, kind
        self.kind, context = kind, self.stream.codec_context
        context.color_primaries, context.color_trc = format.primaries, format.transfer
        self.matrix: int | None = None
        if not self.lossless:  # that which players take also where they do not read what the file says
            self.matrix = guessed_matrix(format.width, format.height)
            context.colorspace, context.color_range = self.matrix, LIMITED
        self.file, self.format = file, format
        if format.aspect:
            context.sample_aspect_ratio = format.aspect
            if self.lossless:
                self.stream.metadata["title"] = PLACEHOLDER
        context.time_base, context.thread_count = format.time_base, THREADS
        context.flags |= av.codec.context.Flags.bitexact | av.codec.context.Flags.global_header
        self.time_base = format.time_base
        self.quality, self.sound = StoredQuality(), sound
        if sound:
            sound.join(self.container)

    def write(self, frame: Frame) -> None:
        """Add a frame; times must rise."""
        picture = stored(frame.pixels, self.kind, self.matrix)
        picture.pts, picture.time_base = frame.time, self.time_base
        if not self.lossless:
            self.quality.expect(frame)
        self._encode(picture, f"frame {frame.number}")
        if self.sound:
            self._mux(self.sound.until(frame.time * self.time_base))

    def close(self) -> None:
        """Write what is left."""
        self._encode(None, "the last frame")
        if self.sound:
            self._mux(self.sound.until(None))
        if not self.lossless:
            self.quality.finish()
        self.container.close()
        if self.lossless and self.format.aspect:
            write_aspect(self.file, (self.format.width, self.format.height), self.format.aspect)

    def _mux(self, packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            self.container.mux(packet)

    def _encode(self, picture: av.VideoFrame | None, name: str) -> None:
        try:
            for packet in self.stream.encode(picture):
                if not self.lossless:
                    self.quality.see(packet, self.stream.codec_context)
                self.container.mux(packet)
        except av.FFmpegError as error:
            if isinstance(error, OSError) and error.errno in HOPELESS:
                raise
            size = f"{self.stream.width}×{self.stream.height}"
            raise UserError(
                f"{name}, {size} pixels, cannot be written by this codec ({error.strerror})"
            ) from None


class StoredQuality:
    """How much a lossy codec keeps of the frames, measured by decoding its packets as they come."""

    def __init__(self) -> None:
        self.decoder: av.VideoCodecContext | None = None
        self.waiting: deque[Frame] = deque()
        self.errors, self.values = {"boxes": 0.0, "frames": 0.0}, {"boxes": 0, "frames": 0}

    def expect(self, frame: Frame) -> None:
        """Take note of a frame that has gone to the encoder."""
        self.waiting.append(frame)

    def see(self, packet: av.Packet, encoder: av.CodecContext) -> None:
        """Decode a packet that has come out of the encoder, and compare its frames."""
        if self.decoder is None:
            decoder = av.CodecContext.create(LOSSY, "r")
            assert isinstance(decoder, av.VideoCodecContext)
            decoder.extradata = encoder.extradata
            self.decoder = decoder
        self._compare(self.decoder.decode(packet))

    def finish(self) -> None:
        """Decode and compare the last frames."""
        if self.decoder is not None:
            self._compare(self.decoder.decode(None))

    def figures(self) -> dict[str, float | None]:
        """PSNR of the stored frames against those before compression.

        Returns:
            "boxes", inside them, and "frames", of all that is in them, in dB; None where nothing differs.
        """
        return {name: psnr_of_sum(self.errors[name], self.values[name]) for name in self.errors}

    def _compare(self, decoded: Iterable[av.VideoFrame]) -> None:
        for shown in decoded:
            frame = self.waiting.popleft()
            square = np.square(upright(shown).astype(np.int32) - frame.pixels)
            inside = np.zeros(square.shape[:2], bool)
            for left, top, right, bottom in frame.boxes:
                inside[top:bottom, left:right] = True
            for name, values in (("boxes", square[inside]), ("frames", square)):
                self.errors[name] += float(values.sum(dtype=np.int64))
                self.values[name] += values.size
