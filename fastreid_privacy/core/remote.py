"""Places that fsspec opens, ``s3://bucket/folder`` for one, with the few things of a path that runs ask for.

Credentials and endpoints are those of fsspec's own configuration and of its libraries: environment variables
such as ``AWS_ENDPOINT_URL``, or files in ``~/.config/fsspec``. None of them are read or kept here.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .errors import UserError, brief, typed
from .extras import fsspec_core, load

LOCAL = "file://"
OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "memory")
"""Where what is put is there whole or not at all."""
NUMBERS = {
    FileNotFoundError: errno.ENOENT,
    FileExistsError: errno.EEXIST,
    PermissionError: errno.EACCES,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
    TimeoutError: errno.ETIMEDOUT,
}
"""Of errors that libraries raise with a text alone."""


class About(NamedTuple):
    """Of a file: its size in bytes, and the time of its last change, in nanoseconds; 0: not known."""

    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True, order=True)
class RemotePath:
    """A file or folder of a store. Methods are those of :class:`pathlib.Path`, as far as a store has them.

    Attributes:
        url: without a slash at its end.
        listed: what the listing of its folder said of it; None: it was not listed.
    """

    url: str
    listed: About | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return shown(self.url)

    def __fspath__(self) -> str:
        raise TypeError(f"{self} is no path of this machine")

    def __truediv__(self, name: str | Path) -> RemotePath:
        return self if str(name) == "." else RemotePath(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        """The folder."""
        return RemotePath(self.url.rpartition("/")[0])

    def _ask(self, question: Callable[[Any, str], Any], reading: bool = False) -> Any:
        """What its file system says.

        Args:
            question: asked of the file system and the path there.
            reading: a file, as of :func:`_os_errors`.

        Raises:
            OSError: naming it, whatever the library of the store raises.
        """
        with _os_errors(self, reading):
            # lists of what was there a while ago would hide what others have written since
            system, path = fsspec_core.url_to_fs(self.url, use_listings_cache=False)
            return question(system, path)

    def exists(self) -> bool:
        """Whether there is a file, or a folder with files."""
        return bool(self._ask(lambda system, path: system.exists(path)))

    def is_file(self) -> bool:
        """Whether it is a file."""
        return bool(self._ask(lambda system, path: system.isfile(path)))

    def is_dir(self) -> bool:
        """Whether it is a folder with files."""
        return bool(self._ask(lambda system, path: system.isdir(path)))

    def is_symlink(self) -> bool:
        """Stores have no links."""
        return False

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Make the folder, where the store has folders."""
        if not self._is_object_store:
            self._ask(lambda system, path: system.makedirs(path, exist_ok=True))

    def rmdir(self) -> None:
        """Remove an empty folder, where the store has folders."""
        if not self._is_object_store:
            self._ask(lambda system, path: system.rmdir(path))

    def iterdir(self) -> Iterator[RemotePath]:
        """What is in the folder."""
        names = self._ask(lambda system, path: system.ls(path, detail=False) if system.isdir(path) else [])
        for name in names:
            last = name.rstrip("/").rpartition("/")[2]
            if last and last != self.name:  # some stores have an empty file that stands for the folder
                yield self / last

    def stat(self) -> About:
        """Size and time of the last change: as listed, where it was."""
        return self.listed or _about(self._ask(lambda system, path: system.info(path), reading=True))

    def read_bytes(self) -> bytes:
        """The content of the file."""
        return self._ask(lambda system, path: system.cat_file(path), reading=True)

    def read_part(self, start: int, end: int) -> bytes:
        """The bytes from one place to another."""
        return self._ask(lambda system, path: system.cat_file(path, start=start, end=end), reading=True)

    @contextmanager
    def open_bytes(self) -> Iterator[BinaryIO]:
        """The open file; it is read ahead."""
        opened = self._ask(lambda system, path: system.open(path, "rb"), reading=True)
        with opened as file, _os_errors(self, reading=True):
            yield file

    def write_bytes(self, content: bytes) -> None:
        """Write the file, whole or not at all."""
        if self._is_object_store:
            self._ask(lambda system, path: system.pipe_file(path, content))
            return

        def write(system: Any, path: str) -> None:
            folder, _, name = path.rpartition("/")
            unfinished = f"{folder}/.{name}.{os.getpid()}.unfinished"
            system.pipe_file(unfinished, content)
            system.mv(unfinished, path)

        self._ask(write)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file."""
        if missing_ok and not self.exists():
            return
        self._ask(lambda system, path: system.rm_file(path))

    def files_below(self) -> Below:
        """All files at any depth; of an object store in one listing."""
        return self._ask(self._found if self._is_object_store else self._walked)

    def _found(self, system: Any, path: str) -> Below:
        start = len(path.rstrip("/")) + 1
        found = system.find(path, detail=True).items()
        return Below(
            {name[start:]: self._file(name[start:], about) for name, about in found if name[start:]}, {}
        )

    def _walked(self, system: Any, path: str) -> Below:
        """fsspec's own walk passes over folders that it cannot list."""
        start, files, unread, folders = len(path.rstrip("/")) + 1, {}, {}, [path]
        while folders:
            folder = folders.pop()
            try:
                items = system.ls(folder, detail=True)
            except Exception as error:  # libraries have errors of their own
                if folder == path:
                    raise
                reason = getattr(error, "strerror", None) or type(error).__name__
                unread[f"{folder[start:]}/"] = f"it cannot be listed: {reason}"
                continue
            for about in items:
                name = about["name"].rstrip("/")
                is_link = about.get("islink") or about["type"] == "link"
                if about["type"] == "directory" and name.startswith(f"{folder.rstrip('/')}/"):
                    folders.append(name)
                elif is_link and system.isdir(name):
                    unread[f"{name[start:]}/"] = "links to folders are not followed in a store"
                elif about["type"] != "directory" and name[start:]:
                    files[name[start:]] = self._file(name[start:], about)
        return Below(files, unread)

    def _file(self, path: str, about: dict[str, Any]) -> RemotePath:
        return RemotePath(f"{self.url}/{path}", _about(about))

    @property
    def _is_object_store(self) -> bool:
        return self.url.partition("://")[0] in OBJECT_STORES


class Below(NamedTuple):
    """What a folder holds at any depth, by paths below it.

    Attributes:
        files: of it.
        unread: folders that are not searched, and why; their paths end in "/".
    """

    files: dict[str, RemotePath]
    unread: dict[str, str]


Place = Path | RemotePath
"""A path of this machine, or one of a store."""


def _about(info: dict[str, Any]) -> About:
    changed = next((info[key] for key in ("LastModified", "mtime", "created", "updated") if info.get(key)), 0)
    seconds = changed.timestamp() if hasattr(changed, "timestamp") else changed
    return About(int(info.get("size") or 0), int(float(seconds) * 1e9) if _is_number(seconds) else 0)


def _is_number(text: object) -> bool:
    try:
        float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def there(place: Place) -> bool:
    """Whether something is at a place, also a link that leads nowhere."""
    return place.exists() if isinstance(place, RemotePath) else os.path.lexists(place)


def is_url(text: object) -> bool:
    """Whether a word of a command line names a place of a store."""
    return "://" in str(text) and not str(text).startswith(LOCAL)


def shown(text: str) -> str:
    """A word of a command line for messages: an address without name, password and what else may be secret.

    A password may have any sign, also those that end a host elsewhere: everything before the last "@" goes,
    and all of the address where that may have stood behind the host.
    """
    scheme, _, rest = text.partition("://")
    if not is_url(text) or scheme.lower() in OBJECT_STORES:
        return text
    before, _, rest = rest.rpartition("@")
    if re.search("[?#=]", before):
        return f"{scheme}://…"
    host, slash, path = re.split("[?#]", rest)[0].partition("/")
    return f"{scheme}://{host}{slash}{'…' if '=' in path else path}"


def place_of(text: str) -> Place:
    """The place that a word of a command line names: ``file://`` and all without ``://`` are of this machine.

    Raises:
        UserError: when fsspec, or its library for such a store, is not installed, or there is no such store.
    """
    if not is_url(text):
        return Path(text.removeprefix(LOCAL))
    load("fsspec")
    url = text.rstrip("/")
    try:
        fsspec_core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        reason = type(error).__name__ if "@" in text else brief(error)  # which may have a password
        raise UserError(f"{shown(text)} cannot be opened: {reason}") from None
    return RemotePath(url)


@contextmanager
def _os_errors(place: RemotePath, reading: bool = False) -> Iterator[None]:
    """Errors of libraries of stores have no base of their own; the system's are passed on, with the place.

    Args:
        place: that is asked.
        reading: a file. Reasons why one cannot be read stand in manifests, where its name may be a pseudonym,
            and libraries put the name into what they say: that is left out then.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        kinds = (number for kind, number in NUMBERS.items() if isinstance(error, kind))
        number = error.errno or next(kinds, None)
        if reading:
            reason = os.strerror(number) if number else type(error).__name__
        else:
            reason = error.strerror or (type(error).__name__ if _has_secrets(place.url) else brief(error))
        # Python picks the type by the number; that of a library may be made in another way
        raise OSError(number or errno.EIO, reason, str(place)) from None
    except Exception as error:
        hidden = reading or _has_secrets(place.url)
        raise OSError(errno.EIO, type(error).__name__ if hidden else typed(error), str(place)) from None


def _has_secrets(url: str) -> bool:
    """Whether an address may have some, which libraries put into what their errors say."""
    return shown(url) != url
