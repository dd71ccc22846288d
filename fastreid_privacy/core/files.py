"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

from .errors import UserError
from .lock import locked
from .members import Readable, TarMember
from .regular import open_regular
from .remote import Place, RemotePath

UNFINISHED = ".unfinished"  # end of the name of a file that is being written; the name begins with a dot
LONGEST_NAME, LONGEST_STEM = 255, 200  # bytes that systems allow, and that leave room for more
LARGEST_INPUT = 2**31  # bytes of a file that is read as a whole: as an ONNX graph may have
KEPT_READ = 4  # of the things that a function of :func:`read_once` has read
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no further file can be written either

Read = TypeVar("Read")


def write_atomically(
    path: Place, write: Callable[[BinaryIO], Any], *, sync: bool = False, private: bool = False
) -> None:
    """Let ``write`` fill a file beside ``path`` and move it there when it is whole.

    An exception or the end of this process at any moment leaves ``path`` either as it was or complete. A full
    or read-only disk is told with ``path``.

    Args:
        path: of the file; its folder exists. What a store gets is whole in memory first.
        write: gets the open binary file.
        sync: wait until the disk has it, so that a power cut leaves ``path`` whole too.
        private: only its owner may read it, from its first byte on. Of a store, its owner sees to that.
    """
    if isinstance(path, RemotePath):
        content = io.BytesIO()
        write(content)
        path.write_bytes(content.getvalue())
        return
    unfinished = _unfinished(path)
    try:
        with saying_what(path):
            with _create(unfinished, private) as file:
                write(file)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    if sync and os.name == "posix":  # the move reaches the disk with the folder; Windows opens no folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def saying_what(path: Path) -> Iterator[None]:
    """A full or read-only disk in here is told with a file: what the system says of writing names none."""
    try:
        yield
    except OSError as error:
        if error.errno in HOPELESS and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_whole(path: Place, content: bytes, *, sync: bool = False, private: bool = False) -> None:
    """Write bytes to a file, whole or not at all, as :func:`write_atomically`."""
    write_atomically(path, lambda file: file.write(content), sync=sync, private=private)


def _unfinished(path: Path) -> Path:
    """What a file is called while this process writes it: of several processes, the last one counts."""
    return path.with_name(f".{_stem(path.name)}.{os.getpid()}{UNFINISHED}")


def _stem(name: str) -> str:
    """What stands for a file's name in that of its unfinished one: itself, or a digest of a long one."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= LONGEST_STEM else hashlib.sha256(encoded).hexdigest()[:32]


def _create(path: Path, private: bool) -> BinaryIO:
    """Open a new file; a mode that is set later would let others open it in between."""
    path.unlink(missing_ok=True)  # a killed process of the same number may have left it, readable for all
    mode = 0o600 if private else 0o666
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))


def make_folder(folder: Place, option: str = "--output") -> None:
    """Make the folder that an option names, where it is missing.

    Raises:
        UserError: when it cannot be made or may not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{option} {folder} cannot be made: {error.strerror}; choose another folder"
        ) from None
    if isinstance(folder, RemotePath):  # what it takes is found out when it is written to
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{option} {folder} cannot be written to; choose another folder")


def write_new(folder: Path, contents: Mapping[str, bytes], private: Collection[str] = ()) -> None:
    """Write files that are not there yet, all of them or none.

    Args:
        folder: for the files; made where it is missing.
        contents: by name.
        private: names of those that only their owner may read.

    Raises:
        UserError: when one is there already, another process writes to the folder, or it cannot be made.
    """
    make_folder(folder)
    with locked(folder, f"another command writes to {folder}; wait for its end, or choose another --output"):
        refuse_existing(folder, contents)
        remove_unfinished(folder, contents)
        paths = {folder / name: _unfinished(folder / name) for name in contents}
        written: list[Path] = []
        try:
            for path, unfinished in paths.items():
                with saying_what(path), _create(unfinished, path.name in private) as file:
                    file.write(contents[path.name])
            for path, unfinished in paths.items():
                os.replace(unfinished, path)
                written.append(path)
        except BaseException:
            for path in written:
                path.unlink()
            raise
        finally:
            for unfinished in paths.values():
                unfinished.unlink(missing_ok=True)


def refuse_existing(folder: Path, names: Iterable[str]) -> None:
    """Refuse to write over files.

    Raises:
        UserError: naming those of the names that are in the folder.
    """
    there = [str(folder / name) for name in names if os.path.lexists(folder / name)]
    if there:
        raise UserError(f"{', '.join(there)}: there already; choose another --output folder")


def read_regular(path: str | Readable, largest: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        path: of the file.
        largest: bytes that it may have; None: any number that fits the memory.

    Raises:
        UserError: the reason, without the path, when it is no such file or cannot be read.
    """

    def check(size: int) -> None:
        if largest is not None and size > largest:
            raise UserError(f"it has {size:,} bytes, more than {largest:,}")

    try:
        if isinstance(path, RemotePath | TarMember):
            if largest is not None:  # a store has to be asked
                check(path.stat().st_size)
            return path.read_bytes()
        with open_regular(path) as file:
            check(os.fstat(file.fileno()).st_size)
            return file.read()
    except MemoryError:
        raise UserError("there is not enough memory to read it") from None
    except OSError as error:
        raise UserError(f"it cannot be read: {error.strerror or error}") from None


def read_file(path: str | Readable, largest: int = LARGEST_INPUT) -> bytes:
    """The content of a file that the user named.

    Args:
        path: of the file.
        largest: bytes that it may have.

    Raises:
        UserError: when it cannot be read, is no regular file, or is larger.
    """
    try:
        return read_regular(path, largest)
    except UserError as error:
        reason = str(error).removeprefix("it cannot be read: ")
        raise UserError(f"{path} cannot be read: {reason}") from None


def read_once(read: Callable[[str], Read], most: int = KEPT_READ) -> Callable[[str], Read]:
    """A function that reads a file, called again only when the file of that name is another one.

    Args:
        read: path → what it makes of the file; what it raises is not kept.
        most: of the things that are kept, the last ones that were asked for.

    Returns:
        The same function, which gives the same object as long as the file's size, time and place stay.
    """
    kept = lru_cache(maxsize=most)(lambda path, state: read(path))

    def read_or_keep(path: str) -> Read:
        try:
            told = os.stat(path)
        except OSError:  # reading tells what is wrong
            return read(path)
        return kept(path, (told.st_dev, told.st_ino, told.st_mtime_ns, told.st_size))

    return read_or_keep


def check_length(name: str, added: str = "") -> None:
    """Refuse a name for a file that systems do not take.

    Args:
        name: of the file, or its path.
        added: what this package puts behind it.

    Raises:
        UserError: the reason, without the path.
    """
    over = len(os.fsencode(PurePosixPath(name).name + added)) - LONGEST_NAME
    if over > 0:
        behind = f" with the {added} that is put behind it" if added else ""
        raise UserError(f"its name is {over} bytes too long{behind} (at most {LONGEST_NAME}): shorten it")


def relative_path(text: object) -> str:
    """A path that leads to a file below any folder that it is put behind; one from somebody else might not.

    Raises:
        ValueError: saying why it does not.
    """
    if not isinstance(text, str) or not PurePosixPath(text).name:
        raise ValueError(f"the path {text!r} names no file")
    if PurePosixPath(text).is_absolute() or ".." in PurePosixPath(text).parts or "\0" in text:
        raise ValueError(f"the path {text!r} leads out of its folder")
    os.fsencode(text)
    return text


def file_hash(path: Readable) -> str:
    """SHA-256 of a file, 64 hexadecimal digits.

    Raises:
        OSError: of a store.
        UserError: the reason, without the path, when it is no regular file or cannot be read.
    """
    if isinstance(path, RemotePath | TarMember):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_unfinished(folder: Place, names: Iterable[str] | None = None) -> None:
    """Delete what interrupted ``write_atomically`` calls have left in a folder.

    Args:
        folder: to which nobody else writes meanwhile.
        names: of the files that were to be written; None: of all.
    """
    stems = None if names is None else set(map(_stem, names))
    for leftover in folder.iterdir() if isinstance(folder, RemotePath) else folder.glob(f".*{UNFINISHED}"):
        stem = leftover.name[1:].rsplit(".", 2)[0]
        if is_unfinished(leftover.name) and (stems is None or stem in stems):
            leftover.unlink(missing_ok=True)  # a process that was thought lost may finish it just now


def is_unfinished(name: str) -> bool:
    """Whether :func:`write_atomically` gives files such a name."""
    return re.fullmatch(rf"\..+\.\d+{re.escape(UNFINISHED)}", name) is not None
