"""Shards of a run: batches that one process does together, and the manifest that it leaves of them.

The shards of a run are its batches, sorted as they are, cut between two of them. Their manifests lie in a
hidden folder of the output while the run is unfinished: journals that are written whole, one for each shard.
The next run reads them, whatever engine it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, groupby
from operator import itemgetter
from typing import BinaryIO

from ..compat.distributed import available_cores
from ..core.files import write_atomically, write_whole
from ..core.remote import Place, RemotePath
from ..manifest import JOURNAL, TAR, journal_line, read_manifest
from .making import alone, whole
from .output import ENDING, SHARDS, begin_journal, unwritten
from .packing import Packing
from .pipeline import side_by_side
from .run import Threads
from .staging import forget_staged
from .stamps import Stamper
from .work import Engine, Job, Left, Made, Results, Work

TOLD_TOGETHER = 32  # images whose lines are written together, before their files


@dataclass(frozen=True)
class Shard:
    """Batches that one process does, and what is known of their files.

    Attributes:
        number: of no other shard of the run.
        left: of these batches alone.
        stamps: of their sources, by path, as they were before any was read.
        tries: how often it was begun, and its process was lost.
    """

    number: int
    left: Left
    stamps: Mapping[str, str | None]
    tries: int = 0

    @property
    def names(self) -> list[str]:
        """Of the raw files."""
        return [job.name for batch in self.left.batches for job in batch]


class Cutter:
    """Cuts what is left of a run into shards, and shards into their batches.

    Args:
        left: of the run.
        stamp: of its work. It is used here: its key is not sent to others.
    """

    def __init__(self, left: Left, stamp: Stamper | None = None):
        self.left, self.stamp, self.numbers = left, stamp, count()
        # withheld files without a raw image belong to no batch; those of a tar are told to all
        self.alone = left.leaving - {job.path for batch in left.batches for job in batch}

    def shards(self, images: int) -> Iterator[Shard]:
        """All batches, a shard at a time.

        Args:
            images: of a shard at least, but for the last one; not heeded where each tar file is a shard.
        """
        if self.left.tars:
            both = zip(self.left.tars, self.left.batches, strict=True)
            for tar, group in groupby(both, itemgetter(0)):
                yield self._shard([batch for _, batch in group], tar)
            return
        yield from map(self._shard, cut(self.left.batches, images))

    def again(self, shard: Shard) -> list[Shard]:
        """A shard whose process was lost, batch by batch: so what ends a process is told from the rest.

        A tar file is written whole, and stays one shard.
        """
        if shard.left.tars:
            return [self._shard(shard.left.batches, shard.left.tars[0], shard.tries + 1)]
        return [self._shard([batch], tries=shard.tries + 1) for batch in shard.left.batches]

    def _shard(self, batches: Sequence[Sequence[Job]], tar: str = "", tries: int = 0) -> Shard:
        left, sources = self.left, {job.path: job.source for batch in batches for job in batch}
        done, suspects = (
            {path: entries[path] for path in sources if path in entries}
            for entries in (left.done, left.suspects)
        )
        stamps = {path: self.stamp(path, sources[path]) for path in sources} if self.stamp else {}
        tars = [tar] * len(batches) if tar else []
        leaving = self.alone | (left.leaving & sources.keys())
        mine = Left(left.output, left.header, batches, done, [], suspects, tars, leaving)
        return Shard(next(self.numbers), mine, stamps, tries)


def cut(batches: Sequence[Sequence[Job]], images: int) -> Iterator[list[Sequence[Job]]]:
    """Batches in groups of so many images at least, but for the last one."""
    group: list[Sequence[Job]] = []
    for batch in batches:
        group.append(batch)
        if sum(map(len, group)) >= images:
            yield group
            group = []
    if group:
        yield group


def engine_here(output: Place, threads: int | None, *, in_tars: bool = False) -> Engine:
    """The engine of this machine for an output.

    Args:
        output: folder.
        threads: each has a batch; None: as many as there are cores.
        in_tars: files lie in tar files.
    """
    return InShards(threads) if in_tars or isinstance(output, RemotePath) else Threads(threads)


@dataclass(frozen=True)
class InShards:
    """The engine of one machine for tar files, which are written whole, and for stores.

    The journal of a store cannot be continued line by line.

    Attributes:
        threads: each has a batch; None: as many as there are cores.
        images: of a shard at least, but for the last one; a killed run has to look at so many again.
    """

    threads: int | None = None
    images: int = 1024

    def __call__(self, left: Left, work: Work) -> Iterator[Results]:
        begin_journal(left.output / JOURNAL, left.header, left.written)
        for shard in Cutter(left, work.stamp).shards(self.images):
            do_shard(shard, work, self.threads)
            yield read_shard(left.output, shard.number)


def do_shard(shard: Shard, work: Work, threads: int | None) -> None:
    """Make the files of a shard, and its manifest.

    Args:
        shard: what is to be done.
        work: how.
        threads: each has a batch; None: as many as there are cores.

    Raises:
        UserError: as :func:`fastreid_privacy.collection.run.run`.
    """
    results: Results = []
    work = replace(work, stamp=lambda path, source: shard.stamps.get(path))
    if shard.left.tars:
        tar = shard.left.output / shard.left.tars[0]

        def write(file: BinaryIO) -> None:
            results.extend(_packed(shard.left, work, threads, file))
            _write_lines(shard, results)  # before it gets its name, or nobody would know what is in it

        with _ending_the_run(tar):
            write_atomically(tar, write)
            made = any(isinstance(line, dict) and "failed" not in line for _, line in results)
            if not (made or shard.left.suspects):  # of which it keeps what an earlier run has made
                tar.unlink()  # it holds nothing
        return
    numbers = count()
    images, workers = sum(map(len, shard.left.batches)), threads or available_cores()
    groups = cut(shard.left.batches, min(TOLD_TOGETHER, -(-images // (2 * workers))))
    tell = partial(_tell, shard, numbers)
    for some in side_by_side(groups, partial(alone, shard.left, work, tell), threads):
        results += some
    _write_lines(shard, results)
    for number in range(next(numbers)):
        _file(shard.left.output / SHARDS, shard.number, number).unlink()
    forget_staged(shard.left.output / SHARDS, shard.left.leaving & shard.left.suspects.keys())


def _tell(shard: Shard, numbers: Iterator[int], lines: Sequence[dict]) -> None:
    """Write lines of a shard in a file of their own, until the manifest of the shard has them."""
    if lines:
        _write(shard, lines, next(numbers))


def _write_lines(shard: Shard, results: Results) -> None:
    """Write the manifest of a shard."""
    _write(
        shard, [{"path": path, "failed": line} if isinstance(line, str) else line for path, line in results]
    )


def _write(shard: Shard, lines: Sequence[dict], number: int | None = None) -> None:
    folder = shard.left.output / SHARDS
    content = b"".join(map(journal_line, [shard.left.header, *lines]))
    with _ending_the_run(folder):
        folder.mkdir(exist_ok=True)
        write_whole(_file(folder, shard.number, number), content, private=True)


@contextmanager
def _ending_the_run(place: Place) -> Iterator[None]:
    """A full disk, or what else the system says of a file of a whole shard, ends the run with its name."""
    try:
        yield
    except OSError as error:
        raise unwritten(error, place) from None


def _packed(left: Left, work: Work, threads: int | None, file: BinaryIO) -> Results:
    """Write a tar of the files of batches, which come in their order."""
    results: Results = []
    packing = Packing(left, file, work.same)

    def put(left: Left, work: Work, entry: dict, made: Made) -> dict:
        packing.put(entry["path"], made)
        return {TAR: left.tars[0]}

    done = side_by_side(left.batches, partial(whole, left, work, put=put), threads)
    with closing(done):
        for batch, some in zip(left.batches, done, strict=True):
            packing.add(batch)
            results += some
    packing.close()
    return results


def read_shard(output: Place, number: int) -> Results:
    """What became of the files of a shard.

    Raises:
        UserError: when its manifest is missing or damaged.
    """
    found = read_manifest(_file(output / SHARDS, number))
    return [*found.entries.items(), *found.failed.items()]


def _file(folder: Place, shard: int, number: int | None = None) -> Place:
    """The manifest of a shard, or the file of lines that were told before it; those sort before it."""
    return folder / f"{shard:08d}{'' if number is None else f'-{number:08d}'}{ENDING}"
