"""A file inside of a tar, known by where its bytes lie, so that it is read alone."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .regular import open_regular
from .remote import About, Place, RemotePath, there


@dataclass(frozen=True)
class TarMember:
    """A file inside of a tar that is not compressed.

    Attributes:
        tar: that holds it.
        start: of its content, in bytes.
        about: its size, and the time of the tar's last change.
        damage: why it cannot be read; "" where it can.
    """

    tar: Place
    start: int
    about: About
    damage: str = ""

    def stat(self) -> About:
        """Size and time, as long as the tar is there.

        Raises:
            OSError: when it is not.
        """
        self._check()
        self.tar.stat()
        return self.about

    def exists(self) -> bool:
        """Whether its tar is there."""
        return there(self.tar)

    def read_bytes(self) -> bytes:
        """The content.

        Raises:
            OSError: when the tar cannot be read, or ends before.
        """
        self._check()
        end = self.start + self.about.st_size
        if isinstance(self.tar, RemotePath):
            content = self.tar.read_part(self.start, end)
        else:
            try:
                with open_regular(self.tar) as file:
                    file.seek(self.start)
                    content = file.read(self.about.st_size)
            except UserError as error:
                raise OSError(errno.EIO, f"of its tar: {error}", str(self.tar)) from None
        if len(content) != self.about.st_size:
            raise OSError(errno.EIO, "its tar ends before it", str(self.tar))
        return content

    def _check(self) -> None:
        if self.damage:
            raise OSError(errno.EIO, self.damage, str(self.tar))


Readable = Path | RemotePath | TarMember
"""A file of this machine, of a store, or inside of a tar."""


def container(readable: Readable) -> Place:
    """What has to be there for a file to be read: itself, or its tar."""
    return readable.tar if isinstance(readable, TarMember) else readable
