"""The shape of pixels in a Matroska file: PyAV has no way to tell libav's writer, so the head is mended.

While libav writes, a name of the track keeps the place; then the display size lies there. Nothing moves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

PLACEHOLDER = "shape of pixels"  # the track's name, until the file is whole
HEAD = 1 << 16  # bytes that hold the description of the track
# Names of elements, of the Matroska specification.
SEGMENT, TRACKS, TRACK, VIDEO, NAME = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0", b"\x53\x6e"
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT = b"\x54\xb0", b"\x54\xba", b"\x54\xb2"
VOID, CHECKSUM = b"\xec", b"\xbf"


def write_aspect(file: BinaryIO, size: tuple[int, int], aspect: Fraction) -> None:
    """Say how wide the pixels of a video are, in a file that libav wrote with the placeholder.

    Args:
        file: to write to; what was written to it is in its file. It stands at its end afterwards.
        size: (width, height) of the video.
        aspect: width of a pixel divided by its height. The file keeps the width on the screen, in pixels,
            so that it is right to half of one.
    """
    file.flush()
    with open(file.name, "rb") as written:
        head = written.read(HEAD)
    segment = _find(head, SEGMENT, 0, len(head))
    tracks = _find(head, TRACKS, *segment)
    track = _find(head, TRACK, *tracks)
    shown = b"".join(
        _element(name, value.to_bytes(4, "big"))
        for name, value in ((DISPLAY_WIDTH, round(size[0] * aspect)), (DISPLAY_HEIGHT, size[1]))
    )
    content = b""
    for name, start, end in _elements(head, *track):
        if name == VIDEO:
            others = (each for each in _elements(head, start, end) if each[0] != DISPLAY_UNIT)
            kept = b"".join(_element(name, head[start:end]) for name, start, end in others)
            content += _element(VIDEO, kept + shown)
        elif name != NAME:
            content += _element(name, head[start:end])
    left = track[1] - track[0] - len(content)
    assert left >= 2, "the placeholder is too short"
    content += VOID + bytes([0x80 | left - 2]) + bytes(left - 2)
    file.seek(track[0])
    file.write(content)
    first, start, end = next(_elements(head, *tracks))
    if first == CHECKSUM:
        rest = head[end : track[0]] + content + head[track[1] : tracks[1]]
        file.seek(start)
        file.write(zlib.crc32(rest).to_bytes(4, "little"))
    file.seek(0, 2)


def _find(head: bytes, wanted: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the content of the first element of a name begins and ends."""
    return next((first, last) for name, first, last in _elements(head, start, end) if name == wanted)


def _elements(head: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name of each element between two places, and where its content begins and ends."""
    while start < end:
        size_at = start + _length(head[start])
        content_at = size_at + _length(head[size_at])
        bits = 7 * (content_at - size_at)
        size = int.from_bytes(head[size_at:content_at], "big") & (1 << bits) - 1
        yield head[start:size_at], content_at, content_at + size
        start = content_at + size


def _length(first: int) -> int:
    """Bytes of a name or a size, which begins with as many bits, the last of which is set."""
    return 9 - first.bit_length()


def _element(name: bytes, content: bytes) -> bytes:
    """An element whose size takes one byte, or two."""
    size = len(content)
    return name + (bytes([0x80 | size]) if size < 127 else (0x4000 | size).to_bytes(2, "big")) + content
