"""What a run over images has written, as JSON lines: the manifest of a finished run, a killed one's journal.

Line 1 says what the files were made by; then one line for each file, sorted by path: ``path``, ``width`` and
``height`` of the raw image, ``size`` in bytes and ``sha256`` of the written file; or ``path`` and ``failed``,
the reason. The last line counts both, and has the ``sha256`` of all lines before it. A journal has no last
line: there each line has ``sum``, 16 digits of its own SHA-256, and ``stamp`` (``collection.stamps``). Older
files have no checksums.

Where originals are sealed, line 1 has ``recipient``, the fingerprints of the keys that open them (older files
have none), and ``carry``, where they are to be, unless that is beside the protected files. A file's line has
``sealed`` and ``sealed_sha256`` where the original lies beside it; or ``carried``, where in the file it is,
with ``planes`` in pixels, and ``fitted`` where it was encoded anew (``keys.envelope.Fitted``).

Where templates are sealed, line 1 has ``search``, the fingerprints of the keys that open them, and ``reid``,
that of the Re-ID model. A file's line has ``template`` and ``template_sha256`` where the template lies beside
it, or ``template_carried``, where in the file it is.

Where the guard held each image to the thresholds, line 1 has ``guard``, both, and a file's line ``kept``: the
share of the anonymizer's image that is in it, 0 to 1; of a video a list, one for each of its boxes.

Where files lie in tar files, line 1 has ``tars``: how many images each holds at least, but for the last one,
and how many the collection has; and a file's line ``tar``, the name of the one in which it lies under its
``path``, with what belongs beside it.

A video's line also has what ``video.records`` says, and ``audit`` with ``audit_sha256``, the log beside it.

Of an operator that describes itself (``desensitize.description``), line 1 has ``operator``, what its images
depend on, and the last line ``account``, what it accounts for over all files.

Neither raw pixels nor hashes of raw files are in it: a hash would tell who holds a raw image that it is in
the collection.

Of a data set by its name, line 1 also has ``dataset``, its name, and ``label_prefix``, what stands before
numbers in the training items of fastreid (``market1501_``); and each file has ``labels``: [part, identity,
camera] of each item that shows it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .core.errors import UserError
from .core.files import LARGEST_INPUT, file_hash, read_regular, relative_path, write_atomically
from .core.images import LARGEST
from .core.json_text import parse_json
from .core.packed import Folder, PackedFolder
from .core.remote import Place
from .core.tars import is_tars

MANIFEST = "manifest.jsonl"
JOURNAL = ".manifest.journal"
SEALED = ".sealed"  # end of the name of a sealed original, after the protected file's name
TEMPLATE = ".template"  # likewise of a sealed template
AUDIT = ".audit.jsonl"  # likewise of a video's audit log
BESIDE = {"sealed": SEALED, "template": TEMPLATE, "audit": AUDIT}  # by the word for it in a file's line
FORMAT = "fastreid_privacy collection"
SUM = "sum"  # of a journal's line
GUARD = "guard"  # of line 1: the thresholds that each image holds
OPERATOR = "operator"  # of line 1: what the images of an operator that describes itself depend on
ACCOUNT = "account"  # of the last line: what it accounts for over all files
KEPT = "kept"  # of a file's line: the share of the anonymizer's image that the guard left
TARS, TAR = "tars", "tar"  # of line 1: images of each tar file and of all; of a file's line: its tar file
LIVE = "live"  # of line 1: the videos are parts of a live input
PARTS = ("train", "query", "gallery")  # of a data set


@dataclass
class Manifest:
    """A read manifest.

    Attributes:
        header: what the files were made by.
        entries: of the files that were written, by path.
        failed: reasons, by path.
        complete: whether the run that wrote it came to its end.
        account: what its operator accounts for over all files; {} where it accounts for nothing.
    """

    header: dict
    entries: dict[str, dict]
    failed: dict[str, str]
    complete: bool
    account: Mapping[str, object] = field(default_factory=dict)


def read_manifest(path: str | Place, *, torn: bool = False) -> Manifest:
    """Read a manifest or a journal.

    Args:
        path: of the file.
        torn: whether a last line that is cut off is passed over, as a killed run leaves it.

    Raises:
        UserError: when the file is missing, damaged, or something else.
    """
    path = Path(path) if isinstance(path, str) else path
    try:
        lines = read_regular(path, LARGEST_INPUT).decode("utf-8", "surrogateescape").split("\n")
    except UserError as error:
        reason = str(error).removeprefix("it cannot be read: ")
        raise UserError(
            f"{path} cannot be read ({reason}): is its folder what tools/anonymize.py wrote?"
        ) from None
    manifest = Manifest({}, {}, {}, False)
    try:
        if lines[-1] and not torn:
            raise ValueError("its last line is cut off")
        records = [parse_json(text) for text in lines[:-1]]  # what follows the last line break is not whole
        manifest.header = records[0]
        if manifest.header.get("kind") != FORMAT or manifest.header.get("schema") != 1:
            raise ValueError("it is no manifest of this version")
        for text, record in zip(lines, records, strict=False):
            _check_sum(text, record)
        for place, record in enumerate(records[1:], start=1):
            if "complete" in record:
                if record.get("sha256", above := _sha256_of(lines[:place])) != above:
                    raise ValueError("the checksum in its last line is wrong")
                manifest.complete = record["complete"] == [len(manifest.entries), len(manifest.failed)]
                manifest.account = dict(record.get(ACCOUNT, {}))
            elif "failed" in record:
                manifest.failed[record["path"]] = record["failed"]
            else:
                _check(record)
                manifest.entries[record["path"]] = record
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged or no manifest ({error})") from None
    return manifest


def _sha256_of(lines: Sequence[str]) -> str:
    """Of lines of a manifest, as :func:`write_manifest` writes it into the last one."""
    return hashlib.sha256(
        "".join(f"{text}\n" for text in lines).encode("utf-8", "surrogateescape")
    ).hexdigest()


def _check_sum(text: str, record: dict) -> None:
    """Compare a journal's line with the sum that it carries, which is taken off the record.

    Raises:
        ValueError: when it is another.
    """
    told = record.pop(SUM, None)
    if told not in (None, _sum(record)):
        raise ValueError(f"the checksum of the line {text[:60]!r} is wrong")


def _check(record: dict) -> None:
    """Refuse what no run has written: it may be somebody else's, and recovery writes where its paths say.

    Raises:
        ValueError: saying what is wrong with the line.
    """
    relative_path(record["path"])
    for word, ending in BESIDE.items():
        relative_path(record.get(word, record["path"]))
        if record.get(word, record["path"] + ending) != record["path"] + ending:
            what = "sealed original" if word == "sealed" else word
            raise ValueError(f"the line of {record['path']} has another's {what}, {record[word]}")
    sums = {f"{word}_sha256" for word in BESIDE if word in record}
    if lacking := {"size", "sha256", "width", "height", *sums} - set(record):
        raise ValueError(f"the line of {record['path']} lacks {', '.join(sorted(lacking))}")
    sides = record["width"], record["height"]
    if not all(type(side) is int and side > 0 for side in sides) or sides[0] * sides[1] > LARGEST:
        raise ValueError(f"the line of {record['path']} has a size of {sides[0]} × {sides[1]}")
    if "fitted" in record and not isinstance(record["fitted"]["psnr"], int | float | None):
        raise ValueError(f"the line of {record['path']} has the PSNR {record['fitted']['psnr']!r}")
    if TAR in record and (not is_tars(relative_path(record[TAR])) or "/" in record[TAR]):
        raise ValueError(f"the line of {record['path']} has the tar file {record[TAR]!r}")
    shares = record.get(KEPT, [])
    for share in shares if isinstance(shares, list) else [shares]:
        if type(share) not in (int, float) or not 0 <= share <= 1:
            raise ValueError(f"the line of {record['path']} has the share {share!r} of an image")
    for part, *label in record.get("labels", ()):
        kinds = (int, str) if part == "train" else (int,)  # evaluation reckons with numbers
        known = all(type(value) in kinds and (type(value) is str or abs(value) < 2**63) for value in label)
        if part not in PARTS or len(label) != 2 or not known:
            raise ValueError(f"the line of {record['path']} has the label {[part, *label]}")


def line(record: dict | list) -> bytes:
    """One line of a manifest."""
    return json.dumps(record, ensure_ascii=True, sort_keys=False).encode() + b"\n"


def journal_line(record: dict) -> bytes:
    """One line of a journal, with its checksum: a damaged one would go into the manifest unseen."""
    return line({**record, SUM: _sum(record)})


def _sum(record: dict) -> str:
    return hashlib.sha256(line(record)).hexdigest()[:16]


def write_manifest(
    folder: Place,
    header: dict,
    entries: Iterable[dict],
    failed: dict[str, str],
    account: Mapping[str, object] | None = None,
) -> None:
    """Write the manifest of a finished run, whole or not at all.

    Args:
        folder: of the files.
        header: what they were made by.
        entries: of the files that were written.
        failed: reasons, by path.
        account: what the operator accounts for over all files.
    """
    reasons = ({"path": path, "failed": reason} for path, reason in failed.items())
    records = sorted([*entries, *reasons], key=lambda record: record["path"])
    lines = [line(record) for record in (header, *records)]
    last: dict = {"complete": [len(records) - len(failed), len(failed)]}
    if account:
        last[ACCOUNT] = dict(account)
    lines.append(line({**last, "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}))
    write_atomically(folder / MANIFEST, lambda file: file.writelines(lines), sync=True)


def names_of(entry: Mapping) -> list[str]:
    """Of an entry's files: the protected one, and what lies beside it."""
    return [entry["path"], *(entry[word] for word in BESIDE if word in entry)]


def sums_of(entry: Mapping) -> dict[str, str]:
    """The SHA-256 of each of an entry's files, by its name."""
    beside = {entry[word]: entry[f"{word}_sha256"] for word in BESIDE if word in entry}
    return {entry["path"]: entry["sha256"], **beside}


def all_names(path: str) -> list[str]:
    """Of all files that may be there of a protected one: itself, and whatever may lie beside it."""
    return [path + ending for ending in ("", *BESIDE.values())]


def files_of(folder: Place, entries: Iterable[Mapping]) -> Folder:
    """A folder whose files are found under the paths of its manifest, in tar files or not.

    Args:
        folder: with the manifest.
        entries: its lines.
    """
    tars = {name: entry[TAR] for entry in entries if TAR in entry for name in names_of(entry)}
    return PackedFolder(folder, tars) if tars else folder


def unchanged(folder: Folder, entry: dict, names: Collection[str] | None = None) -> bool:
    """Whether an entry's file, and what lies beside it, are what was written.

    Args:
        folder: of :func:`files_of`.
        entry: a line of the manifest.
        names: of those of its files that are looked at; None: all.
    """
    sums = sums_of(entry)
    names = sums if names is None else names
    try:
        if entry["path"] in names and (folder / entry["path"]).stat().st_size != entry["size"]:
            return False
        return all(file_hash(folder / name) == sums[name] for name in names)
    except (OSError, UserError):
        return False
