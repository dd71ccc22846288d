"""The one file that an index is kept in: a ZIP archive of index.json, index.faiss and their SHA-256 sums.

index.json holds everything but the features; index.faiss is as FAISS writes it. One file cannot be torn
apart, sums show damage, and FAISS reads only bytes that this program could have written (``faiss_bytes``).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

import faiss

from ..core.errors import UserError
from ..core.files import relative_path, remove_unfinished, write_atomically
from ..core.json_text import parse_json
from ..core.lock import locked
from ..evaluation.distances import METRICS
from .faiss_bytes import check_bytes
from .gallery import stored_root
from .index import EFFORT, KINDS, GalleryIndex
from .measure import TIMES

VERSION = 1
MEMBERS = DESCRIPTION, FEATURES, SUMS = "index.json", "index.faiss", "SHA256SUMS"
LARGEST = {DESCRIPTION: 2**29, FEATURES: 2**50, SUMS: 1024}  # bytes; of features, their number says more
LARGEST_DIMENSION, LARGEST_SETTING = 2**16, 2**20
FIELDS = ("kind", "metric", "paths", "fingerprint", "protected", "left_out", "settings", "measured")


def write_index(index: GalleryIndex, path: str | Path) -> None:
    """Write an index, whole or not at all; an existing file is replaced, missing folders are made.

    The same index gives the same bytes: times that were measured are left out. So are secrets of the address
    of a gallery in a store, as :func:`fastreid_privacy.core.remote.shown` does it.

    Features are biometric data, so only the owner may read it.

    Raises:
        UserError: when the file cannot be written.
    """
    path = Path(path)
    described = {name: getattr(index, name) for name in FIELDS}
    measured = {name: value for name, value in index.measured.items() if name not in TIMES}
    described.update(version=VERSION, dimension=index.searched.d, root=str(index.root), measured=measured)

    text, digest = json.dumps(described).encode(), hashlib.sha256()

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(_stored(DESCRIPTION), text)
            with archive.open(_stored(FEATURES), "w", force_zip64=True) as member:

                def write_some(content: bytes) -> int:
                    digest.update(content)
                    return member.write(content)

                writer = faiss.PyCallbackIOWriter(write_some)  # type: ignore[attr-defined]
                faiss.write_index(index.searched, writer)
            archive.writestr(_stored(SUMS), _sums(hashlib.sha256(text), digest))

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            # what a killed process left of features goes; not where they may be of one that holds the folder
            with suppress(UserError, OSError):
                held.enter_context(locked(path.parent, "in use"))
                remove_unfinished(path.parent, [path.name])
            write_atomically(path, write, private=True)
    except (OSError, RuntimeError) as error:  # FAISS makes a RuntimeError of a full disk, too
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"index {path} cannot be written: {reason}") from None


def _stored(name: str) -> zipfile.ZipInfo:
    """Of a member, without a time: the same index is the same file."""
    member = zipfile.ZipInfo(name)
    member.external_attr = 0o600 << 16
    return member


def read_index(path: str | Path) -> GalleryIndex:
    """Read an index file.

    Raises:
        UserError: when it is missing, damaged, of another program or of another version, or forged in a way
            that would have FAISS or a strip open other files, or take memory without bound.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"index {path} does not exist; build it first: python tools/retrieve.py build")
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return _read(archive, os.fstat(file.fileno()).st_size, path)
    except (
        OSError,
        zipfile.BadZipFile,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        struct.error,
    ) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} is damaged or no index of tools/retrieve.py ({type(error).__name__}: {error})"
        ) from None


def _read(archive: zipfile.ZipFile, size: int, path: Path) -> GalleryIndex:
    """The index in an archive of ``size`` bytes."""
    members = {member.filename: member for member in archive.infolist()}
    if sorted(members) == sorted(MEMBERS[:2]):
        raise UserError(f"index {path} is of an older version, without {SUMS}: build it again")
    if len(archive.infolist()) != len(MEMBERS) or set(members) != set(MEMBERS):
        raise ValueError(f"it does not hold {', '.join(MEMBERS)}, and nothing else")
    # stored as they are, so that no small file unpacks to a large one
    if any(item.compress_type or item.file_size > min(size, LARGEST[name]) for name, item in members.items()):
        raise ValueError("a part is compressed, or larger than this program writes it")
    text, sums = _member(archive, DESCRIPTION, path), _member(archive, SUMS, path)
    described = parse_json(text)
    if described["version"] != VERSION:
        raise UserError(
            f"index {path} is of version {described['version']}; this program reads version "
            f"{VERSION}: build it again"
        )
    _check_description(described)
    count, dimension = len(described["paths"]), described["dimension"]
    if members[FEATURES].file_size > count * (8 * dimension + 1024) + 1024 * dimension + 65536:
        raise UserError(
            f"index {path} contradicts itself: {FEATURES} is larger than {count} paths and {dimension} "
            "dimensions ask for: build it again"
        )
    content = _member(archive, FEATURES, path)
    if sums.decode() != _sums(hashlib.sha256(text), hashlib.sha256(content)):
        raise UserError(f"index {path} is damaged (its SHA-256 sums are wrong): build it again")
    found = struct.unpack_from("<iq", content, 4) if len(content) >= 16 else (0, 0)
    if found != (dimension, count):
        raise UserError(
            f"index {path} contradicts itself: {count} paths and {dimension} dimensions in "
            f"index.json, {found[1]} and {found[0]} in index.faiss: build it again"
        )
    check_bytes(content, described["kind"], described["metric"], count, dimension)
    reader = faiss.PyCallbackIOReader(io.BytesIO(content).read)  # type: ignore[attr-defined]
    fields = {name: described[name] for name in FIELDS}
    return GalleryIndex(faiss.read_index(reader), root=stored_root(described["root"]), **fields)


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, EOFError):
        raise UserError(
            f"index {path} is damaged (the checksum of {name} is wrong): build it again"
        ) from None


def _check_description(described: dict) -> None:
    """Refuse an index.json that :func:`write_index` does not write.

    Raises:
        KeyError, ValueError: saying what is wrong.
    """
    kinds: dict[str, type] = {"paths": list, "protected": bool, "left_out": dict, "settings": dict}
    kinds |= {"measured": dict, "kind": str, "metric": str, "fingerprint": str, "root": str, "dimension": int}
    for name, kind in kinds.items():
        if type(described[name]) is not kind:
            raise ValueError(f"{name} of index.json is of a wrong type")
    if described["kind"] not in KINDS or described["metric"] not in METRICS:
        raise ValueError(f"an index of kind {described['kind']} and metric {described['metric']}")
    if not 1 <= described["dimension"] <= LARGEST_DIMENSION or "\0" in described["root"]:
        raise ValueError("a dimension or a folder that there cannot be")
    for name in (*described["paths"], *described["left_out"]):
        relative_path(name)
    effort = EFFORT.get(described["kind"])
    for name, value in described["settings"].items():
        if type(value) is not int or not 1 <= value <= LARGEST_SETTING:
            raise ValueError(f"{name} of index.json is {value}")
    if effort and effort not in described["settings"]:
        raise ValueError(f"index.json lacks {effort}")


def _sums(*hashes: Any) -> str:
    """As sha256sum writes and checks them, of index.json and index.faiss."""
    return "".join(
        f"{digest.hexdigest()}  {name}\n" for digest, name in zip(hashes, MEMBERS[:2], strict=True)
    )
