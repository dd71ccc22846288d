"""What a long command has finished already, as small JSON files, and the settings under which it did."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import write_whole
from .folders import images_below
from .json_text import json_bytes, json_value, parse_json
from .remote import Place

SETTINGS = "settings.json"
LONGEST_TOLD = 40  # characters of a value in a message


def differing_settings(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """The settings that differ: "KEY theirs → ours", or the key alone where a value is long."""
    return [
        _told(key, theirs.get(key), ours.get(key))
        for key in sorted(ours.keys() | theirs.keys())
        if theirs.get(key) != ours.get(key)
    ]


def keep_settings(
    folder: Path,
    settings: Mapping[str, Any],
    holds: str,
    differing: Callable[[dict[str, Any], dict[str, Any]], list[str]] = differing_settings,
) -> None:
    """Note the settings of a folder's content, where there are none yet; refuse it where they differ.

    Args:
        folder: made where it is missing.
        settings: that must not change between two calls; what JSON can hold.
        holds: what is in it, for the message: "attacks".
        differing: which of the kept settings and the new ones differ, in words.

    Raises:
        UserError: naming the settings that differ, or when their file is damaged.
    """
    file = folder / SETTINGS
    theirs = read_kept(file, "choose another --output")
    if theirs is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_kept(file, settings)
        return
    ours = json_value(settings)
    changed = differing(theirs, ours)
    if changed:
        raise UserError(
            f"{folder} has {holds} with other settings ({', '.join(changed)}): choose another --output"
        )


def stamp_of(path: Path) -> str:
    """What tells that a file, or one of a folder's images, is another one, without reading it: 64 hex digits.

    Links are followed, as by whoever reads the images; of one that leads nowhere, that counts.

    Raises:
        UserError: when a folder holds no image.
    """
    stamp = hashlib.sha256()
    if not path.is_dir():
        stamp.update(stamp_line(".", path))
        return stamp.hexdigest()
    for file in sorted(path / name for name in images_below(path, f"folder {path}").paths):
        name = str(file.relative_to(path))
        try:
            stamp.update(stamp_line(name, file))
        except OSError as error:
            stamp.update(f"{name} {error.strerror}\n".encode("utf-8", "surrogateescape"))
    return stamp.hexdigest()


def stamp_line(name: str, file: Place) -> bytes:
    """What tells that the file of a name is another one, without reading it."""
    about = file.stat()
    return f"{name} {about.st_size} {about.st_mtime_ns}\n".encode("utf-8", "surrogateescape")


def _told(key: str, theirs: Any, ours: Any) -> str:
    """A setting that differs: with both values, where they are short."""
    values = [json.dumps(value) for value in (theirs, ours)]
    return key if max(map(len, values)) > LONGEST_TOLD else f"{key} {values[0]} → {values[1]}"


def kept(file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a file holds; it is made first where it is not there.

    Raises:
        UserError: when it is damaged.
    """
    found = read_kept(file)
    if found is None:
        found = make()
        write_kept(file, found)
    return found


def read_kept(
    file: Path, remedy: str = "remove it, and the same command makes it again"
) -> dict[str, Any] | None:
    """The content of a file; None where there is none.

    Raises:
        UserError: with the remedy, when it is damaged.
    """
    try:
        return dict(parse_json(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        raise UserError(f"{file} is damaged; {remedy}") from None


def write_kept(file: Path, content: Mapping[str, Any]) -> None:
    """Write a file, whole or not at all.

    Raises:
        ValueError: for numbers that are not finite.
    """
    write_whole(file, json_bytes(content, allow_nan=False))
