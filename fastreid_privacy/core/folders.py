"""Which images a folder holds, in an order that does not depend on the file system."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .errors import UserError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")  # of the images of a data set
ENDINGS = (*IMAGE_ENDINGS, ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")  # of images of any origin


class FolderImages(NamedTuple):
    """What a folder holds; paths are relative to it, "/" between the parts.

    Attributes:
        paths: of the images, sorted.
        others: of what is left out: files with another ending, hidden ones, links back to a folder above.
    """

    paths: list[str]
    others: list[str]


def images_below(root: str | Path, name: str, nor: str = "") -> FolderImages:
    """The images of a folder at any depth.

    Links to files and folders are followed, but not back to a folder that they lie in.

    Args:
        root: the folder.
        name: what the user calls it, for messages: "--input PATH", "gallery PATH".
        nor: what else it could have been and is not, behind "PATH does not exist".

    Raises:
        UserError: when it is no folder, cannot be listed, or holds no image.
    """
    if not os.path.isdir(root):
        raise UserError(f"{name} {'is no folder' if os.path.exists(root) else 'does not exist'}{nor}")
    paths: list[str] = []
    others: list[str] = []

    def scan(folder: Path, relative: PurePosixPath, above: frozenset[tuple[int, int]]) -> None:
        try:
            about = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(
                f"folder {folder} cannot be listed: {error.strerror}; make it readable, or take another "
                f"{name.split()[0]}"
            ) from None
        here = (about.st_dev, about.st_ino)
        if here in above:
            others.append(f"{relative}/ (a link back to a folder that it lies in)")
            return
        for entry in entries:
            path = relative / entry.name
            if entry.is_dir():
                if entry.name.startswith("."):
                    others.append(f"{path}/")
                else:
                    scan(folder / entry.name, path, above | {here})
            else:
                image = entry.name.lower().endswith(ENDINGS) and not entry.name.startswith(".")
                (paths if image else others).append(str(path))

    scan(Path(root), PurePosixPath(), frozenset())
    if not paths:
        raise UserError(f"{name} holds no image ({', '.join(ENDINGS)}), at any depth")
    return FolderImages(sorted(paths), others)
