"""Sealed originals back to the raw files, byte for byte: from files beside the protected ones, or in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tqdm import tqdm

from ..core.errors import UserError, named
from ..core.files import HOPELESS, file_hash, make_folder, read_regular, remove_unfinished, write_atomically
from ..core.folders import ENDINGS, images_below
from ..core.lock import locked
from ..core.members import TarMember
from ..core.packed import Folder, PackedFolder
from ..core.regular import open_regular
from ..keys.envelope import Fitted, Original, open_sealed
from ..keys.pairs import PrivateKey, recipient
from ..keys.streaming import SealedFile, open_sealed_file
from ..manifest import MANIFEST, SEALED
from .carriers import ARRAY, originals_in
from .output import unwritten
from .recover import ProtectedFolder, read_protected
from .source import check_apart, targets

NOT_WRITTEN = "it does not open: it is not what was written, for its SHA-256 differs from the manifest's"


class Opened(NamedTuple):
    """What was opened.

    Attributes:
        number: how many originals.
        failed: reasons for what was not, by the path of the file that should hold it.
        fitted: how originals were encoded that are not the raw files themselves, by their names.
    """

    number: int
    failed: dict[str, str]
    fitted: dict[str, Fitted]


class _Found(NamedTuple):
    """A file that was looked at: its path, the original in it or the reason why there is none.

    ``listed``: whether the manifest says that it holds an original of its own, which no other file holds.
    """

    path: str
    original: Original | SealedFile | UserError
    listed: bool


def unseal_collection(folder: str | Path, output: str | Path, identity: PrivateKey) -> Opened:
    """Open every sealed original of a folder; the files get the names that they had.

    Files that carry their originals need no manifest: all images of the folder, and arrays, are looked at,
    whatever they are called. A copy of one is no harm.

    Anybody who has the public key can seal. So a sealed file beside a protected one must be the one that the
    manifest names and hold a name that its protected file can come from, and no two may hold one name. What
    is there already stays.

    Args:
        folder: what was protected with ``--seal``, or any folder of protected files that carry originals, or
            one such file.
        output: folder for the raw files.
        identity: the private key.

    Raises:
        UserError: when the folder's manifest says that there are no sealed originals or that they were sealed
            to another key, there is nothing to look at, or the output folder lies in the protected one,
            cannot be made, or another run writes to it; or when a full or read-only disk ends the run.
    """
    folder, output = Path(folder), Path(output)
    protected = None if folder.is_file() or _carries_alone(folder) else read_protected(folder)
    if protected:
        _check_sealed(protected, identity)
    names, failed = _names_below(folder, protected)
    if folder.is_dir():
        check_apart(folder, output)
    make_folder(output)
    found: dict[str, str] = {}  # the name of an original → the file that holds it
    opened: dict[str, Fitted | None] = {}
    cleaned: set[Path] = set()
    looked_at = _looked_at(folder, protected, names, identity)
    in_use = f"another run writes to --output {output}; wait for its end, or choose another folder"
    with locked(output, in_use):
        for path, original, listed in tqdm(looked_at, unit=" images", desc="opening", disable=None):
            try:
                if isinstance(original, UserError):
                    raise original
                first = found.setdefault(original.name, path)
                if first != path and listed:
                    raise UserError(f"it holds {original.name}, and so does {first}")
                target = output / original.name
                _write(target, original, cleaned)
                opened[original.name] = original.fitted
            except UserError as error:
                failed[path] = str(error)
            except OSError as error:  # of writing: what reading says is a UserError
                if error.errno in HOPELESS:
                    raise unwritten(error, target) from None
                failed[path] = f"{target} cannot be written: {error.strerror or error}"
    if protected:
        failed.update({path: why for path, why in _missing(protected, found).items() if path not in failed})
    return Opened(len(opened), failed, {name: how for name, how in opened.items() if how})


def _carries_alone(folder: Path) -> bool:
    """Whether a folder has no manifest but other files, which may carry their originals."""
    return folder.is_dir() and not (folder / MANIFEST).exists()


def _check_sealed(protected: ProtectedFolder, identity: PrivateKey) -> None:
    """Refuse a folder without sealed originals, or with those of other owners."""
    header, entries = protected.manifest.header, protected.manifest.entries.values()
    if not header["sealed"] or any(not {"sealed", "carried"} & set(entry) for entry in entries):
        raise UserError(f"{protected.folder} holds no sealed originals: it was protected without --seal")
    whose, here = header.get("recipient"), recipient(identity.public_key)
    if whose is not None and here not in whose.split(", "):  # older manifests do not say
        raise UserError(
            f"{protected.folder} was sealed to the key with the fingerprint {whose}; this private key belongs"
            f" to {here}: take the one of that owner"
        )


def _names_below(folder: Path, protected: ProtectedFolder | None) -> tuple[list[str], dict[str, str]]:
    """The files that may carry originals, and what could not be searched."""
    if folder.is_file():
        return [folder.name], {}
    if protected and "carry" not in protected.manifest.header:
        return [], {}
    entries = protected.manifest.entries if protected else {}
    if protected and isinstance(protected.files, PackedFolder):
        return [path for path, entry in entries.items() if "sealed" not in entry], {}
    endings = (*ENDINGS, ARRAY, SEALED)
    paths, _, unread = images_below(folder, f"--input {folder}", endings=endings, foreign=False)
    beside = {
        name for entry in entries.values() if "sealed" in entry for name in (entry["path"], entry["sealed"])
    }
    return [path for path in paths if path not in beside], dict(unread)


def _looked_at(
    folder: Path, protected: ProtectedFolder | None, names: list[str], identity: PrivateKey
) -> Iterator[_Found]:
    """What is in each file."""
    for entry in protected.manifest.entries.values() if protected else ():
        if protected and "sealed" in entry:
            yield _Found(entry["sealed"], _beside(protected, entry, identity), True)
    alone = folder.parent if folder.is_file() else folder
    root: Folder = protected.files if protected else alone
    for name in names:
        if name.endswith(SEALED):
            yield _Found(name, UserError(f"the {MANIFEST} that names it is needed: put it back"), True)
            continue
        for path, original in originals_in(root / name, name, identity):
            yield _Found(path, original, False)


def _beside(
    protected: ProtectedFolder, entry: dict, identity: PrivateKey
) -> Original | SealedFile | UserError:
    """The raw file in an entry's sealed one, or why it is not the one that was written or does not open."""
    try:
        sealed = protected.files / entry["sealed"]
        if isinstance(sealed, TarMember):
            return _named(protected, entry, _in_tar(sealed, entry, identity))
        assert isinstance(sealed, Path)  # stores are refused before
        with open_regular(sealed) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sealed_sha256"]:
                raise UserError(NOT_WRITTEN)
        return _named(protected, entry, open_sealed_file(sealed, identity))
    except UserError as error:
        return error
    except MemoryError:  # of version 1, which opens as a whole
        return UserError("there is not enough memory for it (about three times its size)")
    except OSError as error:
        return UserError(f"it cannot be read: {error.strerror}")


def _in_tar(sealed: TarMember, entry: dict, identity: PrivateKey) -> Original:
    content = read_regular(sealed)
    if hashlib.sha256(content).hexdigest() != entry["sealed_sha256"]:
        raise UserError(NOT_WRITTEN)
    return open_sealed(content, identity)


def _named(
    protected: ProtectedFolder, entry: dict, original: Original | SealedFile
) -> Original | SealedFile | UserError:
    """An original whose name its protected file can come from."""
    name, path = original.name, PurePosixPath(entry["path"])
    # without the key of the pseudonyms, nobody can tell the name behind one
    if not protected.manifest.header["pseudonyms"] and targets([name], path.suffix)[name] != str(path):
        return UserError(f"it holds {name}, from which {path} cannot come")
    return original


def _missing(protected: ProtectedFolder, found: dict[str, str]) -> dict[str, str]:
    """Files of the manifest whose originals were found nowhere; of pseudonyms, those that may be to blame.

    Args:
        protected: the folder.
        found: the names of originals, and the files that hold them.
    """
    entries = protected.manifest.entries
    carried = [path for path, entry in entries.items() if "carried" in entry]
    if protected.manifest.header["pseudonyms"]:  # which do not tell the names of originals
        enough = len(found) >= len(entries)
        there = set(carried if enough else found.values())
    else:
        stems = {PurePosixPath(name).with_suffix("") for name in found}
        there = {path for path in carried if PurePosixPath(path).with_suffix("") in stems}
    reason = "its original was not found, neither in this file nor in another"
    return {path: reason for path in carried if path not in there}


def _write(target: Path, original: Original | SealedFile, cleaned: set[Path]) -> None:
    """Write a raw file.

    Args:
        target: its path.
        original: what it is to hold.
        cleaned: folders from which the parts of raw files are gone that killed runs have left; one is added.

    Raises:
        UserError: the reason, when another file of its name is there, or the sealed one cannot be read.
        OSError: when it cannot be written.
    """
    if target.parent not in cleaned:
        remove_unfinished(target.parent)
        cleaned.add(target.parent)
    if target.exists():
        with named(target):
            there = file_hash(target)
        if there != _hash(original):
            raise UserError(f"{target} is there already, and is another file")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, lambda file: file.writelines(_pieces(original)), private=True)


def _pieces(original: Original | SealedFile) -> Iterator[bytes]:
    """A raw file's bytes; what the system says of reading them is not taken for a word about writing."""
    try:
        yield from original.pieces()
    except OSError as error:
        raise UserError(f"it cannot be read: {error.strerror or error}") from None


def _hash(original: Original | SealedFile) -> str:
    """SHA-256 of a raw file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for piece in _pieces(original):
        digest.update(piece)
    return digest.hexdigest()
