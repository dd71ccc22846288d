"""Files that carry their originals, opened without a manifest: pictures without loss, JPEG, arrays."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from ..core.errors import UserError
from ..core.files import read_regular
from ..core.members import Readable
from ..core.pictures import LARGEST_FILE, read_picture
from ..keys import pixels, segments
from ..keys.envelope import Original
from ..keys.pairs import PrivateKey

ARRAY = ".npy"  # end of the name of a file that holds pictures as an array
Carrier = TypeVar("Carrier")
NOTHING = (
    "it carries nothing that can be opened: nothing was sealed into it, or for another key, or it was changed"
    " since (saved with loss, resized, cropped, brightened)"
)


def originals_in(path: Readable, name: str, key: PrivateKey) -> Iterator[tuple[str, Original | UserError]]:
    """What a file carries.

    Args:
        path: of the file.
        name: of the file, for messages.
        key: of one of those to whom originals were sealed.

    Yields:
        For each picture in it, its name and the original, or the reason why there is none: one picture, but
        for arrays, whose pictures are called ``NAME[0]``, ``NAME[1]``, …
    """
    try:
        content = read_regular(path, LARGEST_FILE)
        if content.startswith(segments.START):
            yield name, _original_in(content, segments.find, key)
            return
        pictures = _of_array(content) if name.lower().endswith(ARRAY) else [read_picture(content)]
    except UserError as error:
        yield name, error
        return
    except MemoryError:
        yield name, UserError("there is not enough memory for it")
        return
    for place, picture in enumerate(pictures):
        yield name if len(pictures) == 1 else f"{name}[{place}]", _original_in(picture, pixels.find, key)


def _original_in(
    carrier: Carrier, find: Callable[[Carrier, PrivateKey], Original | None], key: PrivateKey
) -> Original | UserError:
    try:
        return find(carrier, key) or UserError(NOTHING)
    except UserError as error:
        return error


def _of_array(content: bytes) -> np.ndarray:
    """The pictures in a file of numpy: uint8 N×H×W×3.

    The header is looked at before any memory is taken, and nothing in it can run.

    Raises:
        UserError: the reason, without the path, when it holds something else.
    """
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, kind = read(file)
        real = len(shape) in (3, 4) and all(type(side) is int and side > 0 for side in shape)
        whole = real and shape[-1] == 3 and math.prod(shape) == len(content) - file.tell()
        if kind != np.uint8 or by_columns or not whole:
            raise ValueError
        return np.frombuffer(content, np.uint8, offset=file.tell()).reshape(-1, *shape[-3:])
    except MemoryError:
        raise
    except Exception:  # a header is read as Python, and may end in any exception of its parser
        raise UserError("it is no array of pictures: uint8, H×W×3 or N×H×W×3, in rows") from None
