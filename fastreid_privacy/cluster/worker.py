"""In a process of the cluster: what is done with files is opened once, then piece after piece is done."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import torch

from ..core.errors import UserError, one_line, out_of_memory, some_of, typed, user_message
from ..core.members import Readable, container
from ..core.projects import load_projects
from ..core.remote import there
from ..core.version import __version__
from .parcels import Parcels

Do = Callable[[Any, int], object]
"""Does a piece of work with so many threads."""
Make = Callable[[str], Do]
"""Says how pieces are done, with networks on a device: "cpu" or "cuda"."""


class Done(NamedTuple):
    """A piece is done.

    Attributes:
        result: what goes back of it.
    """

    result: object


class Refused(NamedTuple):
    """A piece cannot be done, and nor will others be.

    Attributes:
        reason: what the user has to mend.
    """

    reason: str


@dataclass(frozen=True)
class Task:
    """What every piece of a run needs.

    Attributes:
        versions: of :func:`versions`, where the run was started.
        folder: in which it was started.
        projects: folders to be imported first.
        make: closed: a :data:`Make`.
        device: for its networks.
        threads: of a piece.
    """

    versions: dict[str, str]
    folder: Path
    projects: Sequence[Path]
    make: bytes
    device: str
    threads: int


def versions() -> dict[str, str]:
    """Of what the bytes of files depend on."""
    return {
        "fastreid_privacy": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
    }


_opened: dict[bytes, tuple[Task, Do]] = {}  # of this process, by key: that of the run which it works for


def work_on(task: bytes, key: bytes, piece: bytes) -> bytes:
    """Do a piece. Ray calls this in a process of its own.

    Whatever goes wrong is returned, and not raised, so that no name of a file gets into Ray's logs.

    Args:
        task: a closed :class:`Task`.
        key: that opens it.
        piece: closed.

    Returns:
        A closed :class:`Done` or :class:`Refused`.
    """
    parcels = Parcels(key)
    return parcels.close(_result(task, parcels, piece, platform.node()))


def _result(task: bytes, parcels: Parcels, piece: bytes, node: str) -> Done | Refused:
    try:
        if parcels.key not in _opened:
            _opened.clear()
            _opened[parcels.key] = _open(task, parcels, node)
        opened, do = _opened[parcels.key]
        return Done(do(parcels.open(piece), opened.threads))
    except UserError as error:
        reason = user_message(error)
        return Refused(reason if f"node {node}" in reason else f"{reason} (node {node})")
    except OSError as error:
        return Refused(f"{error.filename or 'writing'}: {error.strerror or error} (node {node})")
    except Exception as error:
        where = "; ".join(getattr(error, "__notes__", []))
        why = "there is not enough memory" if out_of_memory(error) else typed(error)
        return Refused(one_line(f"{why}, {where or 'before any file'} (node {node})"))


def _open(closed: bytes, parcels: Parcels, node: str) -> tuple[Task, Do]:
    task: Task = parcels.open(closed)
    here = versions()
    others = [f"{name} {here[name]}" for name in here if here[name] != task.versions[name]]
    if others:
        theirs = ", ".join(f"{name} {version}" for name, version in task.versions.items())
        raise UserError(
            f"node {node} has {', '.join(others)}, and the run was started with {theirs}: other versions may "
            "give other bytes; install the same ones on every node"
        )
    if task.folder.is_dir():
        os.chdir(task.folder)  # options may name files from there
    load_projects(task.projects)
    make: Make = parcels.open(task.make)
    return task, make(task.device)


def refuse_unseen(files: Iterable[Readable], names: Sequence[str], option: str) -> None:
    """Refuse a piece of whose files this node sees none.

    Args:
        files: of the piece.
        names: of these, for the message.
        option: that names them.

    Raises:
        UserError: naming the node.
    """
    if not any(there(container(file)) for file in files):
        raise UserError(
            f"node {platform.node()} sees none of {some_of(names)} of {option}: on a cluster it has to lie "
            "on storage that all nodes share, under the same path"
        )
