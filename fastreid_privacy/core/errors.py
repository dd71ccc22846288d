"""What goes wrong on the user's side: one message that names the item and the fix, and no traceback."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

NAMED = 20  # lines or names of a list that a message shows
AT = "at "  # begins the note of an error that says at which files it happened
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class UserError(RuntimeError):
    """A mistake in the user's config, data or files.

    The command-line tools print the message after ``error:`` and leave with exit code 2. What can be found
    before training is found before anything is trained or written (``preflight``); what shows only while
    running, as an image that cannot be decoded or a loss that diverges, leaves the checkpoints written by
    then for ``--resume``.
    """


def user_message(error: Exception) -> str:
    """The message of a user error, also when it comes out of a loader's worker, wrapped in its traceback."""
    return re.split(r"(?:UserError|TrainingDiverged): ", str(error))[-1].strip()


def brief(error: BaseException) -> str:
    """What an exception says, in one line of 200 characters at most; its type, where it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def typed(error: BaseException) -> str:
    """An exception's type and what it says, as ``KeyError: 'model'``, in one line."""
    return type(error).__name__ + (f": {brief(error)}" if str(error).strip() else "")


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception of whatever library says that there is no memory left."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    words = r"out of memory|not enough memory|insufficient memory|(can't|unable to|cannot) allocate|bad_alloc"
    return isinstance(error, RuntimeError | OSError) and re.search(words, str(error).lower()) is not None


def as_unicode(text: str) -> str:
    """A text that every page and file takes: what is no Unicode in a file's name as Python writes it."""
    return text.encode("utf-8", "backslashreplace").decode()


def one_line(name: object) -> str:
    """A file's name in one line: line breaks, other control characters and what is no Unicode are escapes."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), as_unicode(str(name)))


def say(text: str, stream: TextIO | None = None) -> None:
    """Print to standard error or another stream.

    File names that are no Unicode are shown with escapes, and so are control characters but line breaks:
    some of them tell a terminal to do things. Names get their line breaks escaped by :func:`one_line`.
    """
    stream = stream or sys.stderr
    encoding = stream.encoding or "utf-8"
    text = "\n".join(map(one_line, text.split("\n")))
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def to_mend(error: Exception) -> str | None:
    """What is said of an error that the user has to mend; None: nobody expected it.

    Args:
        error: a UserError, one of the system, a zero byte in a file's name, or the end of the memory.
    """
    if isinstance(error, UserError):
        return user_message(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'writing'}: {error.strerror or error}"
    if isinstance(error, ValueError) and ("null byte" in str(error) or "null character" in str(error)):
        return "a file's name has a zero byte, which no system takes: name another file"
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):
        return f"{brief(error)}; name the file itself"  # of Path.resolve, before Python 3.13
    if out_of_memory(error):
        return (
            f"there is not enough memory ({brief(error)}); let it do less at a time where there is "
            "--batch-size or --workers, or end other programs"
        )
    return None


def exit_code(action: Callable[[], object], interrupted: str, os_errors: bool = True) -> int:
    """Do what a command does and say on standard error what went wrong.

    Args:
        action: the command.
        interrupted: what is said after Ctrl-C.
        os_errors: whether the system's errors are the user's to mend, too: a full disk, a name that is too
            long, a folder that may not be written to.

    Returns:
        0; 2 after ``error: …`` where the user has to mend something; 130 after Ctrl-C.
    """
    try:
        action()
    except KeyboardInterrupt:
        say(interrupted)
        return 130
    except Exception as error:
        told = to_mend(error)
        if told is None or (isinstance(error, OSError) and not os_errors):
            raise
        say(f"error: {told}")
        return 2
    return 0


def some_of(names: Sequence[str], shown: int = 4, between: str = ", ") -> str:
    """The first few names, and how many more there are."""
    return " ".join([between.join(names[:shown]), *_more(names, shown)])


def first_of(lines: Sequence[str], shown: int = NAMED) -> list[str]:
    """The first of many lines, without line breaks of their own, and how many more there are."""
    return [*map(one_line, lines[:shown]), *_more(lines, shown)]


def _more(lines: Sequence[str], shown: int) -> list[str]:
    return [f"and {len(lines) - shown:,} more"] if len(lines) > shown else []


@contextmanager
def named(name: object) -> Iterator[None]:
    """A user's error in here gets the name of what it is about in front: of a file, of a method."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


@contextmanager
def told_with(names: Sequence[str]) -> Iterator[None]:
    """What nobody expected gets a note of the files at which it happened, unless it has a nearer one."""
    try:
        yield
    except Exception as error:
        told = any(note.startswith(AT) for note in getattr(error, "__notes__", ()))
        if not isinstance(error, UserError) and not told:
            error.add_note(AT + some_of(names))
        raise
