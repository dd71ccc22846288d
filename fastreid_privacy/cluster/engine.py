"""The engine of a cluster for collections: each task does a shard."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from ..collection.output import begin_journal
from ..collection.shards import Cutter, Shard, do_shard, read_shard
from ..collection.work import Left, Results, Work
from ..core.errors import UserError
from ..manifest import JOURNAL
from .tasks import Pieces, RayTasks
from .worker import Do, refuse_unseen

Guarded = list[tuple[float, float, float, float]]
"""Figures of the guard."""


@dataclass(frozen=True)
class RayEngine(RayTasks):
    """Does what is left of a run on a cluster, one shard in each task."""

    def __call__(self, left: Left, work: Work) -> Iterator[Results]:
        """As :class:`fastreid_privacy.collection.work.Engine`.

        Raises:
            UserError: as :meth:`RayTasks.done`.
        """
        assert work.again is not None  # an engine of many processes is given no other work
        begin_journal(left.output / JOURNAL, left.header, left.written)
        cutter = Cutter(left, work.stamp)
        pieces = Pieces(
            sum(map(len, left.batches)),
            cutter.shards,
            cutter.again,
            "--input",
            "run the same command again to continue",
        )
        with closing(self.done(MakeShards(work.again), pieces)) as done:
            for shard, guarded in done:
                if work.guard:
                    work.guard.blended += guarded
                yield read_shard(left.output, shard.number)


@dataclass(frozen=True)
class MakeShards:
    """Does shards in a process of the cluster.

    Attributes:
        again: makes the work on a device.
    """

    again: Callable[[str], Work]

    def __call__(self, device: str) -> Do:
        work = self.again(device)

        def do(shard: Shard, threads: int) -> Guarded:
            output = shard.left.output
            if not (output / JOURNAL).exists():
                raise UserError(
                    f"node {platform.node()} does not see --output {output}: on a cluster it has to lie on "
                    "storage that all nodes share, under the same path"
                )
            refuse_unseen(
                (job.source for batch in shard.left.batches for job in batch), shard.names, "--input"
            )
            do_shard(shard, work, threads)
            return work.guard.take() if work.guard else []

        return do
