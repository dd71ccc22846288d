"""Work on a cluster: pieces to tasks of Ray, and those of lost processes and machines to others."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ..core.errors import UserError, brief, some_of
from ..core.extras import load, ray
from ..core.projects import project_folders
from .nodes import has_gpus, places, started
from .parcels import Parcels
from .worker import Make, Refused, Task, versions, work_on

SHARD = 1024  # images: a lost process costs some seconds, and a task's own costs count for nothing
SHARDS_A_PLACE = 4  # at least, so that the last ones end together
MOST_TRIES = 3
LOOK_SECONDS = 5.0  # how often who waits for a task looks whether there is a node that can do it
PATIENCE_SECONDS = 60.0  # for a node that can


class Piece(Protocol):
    """What one task does: whole batches."""

    @property
    def names(self) -> Sequence[str]:
        """Of its files, for messages."""

    @property
    def tries(self) -> int:
        """How often it was begun, and its process was lost."""


P = TypeVar("P", bound=Piece)


@dataclass(frozen=True)
class Pieces(Generic[P]):
    """All that is to be done.

    Attributes:
        images: of all pieces.
        cut: pieces of so many images at least, but for the last one; called once.
        again: a piece whose process was lost, batch by batch: so what ends a process is told from the rest.
        option: that names the images, for messages.
        to_mend: what the user does when something is mended, for messages.
    """

    images: int
    cut: Callable[[int], Iterator[P]]
    again: Callable[[P], list[P]]
    option: str
    to_mend: str


@dataclass(frozen=True)
class RayTasks:
    """Has pieces of work done on a cluster, one in each task.

    Attributes:
        address: of a cluster that runs; None: one is started on this machine, and ended again.
        threads: of each task, which takes as many cores.
        device: "auto" (GPUs where the cluster has them), "cpu" or "cuda": a task takes one.
        shard: images of a piece at most, but for what fills its last batch.
        cores: of a cluster that is started; None: all of this machine.
    """

    address: str | None = None
    threads: int = 1
    device: str = "auto"
    shard: int = SHARD
    cores: int | None = None

    def done(self, make: Make, pieces: Pieces[P]) -> Generator[tuple[P, Any]]:
        """Do all pieces.

        Args:
            make: opened in each process: what is done with a piece.
            pieces: of which some are waited for at a time.

        Yields:
            Each piece and what became of it, in any order. A piece whose process was lost is not among them,
            but those that took its place.

        Raises:
            UserError: when an extra is not installed, a worker met something that the user has to mend, three
                processes were lost with the same files, or no node can do the work.
        """
        for library in ("ray", "cryptography"):
            load(library)
        if pieces.images:
            with started(self.address, self.cores):
                yield from self._all(make, pieces)

    def _all(self, make: Make, pieces: Pieces[P]) -> Generator[tuple[P, Any]]:
        gpus, parcels = self._gpus(), Parcels()
        task = Task(
            versions(),
            Path.cwd(),
            project_folders(),
            parcels.close(make),
            "cuda" if gpus else "cpu",
            self.threads,
        )
        closed = ray.put(parcels.close(task))
        do = ray.remote(work_on).options(num_cpus=self.threads, num_gpus=gpus, max_retries=0)
        each = -(-pieces.images // (SHARDS_A_PLACE * max(1, places(self.threads, gpus))))
        left, again = pieces.cut(min(self.shard, each)), deque[P]()
        running: dict[ray.ObjectRef, P] = {}
        seen = time.monotonic()
        while True:
            if not again and (piece := next(left, None)):
                again.append(piece)
            if not again and not running:
                return
            able = places(self.threads, gpus)
            seen = self._check_places(able, gpus, seen, pieces.to_mend)
            room = 2 * able - len(running)
            while room > 0 and (piece := again.popleft() if again else next(left, None)):
                running[do.remote(closed, parcels.key, parcels.close(piece))] = piece
                room -= 1
            if not running:
                time.sleep(LOOK_SECONDS)
                continue
            ready, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_SECONDS)
            for reference in ready:
                piece = running.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:  # before this package's code had its turn
                    raise UserError(f"a node cannot do the work ({brief(error.cause)})") from None
                except ray.exceptions.RayError as error:
                    again += _once_more(pieces, piece, error)
                    continue
                opened = parcels.open(result)
                if isinstance(opened, Refused):
                    raise UserError(opened.reason)
                yield piece, opened.result

    def _gpus(self) -> int:
        """GPUs of a task."""
        there = self.device != "cpu" and has_gpus()
        if self.device == "cuda" and not there:
            raise UserError("no node of the cluster has a GPU: leave out --device cuda")
        return int(there)

    def _check_places(self, able: int, gpus: int, seen: float, to_mend: str) -> float:
        """The time at which there was a node last that can do the work: now, where there is one.

        Raises:
            UserError: when that is too long ago; a cluster may start nodes when they are asked for.
        """
        now = time.monotonic()
        if able:
            return now
        if self.address is None or now - seen > PATIENCE_SECONDS:
            wanted = f"{self.threads} cores" + (" and a GPU" if gpus else "")
            raise UserError(
                f"no node of the cluster has {wanted} for a task: give fewer --workers, or start nodes, and "
                f"{to_mend}"
            )
        return seen


def _once_more(pieces: Pieces[P], piece: P, error: Exception) -> list[P]:
    """The pieces that do what a lost process has not done.

    Raises:
        UserError: naming the files, when others were lost with them before.
    """
    if piece.tries + 1 < MOST_TRIES:
        return pieces.again(piece)
    raise UserError(
        f"{MOST_TRIES} processes ended while they worked on {some_of(piece.names)} ({brief(error)}): these "
        "files may need more memory than there is (fewer --workers, a smaller --batch-size), or end whatever "
        f"reads them; take them out of {pieces.option}, and {pieces.to_mend}"
    ) from None
