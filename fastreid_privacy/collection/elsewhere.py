"""Which images a collection or a gallery holds that lies in a store, or in tar files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from ..core.errors import UserError
from ..core.files import relative_path
from ..core.folders import ENDINGS, why_not_read
from ..core.members import TarMember
from ..core.remote import Place, RemotePath, place_of
from ..core.tars import TAR, files_of_tar, is_tars, named_tars, tars_in
from .source import Source, folder_source


def source_elsewhere(text: str, option: str = "--input") -> Source | None:
    """The images that a word of a command line names in a store or in tar files.

    Args:
        text: tar files, or a place; a folder that holds tar files and no image stands for these.
        option: that has it, for messages.

    Returns:
        None where it names a folder of images on this machine, or nothing that is there.

    Raises:
        UserError: as :func:`remote_source` and :func:`tar_source`.
    """
    root = place_of(text)
    if is_tars(text) and not root.is_dir():
        return tar_source(root, named_tars(text, option), option)
    if (tars := tars_in(root)) and not holds_images(root):
        return tar_source(root, tars, option)
    return remote_source(root, option) if isinstance(root, RemotePath) else None


def remote_source(root: RemotePath, option: str = "--input") -> Source:
    """The images of a folder in a store at any depth, in one listing.

    Args:
        root: the folder.
        option: that names it, for messages.

    Raises:
        UserError: when it cannot be listed, or holds no image.
    """
    try:
        found = root.files_below()
    except OSError as error:
        raise UserError(f"{option} {root} cannot be listed: {error.strerror}") from None
    parts = {path: [part for part in path.split("/") if part != ".."] for path in found}
    hidden = {path for path in found if any(part.startswith(".") for part in parts[path])}
    shown = [path for path in sorted(found) if path not in hidden]
    unread = {path: reason for path in shown if (reason := why_not_read(path))}
    images = [path for path in shown if path.lower().endswith(ENDINGS)]
    unread |= {path: reason for path in images if (reason := _no_plain_path(path))}
    listed: dict[str, RemotePath | TarMember] = {path: found[path] for path in images if path not in unread}
    if not listed:
        raise UserError(
            f"{option} {root} holds no image ({', '.join(ENDINGS)}), at any depth{_first(unread)}"
        )
    return Source(root, list(listed), sorted(found.keys() - {*images, *unread}), unread, listed=listed)


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


def _first(unread: dict[str, str]) -> str:
    """The first reason why something was not read, for the end of a message."""
    return "".join(f"; {name}: {reason}" for name, reason in list(unread.items())[:1])


def holds_images(folder: Place) -> bool:
    """Whether a folder of this machine or of a store holds an image, at any depth."""
    try:
        source = remote_source(folder) if isinstance(folder, RemotePath) else folder_source(folder)
    except UserError:
        return False
    return bool(source.paths)


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
            hidden = any(part.startswith(".") for part in name.split("/"))
            if name.lower().endswith(ENDINGS) and not hidden:
                listed[f"{folder}/{name}"] = member
            elif not hidden and (reason := why_not_read(name)):
                unread[f"{tar.name}/{name}"] = reason
            else:
                others.append(f"{tar.name}/{name}")
    if not listed:
        images = f"no tar file holds an image ({', '.join(ENDINGS)})"
        raise UserError(f"{option} {root}: {images}{_first(unread)}")
    return Source(root, sorted(listed), others, unread, listed=listed)
