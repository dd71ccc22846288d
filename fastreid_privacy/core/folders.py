"""Which images a folder holds, in an order that does not depend on the file system."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .errors import UserError
from .tars import is_tars

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".webp"),
    *(
        ".gif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".avif",
        ".jp2",
        ".j2k",
        ".jpx",
        ".jpf",
        ".j2c",
        ".jpc",
        ".tga",
    ),
)
# Pictures that are not read: people may be seen in them, so they are not passed over as other files are.
FOREIGN = (
    *(".heic", ".heif", ".hif", ".heics", ".heifs", ".avifs", ".jxl", ".psd", ".exr"),
    *(".dng", ".crw", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".orf", ".raf", ".rw2", ".rwl"),
    *(".pef", ".srw", ".3fr", ".x3f", ".iiq", ".erf", ".kdc", ".dcr", ".mrw"),
)
DEEPEST = 100  # folders in folders
MOST_PATHS = 16  # along which links may lead to one folder: a few links to links make millions of paths


def ways_to(path: str | Path) -> Iterator[Path]:
    """A path as it is written, made absolute, and then the file that its links lead to.

    What a folder's name tells is told of the folder that was named: the one that a link leads to may have any
    name. Links into such a folder tell it by where they lead.
    """
    yield Path(os.path.abspath(path))
    yield Path(os.path.realpath(path))


def why_not_read(name: str) -> str:
    """Why pictures are not read, by the ending of a file's name: of :data:`FOREIGN` kinds, and those in a tar
    file that lies among images; "" of all others."""
    if is_tars(name):
        return "a tar file among images is not read: unpack it (tar -xf), or give it alone"
    ending = next((ending for ending in FOREIGN if name.lower().endswith(ending)), "")
    return f"{ending[1:].upper()} pictures are not read: convert it to JPEG or PNG" if ending else ""


class FolderImages(NamedTuple):
    """What a folder holds; paths are relative to it, "/" between the parts.

    Attributes:
        paths: of the images, sorted.
        others: of what is left out: files with another ending, hidden ones, links back to a folder above.
        unread: what was not read, with the reason of each: folders and tar files, in which images may be
            missing, and pictures of :data:`FOREIGN` kinds.
    """

    paths: list[str]
    others: list[str]
    unread: dict[str, str]


def images_below(
    root: str | Path,
    name: str,
    nor: str = "",
    apart: str | Path | None = None,
    endings: tuple[str, ...] = ENDINGS,
    foreign: bool = True,
    empty: bool = False,
) -> FolderImages:
    """The images of a folder at any depth up to :data:`DEEPEST`.

    Links to files and folders are followed, but not back to a folder that they lie in, and to one folder
    along :data:`MOST_PATHS` paths at most.

    Args:
        root: the folder.
        name: what the user calls it, for messages: "--input PATH", "gallery PATH".
        nor: what else it could have been and is not, behind "PATH does not exist".
        apart: an output folder, to which no link may lead.
        endings: of the names of files that count as images.
        foreign: whether pictures of :data:`FOREIGN` kinds and tar files are missed; else they are others.
        empty: whether there need be no image.

    Raises:
        UserError: when it is no folder, cannot be listed, holds no image, or a link to ``apart``.
    """
    if not os.path.isdir(root):
        raise UserError(f"{name} {'is no folder' if os.path.exists(root) else 'does not exist'}{nor}")
    apart = None if apart is None else Path(os.path.realpath(apart))
    found = _Search(Path(root), name, apart, endings, foreign)
    found.search(PurePosixPath(), frozenset())
    if not found.paths and not empty:
        tars = any(map(is_tars, found.others))
        raise no_image(
            name, found.unread, endings, "; it holds tar files: unpack them there (tar -xf)" * tars
        )
    return FolderImages(sorted(found.paths), found.others, found.unread)


def no_image(
    name: str, unread: Mapping[str, str], endings: Sequence[str] = ENDINGS, more: str = ""
) -> UserError:
    """What is said of a place without an image, with the first reason why something was not read."""
    why = first_reason(unread) + more
    return UserError(f"{name} holds no image ({', '.join(endings)}), at any depth{why}")


def first_reason(unread: Mapping[str, str]) -> str:
    """The first reason why something was not read, for the end of a message."""
    return "".join(f"; {path}: {reason}" for path, reason in list(unread.items())[:1])


class _Search:
    """A search through one folder; the lists are those of :class:`FolderImages`."""

    def __init__(self, root: Path, name: str, apart: Path | None, endings: tuple[str, ...], foreign: bool):
        self.root, self.name, self.apart, self.endings, self.foreign = root, name, apart, endings, foreign
        self.paths: list[str] = []
        self.others: list[str] = []
        self.unread: dict[str, str] = {}
        self.visits: Counter[tuple[int, int]] = Counter()  # of each folder

    def search(self, relative: PurePosixPath, above: frozenset[tuple[int, int]]) -> None:
        """Search a folder.

        Args:
            relative: its path.
            above: device and number of the folders that it lies in, along this path.
        """
        folder = self.root / relative
        try:
            about = folder.stat()
            here = about.st_dev, about.st_ino
            if here in above:
                self.others.append(f"{relative}/ (a link back to a folder that it lies in)")
                return
            self.visits[here] += 1
            if self.visits[here] > MOST_PATHS or len(relative.parts) > DEEPEST:
                self.unread[f"{relative}/"] = (
                    f"it lies more than {DEEPEST} folders deep"
                    if len(relative.parts) > DEEPEST
                    else f"links lead to this folder along more than {MOST_PATHS} paths"
                )
                return
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if above:
                self.unread[f"{relative}/"] = f"it cannot be listed: {error.strerror}"
                return
            raise UserError(
                f"folder {folder} cannot be listed: {error.strerror}; make it readable, or take another "
                f"{self.name.split()[0]}"
            ) from None
        for entry in entries:
            self._take(entry, relative / entry.name, above | {here})

    def _take(self, entry: os.DirEntry[str], path: PurePosixPath, above: frozenset[tuple[int, int]]) -> None:
        hidden = entry.name.startswith(".")
        image = entry.name.lower().endswith(self.endings) and not hidden
        if self.apart is not None and not hidden and entry.is_symlink():
            self._check_link(path, self.apart)
        try:
            is_folder = entry.is_dir()
        except OSError as error:  # a link in a circle, or through a closed folder
            if not image:  # of an image, reading says why it cannot be read
                self.unread[f"{path}/"] = f"the link cannot be followed: {error.strerror}"
                return
            is_folder = False
        if not is_folder:
            reason = why_not_read(entry.name) if self.foreign and not hidden else ""
            if reason:
                self.unread[str(path)] = reason
            else:
                (self.paths if image else self.others).append(str(path))
        elif hidden:
            self.others.append(f"{path}/")
        else:
            self.search(path, above)

    def _check_link(self, path: PurePosixPath, apart: Path) -> None:
        """Refuse a link to the output folder, into it, or to a folder that it lies in."""
        target = Path(os.path.realpath(self.root / path))
        if target == apart or apart in target.parents or target in apart.parents:
            raise UserError(
                f"{self.name} holds the link {path}, which leads to the output folder {apart}: a second run "
                "would take protected files for raw ones; remove the link, or choose another --output"
            )
