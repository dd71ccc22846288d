"""The one file that an index is kept in: a ZIP archive of index.json and index.faiss.

index.json holds everything but the features; index.faiss is as FAISS writes it. One file cannot be torn
apart, ZIP's checksums show damage before FAISS reads anything, and nothing in it is code.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import faiss

from ..core.errors import UserError
from ..core.files import write_atomically
from .index import KINDS, GalleryIndex

VERSION = 1
FIELDS = ("kind", "metric", "paths", "fingerprint", "protected", "left_out", "settings", "measured")


def write_index(index: GalleryIndex, path: str | Path) -> None:
    """Write an index, whole or not at all; an existing file is replaced, missing folders are made.

    Features are biometric data, so only the owner may read it.

    Raises:
        UserError: when the file cannot be written.
    """
    path = Path(path)
    described = {name: getattr(index, name) for name in FIELDS}
    described.update(version=VERSION, dimension=index.searched.d, root=str(index.root))

    def write(file) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("index.json", json.dumps(described))
            with archive.open("index.faiss", "w", force_zip64=True) as member:
                writer = faiss.PyCallbackIOWriter(member.write)  # type: ignore[attr-defined]
                faiss.write_index(index.searched, writer)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write, private=True)
    except (OSError, RuntimeError) as error:  # FAISS makes a RuntimeError of a full disk, too
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"index {path} cannot be written: {reason}") from None


def read_index(path: str | Path) -> GalleryIndex:
    """Read an index file.

    Raises:
        UserError: when it is missing, damaged, of another program or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"index {path} does not exist; build it first: python tools/retrieve.py build")
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            if broken:
                raise UserError(
                    f"index {path} is damaged (the checksum of {broken} is wrong): build it again"
                )
            described = json.loads(archive.read("index.json"))
            if described["version"] != VERSION:
                raise UserError(
                    f"index {path} is of version {described['version']}; this program reads version "
                    f"{VERSION}: build it again"
                )
            with archive.open("index.faiss") as member:
                reader = faiss.PyCallbackIOReader(member.read)  # type: ignore[attr-defined]
                searched = faiss.read_index(reader)
        fields = {name: described[name] for name in FIELDS}
        index = GalleryIndex(searched, root=Path(described["root"]), **fields)
        dimension = described["dimension"]
    except UserError:
        raise
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} is damaged or no index of tools/retrieve.py ({type(error).__name__}: {error})"
        ) from None
    if (searched.ntotal, searched.d) != (len(index.paths), dimension) or index.kind not in KINDS:
        raise UserError(
            f"index {path} contradicts itself: {len(index.paths)} paths and {dimension} dimensions in "
            f"index.json, {searched.ntotal} and {searched.d} in index.faiss: build it again"
        )
    return index
