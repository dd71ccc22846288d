"""The one lock: a folder that only one run writes to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import UserError
from .remote import Place, RemotePath

POLL_SECONDS = 0.1
_held: set[int] = set()  # descriptors of this process


def _let_go() -> None:
    """In a forked process, as a loader's workers are: they outlive a killed run for seconds."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(folder: Place, in_use: str, *, patience: float = 0.0) -> Iterator[int | None]:
    """Hold a folder for this process, and those that get the descriptor from it, until the last of them ends.

    Processes that it forks do not hold it.

    Args:
        folder: that exists.
        in_use: what the user is told when somebody else holds it.
        patience: seconds to wait for that one: a killed process takes a moment to be gone.

    Yields:
        The descriptor, for ``pass_fds`` of a process that is to hold the folder too; None on systems, and of
        stores, without such locks.

    Raises:
        UserError: ``in_use``.
    """
    if isinstance(folder, RemotePath) or os.name != "posix":  # Windows opens no folders
        yield None
        return
    import fcntl  # not on every system

    descriptor = os.open(folder, os.O_RDONLY)
    _held.add(descriptor)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise UserError(in_use) from None
                time.sleep(POLL_SECONDS)
                continue
            except OSError:
                pass  # some network file systems know no locks: two runs at once are the user's to avoid
            break
        yield descriptor
    finally:
        if descriptor in _held:  # a forked process has closed it already
            _held.remove(descriptor)
            os.close(descriptor)
