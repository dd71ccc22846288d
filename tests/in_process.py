"""``anonymize``, ``recover`` and ``retrieve`` in this process, which is quicker than a new one."""

from __future__ import annotations

from pathlib import Path

from fastreid_privacy.commands import anonymize as anonymize_command
from fastreid_privacy.commands import recover as recover_command
from fastreid_privacy.commands import retrieve as retrieve_command
from fastreid_privacy.core.remote import Place, RemotePath


def anonymize(*words: object) -> int:
    """The exit code of ``anonymize`` with these words."""
    return anonymize_command.main([str(word) for word in words])


def recover(*words: object) -> int:
    """The exit code of ``recover`` with these words."""
    return recover_command.main([str(word) for word in words])


def retrieve(*words: object) -> int:
    """The exit code of ``retrieve`` with these words."""
    return retrieve_command.main([str(word) for word in words])


def contents(place: Place) -> dict[str, bytes]:
    """Every file below a folder or a place of a store, by relative path."""
    if isinstance(place, RemotePath):
        return {path: file.read_bytes() for path, file in place.files_below().items()}
    files = (path for path in sorted(Path(place).rglob("*")) if path.is_file())
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}
