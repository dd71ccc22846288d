"""One batch of a run: its files read, made together, and each put where it belongs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from ..core.errors import UserError, out_of_memory, told_with
from ..core.files import HOPELESS, write_whole
from ..manifest import all_names
from .carrying import about_beside, write_beside
from .output import unwritten
from .stamps import STAMP
from .work import Job, Left, Loaded, Made, Mapped, Results, Work

NO_MEMORY = "there is not enough memory for it: take fewer --workers, or a smaller --batch-size"
REPLACED = (
    "its raw file was replaced since it was protected (size or time differ); --renew protects it anew, and "
    "replaces what was written"
)

Put = Callable[[Left, Work, str, Made], dict]
"""Puts a file of a path where it belongs; gives what its line is to say of that."""


def put_alone(left: Left, work: Work, path: str, made: Made) -> dict:
    """Write a file, and what lies beside it.

    Raises:
        UserError: when another file of this name is there.
        OSError: when it cannot be written.
    """
    target, renewed = left.output / path, path in left.leaving
    strange = target.is_symlink() or (target.exists() and not work.same(target.read_bytes(), made.content))
    if strange and not renewed:
        raise UserError("a file of this name is there already, which this run did not write")
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = [write_beside(left.output, path, word, content)[word] for word, content in made.beside.items()]
    write_whole(target, made.content)
    for name in {*all_names(path)} - {path, *beside} if renewed else ():  # of the raw file that was replaced
        (left.output / name).unlink(missing_ok=True)
    return {}


def whole(left: Left, work: Work, batch: Sequence[Job], put: Put = put_alone) -> Results:
    """Make the files of a batch that are not there yet; all of its pictures are mapped together."""
    if all(job.path in left.done for job in batch):  # of a tar file that is written again
        return [(job.path, left.done[job.path]) for job in batch]
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
    suspects = left.suspects
    try:
        with told_with([job.name]):
            made = work.finish(job, loaded, mapped)
        for word, content in made.beside.items():
            loaded.about.update(about_beside(job.path, word, content))
        about = {"size": len(made.content), "sha256": hashlib.sha256(made.content).hexdigest()}
        if job.path in suspects and not work.renew:
            same = about["sha256"] == suspects[job.path]["sha256"]
            return job.path, {**suspects[job.path], STAMP: loaded.about.get(STAMP)} if same else REPLACED
        about |= put(left, work, job.path, made)
    except UserError as error:
        return job.path, str(error)
    except MemoryError:
        return job.path, NO_MEMORY
    except OSError as error:
        # a renewed file may be half replaced, which only the journal tells: a run that ends here keeps it
        if error.errno in HOPELESS or job.path in left.leaving:
            raise unwritten(error, left.output / job.path) from None
        return job.path, f"it cannot be written: {error.strerror}"
    return job.path, {"path": job.path, **loaded.about, **about}
