"""Which images a collection or a gallery holds that lies in a store, or in tar files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import NamedTuple

from ..core.errors import UserError
from ..core.files import relative_path
from ..core.folders import ENDINGS, FolderImages, first_reason, images_below, no_image, why_not_read
from ..core.members import TarMember
from ..core.remote import Place, RemotePath, place_of
from ..core.tars import TAR, files_of_tar, is_tars, named_tars, tars_in
from .source import Source


def source_elsewhere(text: str, option: str = "--input") -> Source | None:
    """The images that a word of a command line names in a store or in tar files.

    Args:
        text: tar files, or a place; a folder that holds tar files and no image stands for these.
        option: that has it, for messages.

    Returns:
        None where it names a folder of images on this machine, or nothing that is there.

    Raises:
        UserError: when a store cannot be listed or holds no image, and as :func:`tar_source`.
    """
    root = place_of(text)
    if is_tars(text) and not root.is_dir():
        return tar_source(root, named_tars(text, option), option)
    found: _Listing | FolderImages
    tars: list[Place]
    if isinstance(root, RemotePath):
        found = _listing(root, option)
        tars = [found.files[path] for path in found.unread if is_tars(path) and "/" not in path]
        if found.paths or not tars:
            return _store_source(root, option, found)
    else:
        if not (tars := tars_in(root)):
            return None
        found = images_below(root, f"{option} {root}", empty=True)
        if found.paths:
            return None
    packed, names = tar_source(root, tars, option), {tar.name for tar in tars}
    # all that is told of the folder is told beside what its tar files hold
    unread = {path: reason for path, reason in found.unread.items() if path not in names}
    return replace(packed, others=[*found.others, *packed.others], unread={**unread, **packed.unread})


class _Listing(NamedTuple):
    """As :class:`.folders.FolderImages` of a folder in a store, and each of its files by its path."""

    paths: list[str]
    others: list[str]
    unread: dict[str, str]
    files: dict[str, RemotePath]


def _listing(root: RemotePath, option: str) -> _Listing:
    """What a folder of a store holds, in one listing.

    Raises:
        UserError: when it cannot be listed.
    """
    try:
        files, closed = root.files_below()
    except OSError as error:
        raise UserError(f"{option} {root} cannot be listed: {error.strerror}") from None
    shown = [path for path in sorted(files) if not _is_hidden(path)]
    unread = {path: reason for path, reason in closed.items() if not _is_hidden(path)}
    unread |= {path: reason for path in shown if (reason := why_not_read(path))}
    images = [path for path in shown if path.lower().endswith(ENDINGS)]
    unread |= {path: reason for path in images if (reason := _no_plain_path(path))}
    paths = [path for path in images if path not in unread]
    return _Listing(paths, sorted(files.keys() - {*images, *unread}), unread, files)


def _store_source(root: RemotePath, option: str, found: _Listing) -> Source:
    """The images of a folder in a store.

    Raises:
        UserError: when it holds none.
    """
    if not found.paths:
        raise no_image(f"{option} {root}", found.unread)
    listed: dict[str, RemotePath | TarMember] = {path: found.files[path] for path in found.paths}
    return Source(root, found.paths, found.others, found.unread, listed=listed)


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.split("/"))


def _no_plain_path(text: str) -> str:
    """Why a name of a store is no path of a file below a folder; "" where it is one.

    Keys of stores may begin with "/", or have nothing between two of them: put behind a folder they would
    lead elsewhere, or to the place of another one.
    """
    try:
        plain = str(PurePosixPath(relative_path(text)))
    except ValueError as error:
        return str(error)
    return "" if plain == text else f"the path {text!r} has empty parts"


def tar_source(root: Place, tars: Sequence[Place], option: str = "--input") -> Source:
    """The images of tar files; each has the folder of its tar, which is called as it without ``.tar``.

    Args:
        root: folder of all of them, or how they were named.
        tars: the files.
        option: that names them, for messages.

    Raises:
        UserError: when none of them holds an image, two would share a folder, or one has a name that is none.
    """
    listed: dict[str, RemotePath | TarMember] = {}
    others, unread = [], {}
    of_folder: dict[str, Place] = {}
    for tar in tars:
        folder = tar.name[: -len(TAR)]
        if folder.strip(".") == "":
            raise UserError(
                f"{option} {tar}: its images go to a folder of its name, which is none: rename it"
            )
        if folder in of_folder:
            raise UserError(
                f"{option} {of_folder[folder]} and {tar}: their images would share the folder {folder}: "
                "rename one of them"
            )
        of_folder[folder] = tar
        try:
            found = files_of_tar(tar)
        except UserError as error:
            unread[tar.name] = str(error)
            continue
        unread |= {f"{tar.name}/{name}": reason for name, reason in found.others.items()}
        for name, member in found.members.items():
            hidden = _is_hidden(name)
            if name.lower().endswith(ENDINGS) and not hidden:
                listed[f"{folder}/{name}"] = member
            elif not hidden and (reason := why_not_read(name)):
                unread[f"{tar.name}/{name}"] = reason
            else:
                others.append(f"{tar.name}/{name}")
    if not listed:
        images = f"no tar file holds an image ({', '.join(ENDINGS)})"
        raise UserError(f"{option} {root}: {images}{first_reason(unread)}")
    return Source(root, sorted(listed), others, unread, listed=listed)
