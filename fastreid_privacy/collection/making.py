"""One batch of a run: its files read, made together, and each put where it belongs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..core.errors import UserError, out_of_memory, told_with
from ..core.files import HOPELESS
from ..core.remote import Place, there
from .carrying import about_beside
from .output import SHARDS, unwritten
from .staging import put, put_anew, stage
from .stamps import STAMP
from .suspects import BEREFT, REPLACED
from .work import Job, Left, Loaded, Made, Mapped, Results, Work

NO_MEMORY = "there is not enough memory for it: take fewer --workers, or a smaller --batch-size"

HELD_BYTES = 2**25  # of files that wait for their lines to be told

Put = Callable[[Left, Work, dict, Made], dict]
"""Puts the file of a line where it belongs; gives what its line is to say of that, too."""

Tell = Callable[[Sequence[dict]], None]
"""Writes lines down."""


def alone(left: Left, work: Work, tell: Tell, batches: Sequence[Sequence[Job]]) -> Results:
    """Make the files of batches that are not there yet, and write each by itself.

    The lines of new files are told first: a killed run's file is known, whatever becomes of its raw file.

    Raises:
        UserError: when a full or read-only disk ends the run.
    """
    results: dict[str, dict | str] = {}
    held: list[tuple[dict, Made]] = []

    def hold(left: Left, work: Work, entry: dict, made: Made) -> dict:
        held.append((entry, made))
        return {}

    for number, batch in enumerate(batches, 1):
        results |= whole(left, work, batch, hold)
        if number == len(batches) or sum(map(_length, held)) > HELD_BYTES:
            results |= _put(left, work, tell, held)
            held.clear()
    return [*results.items()]


def _length(held: tuple[dict, Made]) -> int:
    return sum(map(len, [held[1].content, *held[1].beside.values()]))


def _put(left: Left, work: Work, tell: Tell, held: Sequence[tuple[dict, Made]]) -> dict[str, str]:
    """Write files, and what lies beside them; gives the reasons why some are not written, by path."""
    failed: dict[str, str] = {}
    new = []
    for entry, made in held:
        path = entry["path"]
        if path in left.leaving:
            continue
        with _writing(left, path, failed):
            found = [name for name in _contents(entry, made) if there(left.output / name)]
            if not found:
                new.append(entry)
            elif found[0] != path or is_another(left.output / path, work, made):
                failed[path] = f"{found[0]} is there already, which this run did not write"
    tell(new)
    for entry, made in held:
        path, contents = entry["path"], _contents(entry, made)
        with _writing(left, path, failed):
            if path in left.leaving:
                stage(left.output / SHARDS, entry, contents)
                put_anew(left.output, path, contents)
            elif path not in failed:
                put(left.output, path, contents)
    return failed


@contextmanager
def _writing(left: Left, path: str, failed: dict[str, str]) -> Iterator[None]:
    """A file that cannot be written is told as failed; a full disk ends the run."""
    try:
        yield
    except UserError as error:
        failed[path] = str(error)
    except MemoryError:
        failed[path] = NO_MEMORY
    except OSError as error:
        # a file may be half replaced: a run that ends here is finished by the next one
        if error.errno in HOPELESS or path in left.leaving:
            raise unwritten(error, left.output / path) from None
        failed[path] = f"it cannot be written: {error.strerror}"


def _contents(entry: dict, made: Made) -> dict[str, bytes]:
    """What is written, by name."""
    return {entry["path"]: made.content, **{entry[word]: content for word, content in made.beside.items()}}


def is_another(target: Place, work: Work, made: Made) -> bool:
    """Whether another file is there than the one that was made."""
    return target.is_symlink() or (target.exists() and not work.same(target.read_bytes(), made.content))


def whole(left: Left, work: Work, batch: Sequence[Job], put: Put) -> Results:
    """Make the files of a batch that are not there yet; all of its pictures are mapped together.

    What nobody expected says at which files it happened.
    """
    if all(job.path in left.done for job in batch):  # of a tar file that is written again
        return [(job.path, left.done[job.path]) for job in batch]
    with told_with([job.name for job in batch]):
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
            return [(job.path, NO_MEMORY) for job in batch if job.path not in left.done]
        return [_finish(*item, work, left, put) for item in zip(batch, loaded, mapped, strict=True)]


def _load(job: Job, work: Work) -> Loaded | str:
    """What was read, or the reason why nothing was."""
    stamp = work.stamp(job.path, job.source) if work.stamp else None  # before it is read
    try:
        with told_with([job.name]):
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
    left: Left,
    put: Put,
) -> tuple[str, dict | str]:
    """(path, line of the manifest, or the reason why there is no file)."""
    if isinstance(loaded, str):
        return job.path, loaded
    assert mapped is not None  # a picture for each picture
    if job.path in left.done:  # of a batch that was killed half-way
        return job.path, left.done[job.path]
    try:
        with told_with([job.name]):
            made = work.finish(job, loaded, mapped)
        for word, content in made.beside.items():
            loaded.about.update(about_beside(job.path, word, content))
        about = {"size": len(made.content), "sha256": hashlib.sha256(made.content).hexdigest()}
        line = {"path": job.path, **loaded.about, **about}
        if job.path in left.suspects and not work.renew:
            before, stamp = left.suspects[job.path], line.get(STAMP)
            if before.get(STAMP) == stamp and is_another(left.output / job.path, work, made):
                return job.path, BEREFT
            if before.get(STAMP) != stamp and before["sha256"] != line["sha256"]:
                return job.path, REPLACED
            if job.path not in left.leaving:  # all of it is there
                return job.path, {**before, STAMP: stamp}
        line |= put(left, work, line, made)
    except UserError as error:
        return job.path, str(error)
    except MemoryError:
        return job.path, NO_MEMORY
    return job.path, line
