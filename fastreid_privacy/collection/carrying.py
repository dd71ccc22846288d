"""How a sealed original travels with its protected file: beside it, in its pixels, or in its segments."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import UserError
from ..core.files import write_atomically
from ..core.pictures import read_picture
from ..keys import segments
from ..keys.envelope import Original
from ..keys.pixels import MOST_PLANES, carry, room
from ..manifest import SEALED
from ..model.storage import ImageStorage
from .fitting import fitted

if TYPE_CHECKING:
    from ..keys.sealing import Sealer

BESIDE, PIXELS, SEGMENT = "beside", "pixels", "segment"
WAYS = (BESIDE, PIXELS, SEGMENT)


def with_original(
    protected: np.ndarray, original: Original, storage: ImageStorage, seal: Sealer, *, way: str, fit: bool
) -> tuple[bytes, dict] | None:
    """A protected file that carries its original.

    Args:
        protected: uint8 H×W×3, the protected picture.
        original: the raw file.
        storage: the format of protected files: without loss for "pixels", JPEG for "segment".
        seal: to whom it is sealed.
        way: of :data:`WAYS`.
        fit: whether an original that does not fit is encoded anew.

    Returns:
        The content of the file, and what the manifest says of it; None where the original is to be written
        beside it, as it does not fit.
    """
    if way == BESIDE:
        return None
    if way == SEGMENT:
        return segments.carry(storage.encode(protected), original, seal.keys), {"carried": SEGMENT}
    carried = carry(protected, original, seal.keys)
    if carried is None and fit and (free := room(protected, seal.keys)) > 0:
        smaller = fitted(original.name, read_picture(original.content), free)
        if smaller is None:
            return None
        original, carried = smaller, carry(protected, smaller, seal.keys)
    if carried is None:
        return None
    picture, planes = carried
    about = {"carried": PIXELS, "planes": planes}
    if original.fitted:
        about["fitted"] = original.fitted._asdict()
    return storage.encode(picture), about


def write_sealed(output: Path, path: str, closed: bytes) -> dict[str, str]:
    """Write a sealed original beside its protected file.

    Args:
        output: folder.
        path: of the protected file in it.
        closed: the sealed original.

    Returns:
        What the manifest says of it.
    """
    sealed = output / (path + SEALED)
    sealed.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(sealed, lambda file: file.write(closed))
    return {"sealed": path + SEALED, "sealed_sha256": hashlib.sha256(closed).hexdigest()}


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
