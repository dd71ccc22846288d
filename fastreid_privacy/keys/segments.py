"""What is sealed, in application segments of a JPEG file, as JPEG Privacy & Security has it.

ISO/IEC 19566-4 puts encrypted content into boxes (JUMBF, ISO/IEC 19566-5), and these into APP11 segments,
which readers of pictures pass over. So is it here: a superbox of a type of its own, with a label and one box
of data. What is compressed is bound, with the tables and whatever else says how to decode it: a picture whose
data were changed does not open any more. Metadata of others (EXIF, XMP, colour profile, IPTC, comments) may
come and go. An original and a template are boxes of their own, told apart by number and label.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .envelope import Original, close, disclose, packed, unpacked
from .pairs import PrivateKey, PublicKey
from .templates import Searchable, Template, opened

START = b"\xff\xd8"  # of every JPEG file
SCAN, APP0, APP11 = 0xDA, 0xE0, 0xEB
METADATA = (0xE1, 0xE2, APP11, 0xED, 0xFE)  # EXIF and XMP, colour profile, boxes, IPTC, comments
TYPE = bytes.fromhex("b6b7c5a2f3e04c0d9f3a5d2c61f0e7a4")  # of our boxes, drawn once
_REQUESTABLE_WITH_LABEL = b"\x03"
_HEAD = struct.Struct(">2sHI")  # of a segment's content: "JP", the box's number, which part of it this is
_BEFORE = 4 + _HEAD.size + 8  # bytes before a part: marker and length, head, and the box's own first 8
_MOST = 0xFFFF - (_BEFORE - 2)  # bytes of a part: a segment has its length, without the marker, in two bytes


class Box(NamedTuple):
    """A kind of our boxes.

    Attributes:
        number: of the box among those of a file.
        label: what it says of itself, in the clear.
    """

    number: int
    label: bytes


ORIGINAL = Box(0x4650, b"fastreid_privacy.sealed\0")
TEMPLATE = Box(0x4654, b"fastreid_privacy.template\0")


def carry(
    content: bytes,
    original: Original | None,
    keys: Sequence[PublicKey],
    template: Searchable | None = None,
) -> bytes:
    """Seal an original, a template or both into a JPEG file.

    Args:
        content: of the file.
        original: what is sealed; None: a template alone.
        keys: of whom may open the original.
        template: what is sealed to others.

    Returns:
        The content of a file that shows the same picture.

    Raises:
        ValueError: when it is no JPEG file.
    """
    parts = list(_parts(content))
    bound, ours = _bound(parts), b""
    if original is not None:
        ours += _segments(ORIGINAL, close(packed(original), keys, bound))
    if template is not None:
        ours += _segments(TEMPLATE, template.closed(bound))
    first = next(place for place, (marker, _) in enumerate(parts) if marker != APP0)
    parts[first:first] = [(APP11, ours)]
    return START + b"".join(part for _, part in parts)


def find(content: bytes, key: PrivateKey) -> Original | None:
    """The original that a JPEG file carries.

    Args:
        content: of the file.
        key: to open it with.

    Returns:
        None where the key opens nothing: nothing is carried, or for others, or the file was changed.

    Raises:
        UserError: as :func:`fastreid_privacy.keys.envelope.unpacked`.
    """
    found = _found(content, ORIGINAL)
    plain = disclose(found[0], key, found[1]) if found else None
    return None if plain is None else unpacked(plain)


def find_template(content: bytes, key: PrivateKey) -> Template | None:
    """The template that a JPEG file carries.

    Args:
        content: of the file.
        key: to open it with.

    Returns:
        None where the key opens nothing, as of :func:`find`.

    Raises:
        UserError: as :func:`fastreid_privacy.keys.templates.unpacked_template`.
    """
    found = _found(content, TEMPLATE)
    return opened(found[0], key, found[1]) if found else None


def _found(content: bytes, box: Box) -> tuple[bytes, bytes] | None:
    """What our box of a file holds, and what is bound to it; None where there is no such box."""
    try:
        parts = list(_parts(content))
    except ValueError:
        return None
    begins = struct.pack(">2sH", b"JP", box.number)
    ours = [part for marker, part in parts if marker == APP11 and part[4:8] == begins]
    closed = b"".join(part[_BEFORE:] for part in ours)[len(_description(box)) + 8 + len(TYPE) :]
    if b"".join(ours) != _segments(box, closed):  # no other form than the one that is written
        return None
    return closed, _bound(parts)


def _parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, bytes) of each segment behind a file's start; the first scan with all that follows is one.

    Raises:
        ValueError: when it is no JPEG file.
    """
    if not content.startswith(START):
        raise ValueError("it is no JPEG file")
    at = len(START)
    while content[at : at + 1] == b"\xff" and at + 4 <= len(content):
        marker = content[at + 1]
        if marker == SCAN:
            yield marker, content[at:]
            return
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        yield marker, content[at:end]
        at = max(end, at + 4)
    raise ValueError("it has no scan")


def _bound(parts: Sequence[tuple[int, bytes]]) -> bytes:
    """What is bound: all that decides on the pixels."""
    digest = hashlib.sha256()
    for marker, part in parts:
        if marker not in METADATA:
            digest.update(part)
    return b"segment " + digest.digest()


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _description(box: Box) -> bytes:
    """The box that says what a superbox holds."""
    return _box(b"jumd", TYPE + _REQUESTABLE_WITH_LABEL + box.label)


def _segment(box: Box, number: int, part: bytes, head: bytes) -> bytes:
    """An APP11 segment with a part of a superbox, whose length and kind, ``head``, each of them repeats."""
    content = _HEAD.pack(b"JP", box.number, number) + head + part
    return struct.pack(">BBH", 0xFF, APP11, 2 + len(content)) + content


def _segments(box: Box, closed: bytes) -> bytes:
    """All segments of what is sealed."""
    superbox = _box(b"jumb", _description(box) + _box(b"uuid", TYPE + closed))
    inside = superbox[8:]
    starts = range(0, len(inside), _MOST)
    return b"".join(
        _segment(box, number, inside[start : start + _MOST], superbox[:8])
        for number, start in enumerate(starts, start=1)
    )
