"""Pictures, arrays, boxes and configs as a hostile person would write them."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

from .forging import Forge, Runs, changed_config

# -- pictures, arrays, boxes, configs ------------------------------------------------------------------------


def _png_size(content: bytes, rng: random.Random) -> bytes:
    """A PNG that says another size, with a checksum that fits."""
    import zlib

    sides = rng.choice(((2**31 - 1, 2**31 - 1), (10**5, 10**5), (1, 2**30), (0, 0), (9000, 9000), (2**31, 1)))
    head = b"IHDR" + struct.pack(">II", *sides) + b"\x08\x02\x00\x00\x00"
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    data = zlib.compress(bytes(10**6))
    body = b"IDAT" + data
    end = struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + end + b"\0\0\0\0IEND\xaeB`\x82"


def _picture_as(content: bytes, rng: random.Random) -> bytes:
    """An intact picture of another size, mode or format under the same name."""
    from PIL import Image

    mode = rng.choice(("RGB", "RGBA", "L", "1", "P", "CMYK", "LA", "I;16", "F", "I"))
    size = rng.choice(((1, 1), (1, 3000), (3000, 1), (16, 32), (700, 500)))
    buffer = io.BytesIO()
    form = {"CMYK": "TIFF", "F": "TIFF", "I": "TIFF", "LA": "PNG"}.get(mode, rng.choice(("PNG", "TIFF")))
    Image.new(mode, size, 1).save(buffer, form)
    return buffer.getvalue()


PICTURES: dict[str, Forge] = {"size": _png_size, "another": _picture_as}


def _arrays(content: bytes, rng: random.Random) -> bytes:
    """Arrays of another kind, or ones that announce terabytes."""
    import numpy as np

    with np.load(io.BytesIO(content)) as stored:
        arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
    name, buffer = rng.choice(sorted(arrays)), io.BytesIO()
    old = arrays[name]
    changes: list[Callable[[], Any]] = [
        lambda: old.astype(float),
        lambda: old[None],
        lambda: old[:0],
        lambda: old[1:],
        lambda: np.array("x"),
        lambda: np.array([None, Runs()], dtype=object),
        lambda: np.full_like(old, np.iinfo(old.dtype).max),
        lambda: old.view("u1").astype("u8"),
    ]
    arrays[name] = rng.choice(changes)()
    if rng.random() < 0.2:
        arrays[rng.choice(("x", "OI-XX", "../PROOF"))] = arrays.pop(name)
    np.savez_compressed(buffer, **arrays)
    result = buffer.getvalue()
    if rng.random() < 0.4:
        packed = io.BytesIO()
        shape = rng.choice(("(1099511627776,)", "(4294967296, 4294967296)", "(-1,)", "1", "(" * 3000))
        header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".encode()
        header += b" " * (-(len(header) + 11) % 64) + b"\n"
        data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(80)
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.npy", data)
        result = packed.getvalue()
    return result


ARRAYS: dict[str, Forge] = {"arrays": _arrays}


def _boxes(content: bytes, rng: random.Random) -> bytes:
    lines = content.decode().splitlines()
    place = rng.randrange(len(lines))
    words = lines[place].split(",")
    words[rng.randrange(6)] = rng.choice(
        ("1e308", "-1e308", "nan", "inf", "9" * 400, "0", "-1", "1e-300", "x", "")
    )
    lines[place] = ",".join(words)
    if rng.random() < 0.1:
        lines *= 10**5
    return "\n".join(lines).encode()


BOXES: dict[str, Forge] = {"line": _boxes}


def _config(content: bytes, rng: random.Random) -> bytes:
    return changed_config(content.decode(), rng).encode()


CONFIGS: dict[str, Forge] = {"value": _config}
