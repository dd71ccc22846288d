"""Sealed originals back to the raw files, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..core.errors import UserError
from ..core.files import write_atomically
from ..core.pictures import read_bytes
from ..keys.sealing import open_sealed
from .recover import ProtectedFolder
from .source import check_apart

if TYPE_CHECKING:
    from nacl.public import PrivateKey


def unseal_collection(
    protected: ProtectedFolder, output: str | Path, identity: PrivateKey
) -> tuple[int, dict[str, str]]:
    """Open every sealed original of a protected folder; the files get the names that they had.

    What is there already stays.

    Args:
        protected: what was protected with ``--seal``.
        output: folder for the raw files.
        identity: the private key.

    Returns:
        How many were opened, and the reasons for those that were not, by the path of the sealed file.

    Raises:
        UserError: when there are no sealed originals, or the output folder lies in the protected one.
    """
    output, entries = Path(output), protected.manifest.entries
    if not protected.manifest.header["sealed"] or any("sealed" not in entry for entry in entries.values()):
        raise UserError(f"{protected.folder} holds no sealed originals: it was protected without --seal")
    check_apart(protected.folder, output)
    failed: dict[str, str] = {}
    for entry in tqdm(entries.values(), unit=" images", desc="opening", disable=None):
        try:
            _open(protected.folder / entry["sealed"], output, identity)
        except UserError as error:
            failed[entry["sealed"]] = str(error)
    return len(entries) - len(failed), failed


def _open(sealed: Path, output: Path, identity: PrivateKey) -> None:
    """Write the raw file of a sealed one.

    Raises:
        UserError: the reason, when it does not open or another file of its name is there.
    """
    try:
        name, content = open_sealed(read_bytes(sealed), identity)
        target = output / name
        if target.exists():
            if target.read_bytes() != content:
                raise UserError(f"{target} is there already, and is another file")
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda file: file.write(content))
    except OSError as error:
        raise UserError(f"it cannot be opened: {error.strerror}") from None
