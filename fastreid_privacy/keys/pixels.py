"""What is sealed, in the lowest bits of a picture, and found there again without any other file.

The picture's values are taken in rows, red, green and blue of each pixel. The lowest bits of all values are a
plane, and the next ones another: 8 values to a byte, first value first. As few planes as hold it are filled
to the last byte, so that neither a length nor an end can be seen. All other bits of the picture, its size and
the number of planes are bound: whatever changes a pixel, the original does not open any more.

An original is read from the first byte on. A template is the last bytes of the planes in reverse order, so it
is found from their end, whatever is before it; where it is alone, it fills the planes. An original before a
template has the template bound to it.

Who has no key sees bits that look random, as those of a picture hardly do: that something is carried is not
hidden, but what and for whom.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from .envelope import (
    BEFORE_TEMPLATE,
    ORIGINAL,
    TEMPLATE_BEHIND,
    Original,
    close,
    disclose,
    overhead,
    packed,
    unpacked,
)
from .pairs import PrivateKey, PublicKey
from .templates import Searchable, Template, opened

MOST_PLANES = 3  # of 8: the picture differs by 38 dB from the one without them


def room(
    picture: np.ndarray,
    keys: Sequence[PublicKey],
    planes: int = MOST_PLANES,
    template: Searchable | None = None,
) -> int:
    """How many bytes of :func:`fastreid_privacy.keys.envelope.packed` fit into a picture.

    Args:
        picture: uint8 H×W×3.
        keys: to which they are sealed.
        planes: how many are filled.
        template: what the picture is to hold besides.
    """
    capacity = picture.size // 8 * planes
    if template is None:
        return capacity - overhead(keys)
    return capacity - overhead(keys, BEFORE_TEMPLATE) - template.length


def carry(
    picture: np.ndarray,
    original: Original | None,
    keys: Sequence[PublicKey],
    template: Searchable | None = None,
) -> tuple[np.ndarray, int] | None:
    """Seal an original, a template or both into a picture.

    Args:
        picture: uint8 H×W×3, as a file without loss keeps it.
        original: what is sealed; None: a template alone.
        keys: of whom may open the original.
        template: what is sealed to others.

    Returns:
        Another picture, whose lowest bits are what is sealed, and how many planes it fills; None where it
        does not fit.
    """
    for planes in range(1, MOST_PLANES + 1):
        content = _content(picture, original, keys, template, planes)
        if content is not None:
            return _with_planes(picture, planes, content), planes
    return None


def _content(
    picture: np.ndarray,
    original: Original | None,
    keys: Sequence[PublicKey],
    template: Searchable | None,
    planes: int,
) -> bytes | None:
    """What fills so many planes to the last byte; None where they do not hold it."""
    capacity = picture.size // 8 * planes
    if original is None:
        assert template is not None  # one of the two is there
        closed = template.closed(_bound(picture, planes), capacity)
        return closed[::-1] if len(closed) == capacity else None
    plain = packed(original)
    free = room(picture, keys, planes, template) - len(plain)
    if free < 0:
        return None
    plain, bound = plain + bytes(free), _bound(picture, planes)
    if template is None:
        return close(plain, keys, bound)
    behind = template.closed(bound)[::-1]
    return close(plain, keys, bound, BEFORE_TEMPLATE, behind) + behind


def find(picture: np.ndarray, key: PrivateKey) -> Original | None:
    """The original that a picture carries.

    Args:
        picture: uint8 H×W×3.
        key: tried on 1 to 3 planes.

    Returns:
        None where the key opens nothing: nothing is carried, or for others, or the picture was changed.

    Raises:
        UserError: as :func:`fastreid_privacy.keys.envelope.unpacked`.
    """
    for planes in range(1, MOST_PLANES + 1):
        content, bound = _planes(picture, planes), _bound(picture, planes)
        for purpose in (ORIGINAL, BEFORE_TEMPLATE):
            plain = disclose(content, key, bound, purpose)
            if plain is not None:
                return unpacked(plain)
    return None


def find_template(picture: np.ndarray, key: PrivateKey) -> Template | None:
    """The template that a picture carries.

    Args:
        picture: uint8 H×W×3.
        key: of one of those to whom templates were sealed.

    Returns:
        None where the key opens nothing, as of :func:`find`.

    Raises:
        UserError: as :func:`fastreid_privacy.keys.templates.unpacked_template`.
    """
    for planes in range(1, MOST_PLANES + 1):
        content = _planes(picture, planes)[::-1]
        if template := opened(content, key, _bound(picture, planes), TEMPLATE_BEHIND):
            return template
    return None


def _planes(picture: np.ndarray, planes: int) -> bytes:
    """The bytes in the lowest planes of a picture."""
    values = _whole(picture.reshape(-1))
    return b"".join(np.packbits(values >> plane & 1).tobytes() for plane in range(planes))


def _with_planes(picture: np.ndarray, planes: int, content: bytes) -> np.ndarray:
    """A picture with other bytes in its lowest planes, as many as :func:`_planes` gives."""
    changed = _without_planes(picture, planes)
    values = _whole(changed.reshape(-1))
    for plane, part in enumerate(np.frombuffer(content, np.uint8).reshape(planes, -1)):
        values |= np.unpackbits(part) << plane
    return changed


def _without_planes(picture: np.ndarray, planes: int) -> np.ndarray:
    """A copy of a picture with zeros where :func:`_planes` takes bits."""
    changed = np.array(picture, order="C")
    values = _whole(changed.reshape(-1))
    values &= 256 - 2**planes
    return changed


def _whole(values: np.ndarray) -> np.ndarray:
    """The values that make whole bytes; up to 7 are left over, and stay as they are. A view."""
    return values[: values.size // 8 * 8]


def _bound(picture: np.ndarray, planes: int) -> bytes:
    """What is bound: the size of a picture, the number of planes, and all other bits."""
    others = hashlib.sha256(_without_planes(picture, planes).tobytes()).digest()
    return b"pixels %d %d %d " % (*picture.shape[:2], planes) + others
