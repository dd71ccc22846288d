"""A run over a collection: files written whole, continued after a kill, every file accounted for by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ..core.files import remove_unfinished
from ..core.remote import Place
from ..manifest import JOURNAL, TARS, Manifest, write_manifest
from .making import alone
from .output import SHARDS, Journal, begin_journal, forget, open_output, remove_all_of, still_there
from .packing import in_tars
from .pipeline import side_by_side
from .review import WITHHELD, refuse_forgetting, refuse_others
from .staging import forget_staged
from .stamps import write_stamps
from .suspects import suspects_of
from .work import Engine, Job, Left, Mapped, Results, Work


@dataclass(frozen=True)
class Threads:
    """The engine of one machine: each of several threads has a batch.

    Attributes:
        workers: threads; None: as many as there are cores.
    """

    workers: int | None = None

    def __call__(self, left: Left, work: Work) -> Iterator[Results]:
        assert isinstance(left.output, Path)  # a store's files cannot be continued line by line
        if left.tars:
            raise ValueError("tar files are written by an engine of shards: engine_here(…, in_tars=True)")
        told: set[str] = set()

        def tell(lines: Sequence[dict]) -> None:
            journal.add(lines)
            told.update(line["path"] for line in lines)

        with Journal(left.output / JOURNAL, left.header, left.written) as journal:
            each = ([batch] for batch in left.batches)
            for results in side_by_side(each, partial(alone, left, work, tell), self.workers):
                made = {path: line for path, line in results if isinstance(line, dict)}
                journal.add(made[path] for path in made if path not in left.done and path not in told)
                forget_staged(left.output / SHARDS, made.keys() & left.leaving)
                yield results


def run(
    jobs: Sequence[Job],
    output: Place,
    work: Work[Mapped],
    *,
    batch_size: int,
    engine: Engine,
    describe: str,
    rulings: Mapping[str, bool] | None = None,
    tar_images: int = 0,
) -> Manifest:
    """Make every file that is not there yet, and the manifest.

    Batches are always the same files, whatever was done before: a network's last digits can depend on the
    batch, so a continued run gives the bytes of an uninterrupted one.

    Args:
        jobs: sorted by path.
        output: folder.
        work: what is done.
        batch_size: images at a time.
        engine: what does it.
        describe: of the progress bar.
        rulings: whether files may be given out, by path, where a person said so: those that may not are
            removed with what lies beside them, whatever an earlier run told of them, and named in the
            manifest; None: there is no review.
        tar_images: of each tar file at least, in which the files are to lie; 0: they lie alone. It takes an
            engine of shards.

    Returns:
        What manifest.jsonl holds now; but files whose source was replaced are among the failed.

    Raises:
        UserError: as :func:`open_output`, when the review is of other images, or when a full or read-only
            disk ends the run; running it again continues it.
    """
    batches: Sequence[Sequence[Job]]
    batches = [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]
    header = {**work.header, **({TARS: tar_images} if tar_images else {})}
    with open_output(output, header) as earlier:
        rulings = rulings or {}
        refuse_others(rulings, {*(job.path for job in jobs), *earlier.entries, *earlier.failed})
        refuse_forgetting(earlier, rulings, output)
        withheld = [path for path, given in rulings.items() if not given]
        known = [path for path in withheld if path in earlier.entries or path in earlier.failed]
        packed = in_tars(jobs, known, batch_size, tar_images) if tar_images else None
        if packed:
            batches = packed.batches
        for path in withheld:
            earlier.entries.pop(path, None)
        done = still_there(output, earlier, {job.path for job in jobs})
        if packed:
            packed.check(output, done)
        found = suspects_of(output, earlier, done, {job.path: job.source for job in jobs}, work)
        suspects, refused = found.lines, found.refused
        done |= suspects
        # they count as done, so that nothing is written for them and others' batches stay as they are
        done |= {path: {"path": path, "failed": WITHHELD} for path in withheld}
        written = [*done.values()]
        if withheld:  # told before anything is gone: a run that ends here is not to make it again
            begin_journal(output / JOURNAL, earlier.header, written)
            remove_all_of(output, withheld)
        for path in suspects.keys() - refused.keys():
            del done[path]  # made again, to be compared or to take its place
        failed: dict[str, str] = {}
        open_batches = [batch for batch in batches if any(job.path not in done for job in batch)]
        if packed:
            wanting = packed.wanting(output, done, known)
            open_batches = [batch for batch in batches if packed.of[batch[0].path] in wanting]
            for tar in wanting - {packed.of[batch[0].path] for batch in open_batches}:
                (output / tar).unlink(missing_ok=True)  # all that it holds is withheld
        counted = len(jobs) - sum(map(len, open_batches))
        begun = [] if packed else [*withheld, *(job.path for batch in open_batches for job in batch)]
        folders = sorted({output, *((output / path).parent for path in begun)})
        for folder in folders:
            remove_unfinished(folder)
        tars = [packed.of[batch[0].path] for batch in open_batches] if packed else []
        leaving = found.leaving.union(withheld)
        left = Left(output, earlier.header, open_batches, done, written, suspects, tars, leaving)
        with (
            tqdm(total=len(jobs), initial=counted, unit=" images", desc=describe, disable=None) as progress,
            closing(engine(left, work)) as finished,  # type: ignore[type-var]  # engines are generators
        ):
            for results in finished:
                for path, result in results:
                    if isinstance(result, dict):
                        done[path] = result
                    else:
                        (refused if path in suspects else failed)[path] = result
                progress.update(len(results))
        failed |= {path: done.pop(path)["failed"] for path in withheld}
        entries = {**done, **{path: suspects[path] for path in refused}}
        for folder in folders:  # of processes that were lost, and whose work others did
            remove_unfinished(folder)
        write_stamps(output, entries.values())
        account = work.account([entries[path] for path in sorted(entries)]) if work.account else {}
        write_manifest(output, earlier.header, entries.values(), failed, account)
        forget(output)
        made = {path: entry for path, entry in entries.items() if path not in refused}
        return Manifest(earlier.header, made, failed | refused, True, account)
