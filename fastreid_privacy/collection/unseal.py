"""Sealed originals back to the raw files, byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from ..core.errors import UserError
from ..core.files import make_folder, read_regular, write_private
from ..keys.envelope import open_sealed
from ..keys.pairs import PrivateKey, recipient
from .recover import ProtectedFolder
from .source import check_apart, targets


def unseal_collection(
    protected: ProtectedFolder, output: str | Path, identity: PrivateKey
) -> tuple[int, dict[str, str]]:
    """Open every sealed original of a protected folder; the files get the names that they had.

    Anybody who has the public key can seal, so each sealed file must be the one that the manifest names and
    hold a name that its protected file can come from; no two may hold one name. What is there already stays.

    Args:
        protected: what was protected with ``--seal``.
        output: folder for the raw files.
        identity: the private key.

    Returns:
        How many were opened, and the reasons for those that were not, by the path of the sealed file.

    Raises:
        UserError: when there are no sealed originals, they were sealed to another key, or the output folder
            lies in the protected one or cannot be made.
    """
    output, entries, header = Path(output), protected.manifest.entries, protected.manifest.header
    if not header["sealed"] or any("sealed" not in entry for entry in entries.values()):
        raise UserError(f"{protected.folder} holds no sealed originals: it was protected without --seal")
    whose, here = header.get("recipient"), recipient(identity.public_key)
    if whose is not None and here not in whose.split(", "):  # older manifests do not say
        raise UserError(
            f"{protected.folder} was sealed to the key with the fingerprint {whose}; this private key belongs"
            f" to {here}: take the one of that owner"
        )
    check_apart(protected.folder, output)
    make_folder(output)
    failed: dict[str, str] = {}
    opened: dict[str, str] = {}  # name → path of the sealed file
    for entry in tqdm(entries.values(), unit=" images", desc="opening", disable=None):
        try:
            name, content = _read(protected.folder, entry, identity, header["pseudonyms"])
            if opened.setdefault(name, entry["sealed"]) != entry["sealed"]:
                raise UserError(f"it holds {name}, and so does {opened[name]}")
            _write(output / name, content)
        except UserError as error:
            failed[entry["sealed"]] = str(error)
        except MemoryError:
            failed[entry["sealed"]] = "there is not enough memory for it (about three times its size)"
    return len(entries) - len(failed), failed


def _read(folder: Path, entry: dict, identity: PrivateKey, pseudonyms: bool) -> tuple[str, bytes]:
    """(relative path, content) of the raw file in an entry's sealed one.

    Raises:
        UserError: the reason, when it is not the one that was written, or does not open.
    """
    sealed = read_regular(folder / entry["sealed"])
    if hashlib.sha256(sealed).hexdigest() != entry["sealed_sha256"]:
        raise UserError(
            "it does not open: it is not what was written, for its SHA-256 differs from the manifest's"
        )
    name, content, _ = open_sealed(sealed, identity)
    # without the key of the pseudonyms, nobody can tell the name behind one
    if not pseudonyms and targets([name], PurePosixPath(entry["path"]).suffix)[name] != entry["path"]:
        raise UserError(f"it holds {name}, from which {entry['path']} cannot come")
    return name, content


def _write(target: Path, content: bytes) -> None:
    """Write a raw file.

    Raises:
        UserError: the reason, when another file of its name is there, or it cannot be written.
    """
    try:
        if target.exists():
            if target.read_bytes() != content:
                raise UserError(f"{target} is there already, and is another file")
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        write_private(target, content)
    except OSError as error:
        raise UserError(f"it cannot be opened: {error.strerror}") from None
