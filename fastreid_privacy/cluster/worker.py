"""In a process of the cluster: what is done with files is opened once, then shard after shard is done."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import torch

from ..collection.shards import Shard, do_shard
from ..collection.work import Work
from ..core.errors import UserError, one_line, out_of_memory, some_of, typed, user_message
from ..core.members import container
from ..core.projects import load_projects
from ..core.remote import there
from ..core.version import __version__
from ..manifest import JOURNAL
from .parcels import Parcels

Again = Callable[[str], Work]


class Done(NamedTuple):
    """A shard is done; its manifest says how.

    Attributes:
        guarded: the figures of the guard.
    """

    guarded: list[tuple[float, float, float, float]]


class Refused(NamedTuple):
    """A shard cannot be done, and nor will others be.

    Attributes:
        reason: what the user has to mend.
    """

    reason: str


@dataclass(frozen=True)
class Task:
    """What every shard of a run needs.

    Attributes:
        versions: of :func:`versions`, where the run was started.
        folder: in which it was started.
        projects: folders to be imported first.
        again: closed: makes the work.
        device: for its network.
        threads: of a shard.
    """

    versions: dict[str, str]
    folder: Path
    projects: Sequence[Path]
    again: bytes
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


_opened: dict[bytes, tuple[Task, Work]] = {}  # of this process, by key: that of the run which it works for


def work_on(task: bytes, key: bytes, shard: bytes) -> Done | Refused:
    """Do a shard. Ray calls this in a process of its own.

    Whatever goes wrong is returned, and not raised, so that no name of a file gets into Ray's logs.

    Args:
        task: a closed :class:`Task`.
        key: that opens it.
        shard: a closed :class:`Shard`.
    """
    node = platform.node()
    try:
        if key not in _opened:
            _opened.clear()
            _opened[key] = _open(Parcels(key).open(task), key, node)
        opened, work = _opened[key]
        mine: Shard = Parcels(key).open(shard)
        output = mine.left.output
        if not (output / JOURNAL).exists():
            raise UserError(
                f"node {node} does not see --output {output}: on a cluster it has to lie on storage that all "
                "nodes share, under the same path"
            )
        if not any(there(container(job.source)) for batch in mine.left.batches for job in batch):
            raise UserError(
                f"node {node} sees none of {some_of(mine.names)} of --input: on a cluster it has to lie on "
                "storage that all nodes share, under the same path"
            )
        do_shard(mine, work, opened.threads)
        return Done(work.guard.take() if work.guard else [])
    except UserError as error:
        return Refused(user_message(error))
    except OSError as error:
        return Refused(f"{error.filename or 'writing'}: {error.strerror or error} (node {node})")
    except Exception as error:
        where = "; ".join(getattr(error, "__notes__", []))
        why = "there is not enough memory" if out_of_memory(error) else typed(error)
        return Refused(one_line(f"{why}, {where or 'before any file'} (node {node})"))


def _open(task: Task, key: bytes, node: str) -> tuple[Task, Work]:
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
    again: Again = Parcels(key).open(task.again)
    return task, again(task.device)
