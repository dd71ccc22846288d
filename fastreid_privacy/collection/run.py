"""A run over a collection: files written whole, continued after a kill, every file accounted for by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import eq
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from torch import Tensor
from tqdm import tqdm

from ..core.errors import UserError, out_of_memory
from ..core.files import remove_unfinished, write_atomically
from ..keys.templates import Searchable
from ..manifest import JOURNAL, Manifest, write_manifest
from .output import HOPELESS, Journal, open_output, remove, replaced, still_there
from .pipeline import side_by_side
from .stamps import STAMP, Stamper, write_stamps

NO_MEMORY = "there is not enough memory for it: take fewer --workers, or a smaller --batch-size"
REPLACED = (
    "its raw file was replaced since it was protected (size or time differ); --renew protects it anew, and "
    "replaces what was written"
)
Mapped = TypeVar("Mapped")


@dataclass(frozen=True)
class Job:
    """One file to make.

    Attributes:
        name: of what it is made from, as its folder or manifest calls it.
        source: that file.
        path: of what is made, relative to the output folder.
    """

    name: str
    source: Path
    path: str


@dataclass
class Loaded:
    """A decoded image.

    Attributes:
        pixels: uint8 H×W×3, RGB.
        about: goes into the file's line of the manifest.
        content: of the file that was decoded, where it is to be sealed.
        person: who is shown, where what is done depends on that.
        region: the part that is to be changed, H×W bool, where what is done depends on that.
        seen: what a Re-ID model sees of the raw picture, 3×H×W, until it has its template.
        template: of the raw picture, where it is to be sealed.
    """

    pixels: np.ndarray
    about: dict = field(default_factory=dict)
    content: bytes = b""
    person: int | None = None
    region: np.ndarray | None = None
    seen: Tensor | None = None
    template: Searchable | None = None


@dataclass(frozen=True)
class Work(Generic[Mapped]):
    """What is done with the files of a collection.

    Attributes:
        header: what files are made by; a run continues only what has the same.
        load: reads a job; raises UserError with the reason, without the path.
        map_batch: the pictures of a whole batch, in its order, None where there is none, and the person and
            the region in each, None where not told, to as many pictures, or whatever else is made of them.
        finish: a job, what was loaded and what was made of its picture to the content of the file; may add to
            ``about``.
        describe: gives all that was loaded of a batch its templates; None: there are none.
        stamp: tells whether a job's source was replaced since; None: sources are not looked at.
        repeatable: whether the same source gives the same bytes again, so that one of another time can be
            compared.
        renew: delete what was made of sources that were replaced, and make it anew; else they are named.
        account: what is accounted for over all files, given their lines; None: nothing is.
        same: whether what a killed run has left, its content, is what this run makes, and may be replaced.
    """

    header: dict
    load: Callable[[Job], Loaded]
    map_batch: Callable[
        [Sequence[np.ndarray | None], Sequence[int | None], Sequence[np.ndarray | None]],
        Sequence[Mapped | None],
    ]
    finish: Callable[[Job, Loaded, Mapped], bytes]
    describe: Callable[[Sequence[Loaded]], None] | None = None
    stamp: Stamper | None = None
    repeatable: bool = True
    renew: bool = False
    account: Callable[[Sequence[dict]], Mapping[str, object]] | None = None
    same: Callable[[bytes, bytes], bool] = eq


def run(
    jobs: Sequence[Job],
    output: Path,
    work: Work[Mapped],
    *,
    batch_size: int,
    workers: int | None,
    describe: str,
) -> Manifest:
    """Make every file that is not there yet, and the manifest.

    Batches are always the same files, whatever was done before: a network's last digits can depend on the
    batch, so a continued run gives the bytes of an uninterrupted one.

    Args:
        jobs: sorted by path.
        output: folder.
        work: what is done.
        batch_size: images at a time.
        workers: threads, each of which has a batch; None: as many as there are cores.
        describe: of the progress bar.

    Returns:
        What manifest.jsonl holds now; but files whose source was replaced are among the failed.

    Raises:
        UserError: as :func:`open_output`, or when a full or read-only disk ends the run; running it again
            continues it.
    """
    batches = [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]
    with open_output(output, work.header) as earlier:
        done = still_there(output, earlier, {job.path for job in jobs})
        others = replaced(output, done, {job.path: job.source for job in jobs}, work.stamp)
        if work.renew:
            remove(output, [done.pop(path) for path in others])
        suspects = {path: done[path] for path in others if path in done}
        refused = {} if work.repeatable else dict.fromkeys(suspects, REPLACED)
        written = [*done.values()]
        for path in suspects if work.repeatable else ():
            del done[path]  # made again, to be compared
        failed: dict[str, str] = {}
        open_batches = [batch for batch in batches if any(job.path not in done for job in batch)]

        def whole(batch: Sequence[Job]) -> list[tuple[str, dict | str]]:
            loaded = [_load(job, work) for job in batch]
            try:
                if work.describe:
                    work.describe([item for item in loaded if isinstance(item, Loaded)])
                mapped = work.map_batch(
                    [None if isinstance(item, str) else item.pixels for item in loaded],
                    [None if isinstance(item, str) else item.person for item in loaded],
                    [None if isinstance(item, str) else item.region for item in loaded],
                )
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                return [(job.path, NO_MEMORY) for job in batch if job.path not in done]
            return [
                _finish(*item, work, output, done, suspects)
                for item in zip(batch, loaded, mapped, strict=True)
            ]

        counted = len(jobs) - sum(map(len, open_batches))
        with (
            Journal(output / JOURNAL, earlier.header, written) as journal,
            tqdm(total=len(jobs), initial=counted, unit=" images", desc=describe, disable=None) as progress,
        ):
            folders = {(output / job.path).parent for batch in open_batches for job in batch}
            for folder in sorted({output, *folders}):
                remove_unfinished(folder)
            for results in side_by_side(open_batches, whole, workers):
                made = {path: result for path, result in results if isinstance(result, dict)}
                for path, reason in results:
                    if isinstance(reason, str):
                        (refused if path in suspects else failed)[path] = reason
                journal.add(entry for path, entry in made.items() if path not in done)
                done.update(made)
                progress.update(len(results))
            entries = {**done, **{path: suspects[path] for path in refused}}
            write_stamps(output, entries.values())
            account = work.account(list(entries.values())) if work.account else {}
            write_manifest(output, earlier.header, entries.values(), failed, account)
        (output / JOURNAL).unlink()
        made = {path: entry for path, entry in entries.items() if path not in refused}
        return Manifest(earlier.header, made, failed | refused, True, account)


def _load(job: Job, work: Work) -> Loaded | str:
    """What was read, or the reason why nothing was."""
    stamp = work.stamp(job.path, job.source) if work.stamp else None  # before it is read
    try:
        loaded = work.load(job)
    except UserError as error:
        return str(error)
    if stamp:
        loaded.about[STAMP] = stamp
    return loaded


def _finish(
    job: Job,
    loaded: Loaded | str,
    mapped: Mapped | None,
    work: Work[Mapped],
    output: Path,
    done: dict[str, dict],
    suspects: dict[str, dict],
) -> tuple[str, dict | str]:
    """(path, line of the manifest, or the reason why there is no file)."""
    if isinstance(loaded, str):
        return job.path, loaded
    assert mapped is not None  # a picture for each picture
    if job.path in done:  # of a batch that was killed half-way
        return job.path, done[job.path]
    target = output / job.path
    try:
        content = work.finish(job, loaded, mapped)
        about = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if job.path in suspects:
            same = about["sha256"] == suspects[job.path]["sha256"]
            return job.path, {**suspects[job.path], STAMP: loaded.about.get(STAMP)} if same else REPLACED
        if target.is_symlink() or (target.exists() and not work.same(target.read_bytes(), content)):
            return job.path, "a file of this name is there already, which this run did not write"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda file: file.write(content))
    except UserError as error:
        return job.path, str(error)
    except MemoryError:
        return job.path, NO_MEMORY
    except OSError as error:
        if error.errno in HOPELESS:
            raise UserError(
                f"{target} cannot be written: {error.strerror}; run the same command again to continue"
            ) from None
        return job.path, f"it cannot be written: {error.strerror}"
    return job.path, {"path": job.path, **loaded.about, **about}
