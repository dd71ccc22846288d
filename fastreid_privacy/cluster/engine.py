"""The engine of a cluster: shards to tasks of Ray, and those of lost processes and machines to others."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..collection.shards import Cutter, Shard, begin_shards, read_shard
from ..collection.work import Left, Results, Work
from ..core.errors import UserError, brief, some_of
from ..core.extras import from_extra, load
from ..core.projects import project_folders
from .nodes import has_gpus, places, started
from .parcels import Parcels
from .worker import Refused, Task, versions, work_on

if TYPE_CHECKING:
    import ray
else:
    ray = from_extra("ray")

SHARD = 1024  # images: a lost process costs some seconds, and a task's own costs count for nothing
SHARDS_A_PLACE = 4  # at least, so that the last ones end together
MOST_TRIES = 3
LOOK_SECONDS = 5.0  # how often who waits for a task looks whether there is a node that can do it
PATIENCE_SECONDS = 60.0  # for a node that can


@dataclass(frozen=True)
class RayEngine:
    """Does what is left of a run on a cluster, one shard in each task.

    Attributes:
        address: of a cluster that runs; None: one is started on this machine, and ended again.
        threads: of each task, which takes as many cores.
        device: "auto" (GPUs where the cluster has them), "cpu" or "cuda": a task takes one.
        shard: images of a shard at most, but for what fills its last batch.
        cores: of a cluster that is started; None: all of this machine.
    """

    address: str | None = None
    threads: int = 1
    device: str = "auto"
    shard: int = SHARD
    cores: int | None = None

    def __call__(self, left: Left, work: Work) -> Iterator[Results]:
        """As :class:`fastreid_privacy.collection.work.Engine`.

        Raises:
            UserError: when an extra is not installed, a worker met something that the user has to mend, three
                processes were lost with the same files, or no node can do the work.
        """
        for library in ("ray", "cryptography"):
            load(library)
        begin_shards(left)
        if left.batches:
            with started(self.address, self.cores):
                yield from self._all(left, work)

    def _all(self, left: Left, work: Work) -> Iterator[Results]:
        gpus = self._gpus()
        parcels, images = Parcels(), sum(map(len, left.batches))
        assert work.again is not None  # an engine of many processes is given no other work
        task = Task(
            versions(),
            Path.cwd(),
            project_folders(),
            parcels.close(work.again),
            "cuda" if gpus else "cpu",
            self.threads,
        )
        closed = ray.put(parcels.close(task))
        do = ray.remote(work_on).options(num_cpus=self.threads, num_gpus=gpus, max_retries=0)
        cutter = Cutter(left, work.stamp)
        each = -(-images // (SHARDS_A_PLACE * max(1, places(self.threads, gpus))))
        shards, again = cutter.shards(min(self.shard, each)), deque[Shard]()
        running: dict[ray.ObjectRef, Shard] = {}
        seen = time.monotonic()
        while True:
            able = places(self.threads, gpus)
            seen = self._check_places(able, gpus, seen)
            room = 2 * able - len(running)
            while room > 0 and (shard := again.popleft() if again else next(shards, None)):
                running[do.remote(closed, parcels.key, parcels.close(shard))] = shard
                room -= 1
            if not running:
                if able:
                    return
                time.sleep(LOOK_SECONDS)
                continue
            ready, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_SECONDS)
            for reference in ready:
                shard = running.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:  # before this package's code had its turn
                    raise UserError(f"a node cannot do the work ({brief(error.cause)})") from None
                except ray.exceptions.RayError as error:
                    again += self._once_more(cutter, shard, error)
                    continue
                if isinstance(result, Refused):
                    raise UserError(result.reason)
                if work.guard:
                    work.guard.blended += result.guarded
                yield read_shard(left.output, shard.number)

    def _gpus(self) -> int:
        """GPUs of a task."""
        there = self.device != "cpu" and has_gpus()
        if self.device == "cuda" and not there:
            raise UserError("no node of the cluster has a GPU: leave out --device cuda")
        return int(there)

    def _check_places(self, able: int, gpus: int, seen: float) -> float:
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
                f"no node of the cluster has {wanted} for a task: give fewer --workers, or start nodes; the "
                "same command continues"
            )
        return seen

    @staticmethod
    def _once_more(cutter: Cutter, shard: Shard, error: Exception) -> list[Shard]:
        """The shards that do what a lost process has not done.

        Raises:
            UserError: naming the files, when others were lost with them before.
        """
        if shard.tries + 1 < MOST_TRIES:
            return cutter.again(shard)
        raise UserError(
            f"{MOST_TRIES} processes ended while they worked on {some_of(shard.names)} ({brief(error)}): "
            "these files may need more memory than there is (fewer --workers, a smaller --batch-size), or "
            "end whatever reads them; take them out of --input, and run the same command again to continue"
        ) from None
