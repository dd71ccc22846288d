"""Files that take the place of others: a run that is killed half-way is finished by the next one.

A protected file and what lies beside it cannot be replaced in one moment. So all of them are written first,
with their line, to one hidden file. The next run puts what it finds there in its places, whatever became of
the raw file since: else a new sealed original could stay beside an old picture, and no line would tell of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from functools import partial

from ..core.errors import UserError
from ..core.files import read_file, relative_path, write_whole
from ..core.json_text import parse_json
from ..core.remote import Place
from ..manifest import all_names, line, sums_of

STAGED = ".staged"  # end of a file's name in the folder of an unfinished run


def put(output: Place, path: str, contents: Mapping[str, bytes]) -> None:
    """Write a protected file and what lies beside it.

    Args:
        output: folder.
        path: of the protected file, which is written last.
        contents: by name.
    """
    (output / path).parent.mkdir(parents=True, exist_ok=True)
    for name in sorted(contents, key=path.__eq__):
        write_whole(output / name, contents[name])


def put_anew(output: Place, path: str, contents: Mapping[str, bytes]) -> None:
    """As :func:`put`, in the place of others: what they had beside them is removed."""
    put(output, path, contents)
    for name in {*all_names(path)} - {*contents}:
        (output / name).unlink(missing_ok=True)


def stage(folder: Place, entry: dict, contents: Mapping[str, bytes]) -> None:
    """Keep files that are to take the place of others until their line is in the journal.

    Args:
        folder: for staged files, of an unfinished run.
        entry: their line.
        contents: by name.
    """
    about = {"entry": entry, "lengths": {name: len(content) for name, content in contents.items()}}
    folder.mkdir(exist_ok=True)
    whole = b"".join([line(about), *contents.values()])
    write_whole(_file(folder, entry["path"]), whole, sync=True, private=True)


def put_staged(folder: Place, output: Place, withheld: Container[str]) -> dict[str, dict]:
    """Put all that a killed run has staged in its places; it stays there until it is forgotten.

    Args:
        folder: of staged files.
        output: folder.
        withheld: paths of files that are not to come back.

    Returns:
        Their lines, by path.

    Raises:
        UserError: when a staged file is damaged.
    """
    entries = {}
    for file in [*folder.iterdir()] if folder.is_dir() else []:
        if file.name.endswith(STAGED):
            entry, contents = _read(file)
            if entry["path"] not in withheld:
                put_anew(output, entry["path"], contents)
                entries[entry["path"]] = entry
    return entries


def _read(file: Place) -> tuple[dict, dict[str, bytes]]:
    """The line and the contents of a staged file."""
    first, _, rest = read_file(file).partition(b"\n")
    contents = {}
    try:
        about = parse_json(first)
        entry = about["entry"]
        for name, length in about["lengths"].items():
            contents[name], rest = rest[:length], rest[length:]
        told = sums_of(entry)
        if {name: hashlib.sha256(contents[name]).hexdigest() for name in contents} != told:
            raise ValueError("its content is another")
        if not {*contents} <= {*all_names(relative_path(entry["path"]))}:
            raise ValueError("it is of other files")
        return entry, contents
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is damaged ({error}): delete it, and run the same command again") from None


def forget_staged(folder: Place, paths: Iterable[str]) -> None:
    """Delete what was staged; lines tell of it by now.

    Args:
        folder: of staged files.
        paths: of protected files.
    """
    for file in map(partial(_file, folder), paths):
        file.unlink(missing_ok=True)


def _file(folder: Place, path: str) -> Place:
    return folder / (hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:32] + STAGED)
