"""A gallery of pictures, in a folder, a store or tar files: which images it holds, and each by its path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from ..collection.elsewhere import source_elsewhere
from ..collection.source import Source, folder_source
from ..core.errors import UserError
from ..core.files import relative_path
from ..core.members import TarMember
from ..core.pictures import open_picture
from ..core.remote import OBJECT_STORES, Place, RemotePath, place_of, there
from ..core.tars import TAR, files_of_tar, is_tars, named_tars, tars_in

OPTION = "gallery"  # what messages call what the user named
OPEN_TARS = 16  # whose lists of files are kept


def gallery_source(gallery: str | Place) -> Source:
    """The images of a gallery, found as those of a collection are.

    Args:
        gallery: a folder of this machine or of a store, searched at any depth; or tar files: one, several as
            ``shards-{000..009}.tar``, or those of a folder that holds no image.

    Raises:
        UserError: when there is no such place, it cannot be listed, or it holds no image.
    """
    text = _text(gallery)
    if found := source_elsewhere(text, OPTION):
        return found
    root = gallery_root(text)
    assert isinstance(root, Path)  # stores are elsewhere
    if not root.is_dir():
        raise UserError(f"gallery {root} is no folder; name the folder of pictures with --gallery")
    return folder_source(root, OPTION)


def gallery_root(gallery: str | Place) -> Place:
    """Where a gallery is: absolute on this machine, an address in a store."""
    place = place_of(_text(gallery))
    return place if isinstance(place, RemotePath) else place.absolute()


def stored_root(text: str) -> Place:
    """Where an index says that its gallery is; nothing is opened."""
    return RemotePath(text) if "://" in text else Path(text)


def refuse_unnamed(root: Place) -> None:
    """Refuse to open what only an index names: libraries of some stores do more than read, at any address.

    Args:
        root: of an index file, which somebody else may have written.

    Raises:
        UserError: when it is neither on this machine nor in a plain store of objects, or fsspec is missing.
    """
    if isinstance(root, RemotePath):
        if root.url.partition("://")[0] not in OBJECT_STORES:
            raise UserError(
                f"the index says that its gallery is at {root}; such an address is opened only where you "
                "name it: retrieve query --gallery"
            )
        place_of(root.url)


def check_root(root: Place) -> None:
    """Refuse a place that holds no gallery.

    Raises:
        UserError: when it is no folder, or tar files are missing.
    """
    if root.is_dir():
        return
    if not is_tars(root.name):
        raise UserError(f"gallery {root} is no folder")
    named_tars(_text(root), OPTION)


def _text(gallery: str | Place) -> str:
    """As a command line names it, with all of an address."""
    return gallery.url if isinstance(gallery, RemotePath) else str(gallery)


def unsearched(source: Source) -> dict[str, str]:
    """Why parts of a gallery were not searched, by path, which ends in "/" of a folder or a tar file.

    Names that are no paths below the gallery, which stores and tar files may have, are quoted.
    """
    found = {}
    for path, reason in source.unread.items():
        where = source.root / path
        if path.endswith("/"):
            found[path] = f"folder {where} was not searched: {reason}"
        elif is_tars(path) and "/" not in path:
            found[f"{path}/"] = f"tar file {where} was not searched: {reason}"
        else:
            found[_plain(path)] = f"{where} was not read: {reason}"
    return found


def _plain(path: str) -> str:
    try:
        return relative_path(path)
    except ValueError:
        return quote(path, safe=" ", errors="surrogateescape")


class GalleryPictures:
    """The pictures of a gallery by the paths that an index has of them.

    Args:
        root: of the gallery, where it is now.
    """

    def __init__(self, root: str | Place):
        self.root = gallery_root(root)
        self.members = lru_cache(maxsize=OPEN_TARS)(lambda tar: files_of_tar(tar).members)

    def open(self, path: str) -> Image.Image:
        """A picture, upright RGB.

        Raises:
            UserError: naming it, when it is not there or cannot be read.
        """
        name = self.root / path
        try:
            file = self._member(path)
        except OSError as error:
            raise UserError(f"image {name} cannot be read: {error.strerror}") from None
        return open_picture(file or name, name)

    def is_file(self, path: str) -> bool:
        """Whether a picture that was opened is a file of this machine, in no store and no tar file."""
        return not isinstance(self.root, RemotePath) and self._member(path) is None

    def _member(self, path: str) -> TarMember | None:
        """The file inside of a tar; None: it is none."""
        folder, _, inside = path.partition("/")
        if not inside or (self._in_folder and there(self.root / path)):
            return None
        if folder not in self._tars:
            return None
        members: Mapping[str, TarMember] = self.members(self._tars[folder])
        return members.get(inside)

    @cached_property
    def _in_folder(self) -> bool:
        return not is_tars(self.root.name) or self.root.is_dir()

    @cached_property
    def _tars(self) -> dict[str, Place]:
        """Tar files by the folder that the paths of their images begin with."""
        tars = tars_in(self.root) if self._in_folder else named_tars(_text(self.root), OPTION)
        return {tar.name[: -len(TAR)]: tar for tar in tars}
