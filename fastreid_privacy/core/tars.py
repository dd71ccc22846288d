"""Tar files, in which WebDataset keeps collections: which are meant, and where in them each file lies."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from itertools import product
from typing import BinaryIO, NamedTuple

from .errors import UserError, brief
from .files import relative_path
from .members import TarMember
from .regular import open_regular
from .remote import About, Place, RemotePath, place_of, there

TAR = ".tar"
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MOST_TARS = 1_000_000
PIECE = 2**20  # bytes that are read at a time


class TarFiles(NamedTuple):
    """What a tar holds.

    Attributes:
        members: its files, by name; of two of one name the last, as unpacking leaves it.
        others: what is passed over, with the reason of each: links, devices, names that lead out of it.
    """

    members: dict[str, TarMember]
    others: dict[str, str]


def is_tars(text: str) -> bool:
    """Whether a word of a command line names tar files."""
    return text.lower().endswith(TAR)


def named_tars(text: str, option: str = "--input") -> list[Place]:
    """The tar files that a word of a command line names: one, or several by ranges, ``a-{000..009}.tar``.

    Args:
        text: the word; its ranges have as many digits as their numbers are written with.
        option: that has it, for messages.

    Raises:
        UserError: when a range makes no sense, or a file is not there.
    """
    words = RANGE.split(text)  # what stands between the ranges, and their two numbers
    ranges = []
    for first, last in zip(words[1::3], words[2::3], strict=True):
        numbers = range(int(first), int(last) + 1)
        if not numbers or len(first) != len(last) or len(numbers) > MOST_TARS:
            raise UserError(
                f"{option} {text}: the range {{{first}..{last}}} must go up, and have as many digits on both "
                "sides"
            )
        ranges.append([f"{number:0{len(first)}d}" for number in numbers])
    tars = []
    for chosen in product(*ranges):
        parts = [words[0], *(part for pair in zip(chosen, words[3::3], strict=True) for part in pair)]
        tars.append(place_of("".join(parts)))
    missing = next((tar for tar in tars if not there(tar)), None)
    if missing:
        raise UserError(f"{option} {text}: {missing} does not exist")
    return tars


def tars_in(folder: Place) -> list[Place]:
    """The tar files that lie in a folder, sorted by name; none where it is no folder that can be listed."""
    try:
        found: list[Place] = list(folder.iterdir()) if folder.is_dir() else []
    except OSError:  # whoever looks for images there says why
        return []
    tars = (item for item in found if is_tars(item.name) and not item.name.startswith("."))
    return sorted(tars, key=lambda item: item.name)


def files_of_tar(tar: Place) -> TarFiles:
    """Where in a tar each file lies; of a tar in a store, the whole of it is read for that.

    A tar has to end as tars do, with blocks of zeros and nothing behind them. Some programs leave them out;
    what they write cannot be told from a tar that was cut off between two files.

    Raises:
        UserError: the reason, without the path, when it is damaged, has no end, is compressed or cannot be
            read.
    """
    members: dict[str, TarMember] = {}
    others: dict[str, str] = {}
    try:
        changed = tar.stat().st_mtime_ns
        if isinstance(tar, RemotePath):
            tar = RemotePath(tar.url, tar.stat())  # asked once, and not for each of its files
        for info in _headers(tar):
            try:
                name = relative_path(info.name.removeprefix("./"))
            except ValueError as error:
                others[info.name] = str(error)
                continue
            if info.isdir():
                continue
            if not info.isfile() or info.issparse():
                others[name] = "it is no regular file"
                continue
            members[name] = TarMember(tar, info.offset_data, About(info.size, changed))
    except OSError as error:
        raise UserError(f"it cannot be read: {error.strerror or brief(error)}") from None
    return TarFiles(members, others)


def _headers(tar: Place) -> Iterator[tarfile.TarInfo]:
    with tar.open_bytes() if isinstance(tar, RemotePath) else open_regular(tar) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:", errors="surrogateescape") as archive:
                size = tar.stat().st_size
                for info in archive:
                    if info.offset_data + info.size > size:
                        raise tarfile.ReadError("it is cut off")
                    yield info
                    archive.members = []  # type: ignore[attr-defined]  # a tar may hold millions
                if not _ends(file, archive.offset):  # tarfile takes a broken header for the end
                    raise tarfile.ReadError("it has no end, or something behind it: files may be missing")
        except tarfile.TarError as error:
            raise UserError(f"it is damaged, compressed or no tar file ({brief(error)})") from None


def _ends(file: BinaryIO, offset: int) -> bool:
    """Whether a block of zeros begins at an offset in bytes, and nothing but zeros follows."""
    file.seek(offset)
    first = file.read(tarfile.BLOCKSIZE)
    rest = iter(lambda: file.read(PIECE), b"")
    return len(first) == tarfile.BLOCKSIZE and not any(first) and not any(map(any, rest))
