"""``release.json``: what an export wrote, with the SHA-256 of each file.

A part that is read from a folder with such a list must be the listed file. That finds damage, and a file
that was exchanged alone. Whoever can write to the folder can write the list, too: its own SHA-256, which
``export`` prints, is for the holders to compare, told by another way than the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import UserError
from ..core.files import read_file
from ..core.json_text import parse_json
from ..core.version import __version__

LIST = "release.json"
SCHEMA = 1


def release_list(contents: Mapping[str, bytes], privacy: Mapping[str, str]) -> bytes:
    """The content of ``release.json``.

    Args:
        contents: of the export's files, by name.
        privacy: what it says of the model (``core.privacy.word_of``).
    """
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())}
    about = {"schema": SCHEMA, "format": "fastreid_privacy", "version": __version__, **privacy, "files": sums}
    return (json.dumps(about, indent=2) + "\n").encode()


def compare_with_release(path: str | Path) -> None:
    """Compare a file with the ``release.json`` beside it; without a list, or not listed, it passes.

    Args:
        path: of a file that exists.

    Raises:
        UserError: when it is not the listed file, cannot be read, or the list is damaged.
    """
    path = Path(path)
    listed = path.with_name(LIST)
    if not listed.is_file():
        return
    told = _sums(listed).get(path.name)
    if told is None:
        return
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if found != told:
        raise UserError(
            f"{path} is not the file that {listed} lists: it was damaged or exchanged. Take the release "
            "anew, or move the file to another folder if it is meant to be another"
        )


def read_part(path: str | Path) -> bytes:
    """The content of a part that the user named, compared with its release.

    Raises:
        UserError: as :func:`compare_with_release`.
    """
    content = read_file(path)
    compare_with_release(path)
    return content


def _sums(path: Path) -> dict[str, str]:
    """The SHA-256 of each file, by name."""
    try:
        about = parse_json(read_file(path))
        if about["schema"] != SCHEMA or about["format"] != "fastreid_privacy":
            raise ValueError("it has another format")
        sums = dict(about["files"])
        if not all(isinstance(value, str) for value in sums.values()):
            raise ValueError("its sums are no text")
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged or no list of a release ({error})") from None
    return sums
