"""How what is sealed travels with its protected file: beside it, in its pixels, or in its segments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from ..core.errors import UserError
from ..core.files import file_hash, write_atomically, write_whole
from ..core.pictures import read_picture
from ..core.remote import Place
from ..keys import segments
from ..keys.envelope import Original
from ..keys.pixels import MOST_PLANES, carry, room
from ..keys.sealing import Sealer
from ..keys.templates import Searchable, seal_beside
from ..manifest import BESIDE as BESIDE_FILES
from ..model.storage import ImageStorage
from .fitting import fitted

BESIDE, PIXELS, SEGMENT = "beside", "pixels", "segment"
WAYS = (BESIDE, PIXELS, SEGMENT)


class Carried(NamedTuple):
    """A protected file with what travels with it.

    Attributes:
        content: of the file.
        about: what the manifest says of what is in it.
        beside: the files that are to lie beside it: "sealed" or "template", and the content.
    """

    content: bytes
    about: dict
    beside: dict[str, bytes]


def with_carried(
    protected: np.ndarray,
    original: Original | None,
    template: Searchable | None,
    storage: ImageStorage,
    seal: Sealer | None,
    *,
    way: str,
    fit: bool,
) -> Carried:
    """A protected file with its original, its template, or both.

    Args:
        protected: uint8 H×W×3, the protected picture.
        original: the raw file; None: it is not sealed.
        template: the feature of the raw picture; None: it is not sealed.
        storage: the format of protected files: without loss for "pixels", JPEG for "segment".
        seal: to whom the original is sealed.
        way: of :data:`WAYS`. What does not fit there goes beside.
        fit: whether an original that does not fit is encoded anew.
    """
    keys = seal.keys if seal else ()
    if way == SEGMENT:
        content = segments.carry(storage.encode(protected), original, keys, template)
        about = {"carried": SEGMENT} if original else {}
        return Carried(content, about | ({"template_carried": SEGMENT} if template else {}), {})
    picture, about = protected, {}
    within: tuple[Original | None, Searchable | None] = (None, None)
    choices = _choices(protected, original, template, seal, fit=fit)
    for within in choices if way == PIXELS and (original or template) else ():
        if carried := carry(protected, within[0], keys, within[1]):
            picture, about = carried[0], _about(*within, carried[1])
            break
    else:
        within = (None, None)
    content, beside = storage.encode(picture), {}
    if seal and original and not within[0]:
        beside["sealed"] = seal(original.name, original.content)
    if template and not within[1]:
        beside["template"] = seal_beside(template, content)
    return Carried(content, about, beside)


def _choices(
    protected: np.ndarray,
    original: Original | None,
    template: Searchable | None,
    seal: Sealer | None,
    *,
    fit: bool,
) -> Iterator[tuple[Original | None, Searchable | None]]:
    """What may be put into the pixels, the best first: an original as it is counts more than a template."""
    yield original, template
    if original and template:
        yield original, None
    if original and seal and fit and (free := room(protected, seal.keys, template=template)) > 0:
        smaller = fitted(original.name, read_picture(original.content), free)
        if smaller:
            yield smaller, template
    if original and template:
        yield None, template


def _about(original: Original | None, template: Searchable | None, planes: int) -> dict:
    """What the manifest says of the pixels."""
    about: dict = {"carried": PIXELS} if original else {}
    if template:
        about["template_carried"] = PIXELS
    about["planes"] = planes
    if original and original.fitted:
        about["fitted"] = original.fitted._asdict()
    return about


def write_beside(
    output: Place, path: str, word: str, content: bytes | Callable[[BinaryIO], object]
) -> dict[str, str]:
    """Write what lies beside a protected file.

    Args:
        output: folder.
        path: of the protected file in it.
        word: of :data:`fastreid_privacy.manifest.BESIDE`.
        content: of the file, or what writes it to an open one.

    Returns:
        What the manifest says of it.
    """
    beside = output / (path + BESIDE_FILES[word])
    beside.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        write_atomically(beside, content)
        return {word: path + BESIDE_FILES[word], f"{word}_sha256": file_hash(beside)}
    write_whole(beside, content)
    return about_beside(path, word, content)


def about_beside(path: str, word: str, content: bytes) -> dict[str, str]:
    """What the manifest says of what lies beside a protected file.

    Args:
        path, word: as of :func:`write_beside`.
        content: of the file beside it.
    """
    return {word: path + BESIDE_FILES[word], f"{word}_sha256": hashlib.sha256(content).hexdigest()}


def same_but_for_the_carried(before: bytes, after: bytes) -> bool:
    """Whether two protected files differ in what they carry at most.

    Sealing gives other bytes each time. So a killed run may have left a file that the next one cannot make
    again bit for bit, but may replace.
    """
    try:
        one, other = read_picture(before), read_picture(after)
    except UserError:
        return False
    return one.shape == other.shape and np.array_equal(one >> MOST_PLANES, other >> MOST_PLANES)
