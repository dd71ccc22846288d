"""``anonymize``, ``recover`` and ``retrieve`` in this process, which is quicker than a new one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fastreid_privacy.commands import anonymize as anonymize_command
from fastreid_privacy.commands import recover as recover_command
from fastreid_privacy.commands import retrieve as retrieve_command
from fastreid_privacy.core.remote import Place, RemotePath


def anonymize(*words: object) -> int:
    """The exit code of ``anonymize`` with these words."""
    return anonymize_command.main([str(word) for word in words])


def recover(*words: object) -> int:
    """The exit code of ``recover`` with these words."""
    return recover_command.main([str(word) for word in words])


def retrieve(*words: object) -> int:
    """The exit code of ``retrieve`` with these words."""
    return retrieve_command.main([str(word) for word in words])


def random_pictures(root: Path, images: int) -> Path:
    """Pictures of several sizes, in two folders; all of their pixels are random."""
    draw = np.random.default_rng(0)
    for number in range(images):
        folder = root / ("cam 1" if number % 2 else "保護")
        folder.mkdir(exist_ok=True)
        picture = draw.integers(0, 256, (32 + number, 16 + number, 3), np.uint8)
        Image.fromarray(picture).save(folder / f"pérson {number:02d}.png")
    return root


def contents(place: Place) -> dict[str, bytes]:
    """Every file below a folder or a place of a store, by relative path."""
    if isinstance(place, RemotePath):
        return {path: file.read_bytes() for path, file in place.files_below().items()}
    files = (path for path in sorted(Path(place).rglob("*")) if path.is_file())
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}
