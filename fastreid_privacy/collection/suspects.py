"""Files of an earlier run that may not be all that a run makes now: compared, made again, or named.

A raw file may have been replaced since, and part of what was written may have been taken away.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import NamedTuple

from ..core.members import Readable
from ..core.packed import Folder
from ..core.remote import Place
from ..manifest import Manifest, files_of, names_of, unchanged
from .output import changed
from .stamps import STAMP, Stamper, read_stamps
from .work import Work

ANEW = "--renew protects it anew, and replaces what was written"
REPLACED = f"its raw file was replaced since it was protected (size or time differ); {ANEW}"
PERHAPS_REPLACED = (
    "its raw file was replaced since it was protected, or only copied or touched (size or time differ; of "
    f"noise and of what is sealed no more can be told); {ANEW}"
)
BEREFT = (
    "what lay beside it (.sealed, .template) is not there any more, and the same picture cannot be made "
    f"again: put it back; or {ANEW}"
)


class Suspects(NamedTuple):
    """Such files, by their paths.

    Attributes:
        lines: of all.
        refused: why some are not made again.
        leaving: those of the others that are to take the place of what is there.
    """

    lines: dict[str, dict]
    refused: dict[str, str]
    leaving: set[str]


def suspects_of(
    output: Place, earlier: Manifest, done: Mapping[str, dict], sources: Mapping[str, Readable], work: Work
) -> Suspects:
    """Which files are not known to be what a run makes, though what is there of them is what was written.

    Args:
        output: folder.
        earlier: what an earlier run has left there.
        done: of :func:`.output.still_there`; they get the stamps of their raw files.
        sources: the raw file of each.
        work: what is done.

    Raises:
        UserError: when what is there of a file was changed.
    """
    parts = _parts(output, earlier, done)
    lines = {**{path: earlier.entries[path] for path in parts}, **done}
    others = replaced(output, lines, sources, work.stamp)
    suspects = {path: lines[path] for path in dict.fromkeys([*others, *parts])}
    if work.renew:
        return Suspects(suspects, {}, {*suspects})
    refused = _not_again(suspects, parts, set(others), work)
    return Suspects(suspects, refused, parts.keys() - refused.keys())


def _parts(output: Place, earlier: Manifest, done: Mapping[str, dict]) -> dict[str, set[str]]:
    """Of files of which a part was taken away, the names that are still there, by path."""
    folder: Folder = files_of(output, earlier.entries.values())
    parts = {}
    for path, entry in earlier.entries.items():
        if path in done:
            continue
        if left := {name for name in names_of(entry) if (folder / name).exists()}:
            parts[path] = left
        if not unchanged(folder, entry, left):
            raise changed(output, entry)
    return parts


def replaced(
    output: Place, done: Mapping[str, dict], sources: Mapping[str, Readable], stamp: Stamper | None
) -> list[str]:
    """Which files were made from a raw file that is another one now, by its size or time.

    A file of an older version has no stamp, and gets that of its raw file as it is now.

    Args:
        output: folder.
        done: entries of an earlier run; they get their stamps.
        sources: the raw file of each.
        stamp: None: raw files are not looked at.
    """
    if stamp is None:
        return []
    kept, others = read_stamps(output), []
    for path, entry in done.items():
        now = stamp(path, sources[path])
        then = entry.setdefault(STAMP, kept.get(path, now))
        if now != then:
            others.append(path)
    return others


def _not_again(
    suspects: Mapping[str, dict], parts: Mapping[str, set[str]], others: Set[str], work: Work
) -> dict[str, str]:
    """Why some suspects are not made again, to be compared with what is there."""
    refused = {}
    for path, entry in suspects.items():
        there = parts.get(path, {*names_of(entry)})
        if path not in others:  # of the same raw file, what was taken away is made again
            if not work.repeatable and path in there:
                refused[path] = BEREFT
            continue
        carried = "carried" in entry or "template_carried" in entry
        # nothing tells whose what is sealed is, and an original of the raw file before is not to be lost
        sealed = work.sealed and (carried or path not in parts or entry.get("sealed") in there)
        if sealed or not work.repeatable:
            refused[path] = PERHAPS_REPLACED
    return refused
