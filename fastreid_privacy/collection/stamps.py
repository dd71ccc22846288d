"""Which raw file each protected one was made from, so that one that was replaced under its name is noticed.

A stamp is a short keyed hash of the raw file's size and time of modification. It tells neither of them, but
who holds the raw files, with their times, could tell by it which one became which. So it is no part of the
manifest: the journal has it while a run is unfinished, then a hidden file that only its owner may read.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable

from ..core.errors import UserError
from ..core.files import read_file, write_whole
from ..core.json_text import parse_json
from ..core.members import Readable
from ..core.remote import Place, there
from ..manifest import line

STAMPS = ".sources.jsonl"  # in the output folder of a finished run; not to be given out with it
STAMP = "stamp"  # of a file's line in the journal; lines of older versions have none
KIND = {"kind": "fastreid_privacy sources", "schema": 1}
DIGITS = 8  # hexadecimal; 32 bits

Stamper = Callable[[str, Readable], str | None]
"""The path of a protected file and that of its raw file to the stamp; None where there is no raw file."""


def stamper(key: bytes | None) -> Stamper:
    """What makes the stamps of a collection.

    Args:
        key: of the pseudonyms, where there are any: without it nobody can tell a file by its stamp.
    """

    def stamp(path: str, source: Readable) -> str | None:
        try:
            about = source.stat()
        except OSError:
            return None
        text = line([path, about.st_size, about.st_mtime_ns])
        return hmac.digest(key or b"", text, "sha256").hex()[:DIGITS]

    return stamp


def read_stamps(folder: Place) -> dict[str, str]:
    """The stamps that a finished run has left, by path; none in a folder of an older version.

    Raises:
        UserError: when the file is damaged or cannot be read.
    """
    path = folder / STAMPS
    if not there(path):
        return {}
    try:
        first, *rest = map(parse_json, read_file(path).splitlines())
        if first != KIND:
            raise ValueError("it is no such file of this version")
        return {record["path"]: record[STAMP] for record in rest}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}): raw files that were replaced cannot be told. Delete it, and they "
            "are taken as they are now"
        ) from None


def write_stamps(folder: Place, entries: Iterable[dict]) -> None:
    """Keep the stamps of a run that ends, and take them out of the entries, which go into the manifest.

    Args:
        folder: of the protected files.
        entries: of its files.
    """
    stamps = {entry["path"]: stamp for entry in entries if (stamp := entry.pop(STAMP, None))}
    if stamps:
        records = [KIND, *({"path": path, STAMP: stamps[path]} for path in sorted(stamps))]
        write_whole(folder / STAMPS, b"".join(map(line, records)), private=True)
