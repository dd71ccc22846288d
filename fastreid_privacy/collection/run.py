"""A run over a collection: files written whole, a journal that a killed run continues from, and every file
accounted for by name."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..core.errors import UserError
from ..core.files import is_unfinished, remove_unfinished, write_atomically
from ..manifest import FORMAT, JOURNAL, MANIFEST, Manifest, line, read_manifest, unchanged, write_manifest
from .pipeline import side_by_side

HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no further file can be written either


@dataclass(frozen=True)
class Job:
    """One file to make: where it comes from, and its path in the output."""

    source: Path
    path: str


@dataclass
class Loaded:
    """A decoded image, uint8 H×W×3 RGB, or the reason why there is none; ``about`` goes into its line of the
    manifest."""

    pixels: np.ndarray | None = None
    reason: str = ""
    about: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What is done with the files of a collection.

    Attributes:
        header: what files are made by; a run continues only what has the same.
        load: reads a job; raises UserError with the reason, without the path.
        network: the loaded images of a whole batch, in its order, None where there is none, to as many
            images.
        finish: a job, what was loaded and its mapped image to the content of the file; may add to ``about``.
    """

    header: dict
    load: Callable[[Job], Loaded]
    network: Callable[[Sequence[np.ndarray | None]], Sequence[np.ndarray | None]]
    finish: Callable[[Job, Loaded, np.ndarray], bytes]


@contextmanager
def open_output(output: Path, header: dict) -> Iterator[Manifest]:
    """Make the output folder, or find what an earlier run of the same header has left there; inside, no other
    run may write to it.

    Raises:
        UserError: when the folder holds something else, was made otherwise, cannot be written to, or another
            run writes to it.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {output} cannot be made: {error.strerror}") from None
    if not os.access(output, os.W_OK | os.X_OK):
        raise UserError(f"--output {output} cannot be written to; choose another folder")
    with _alone(output):
        yield _earlier(output, {"kind": FORMAT, "schema": 1, **header})


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, which ends with this process at the latest."""
    if os.name != "posix":  # Windows opens no folders
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another run writes to --output {folder}; wait for its end, or choose another folder"
            ) from None
        except (
            OSError
        ):  # some network file systems know no locks: two runs at once are then the user's to avoid
            pass
        yield
    finally:
        os.close(descriptor)


def _earlier(output: Path, header: dict) -> Manifest:
    """What an earlier run has left in a folder; nothing in a new one."""
    journal, manifest = output / JOURNAL, output / MANIFEST
    found = next((file for file in (journal, manifest) if file.exists()), None)
    if found is None or (
        found == journal and not journal.read_bytes().count(b"\n")
    ):  # killed before the first line was there
        if any(item.name != JOURNAL and not is_unfinished(item.name) for item in output.iterdir()):
            raise UserError(
                f"--output {output} is not empty, and no earlier run wrote it; choose an empty or new folder"
            )
        return Manifest(header, {}, {}, False)
    earlier = read_manifest(found, torn=found == journal)
    if found == journal and not earlier.entries and {item.name for item in output.iterdir()} == {JOURNAL}:
        return Manifest(header, {}, {}, False)  # it ended before it wrote anything
    if earlier.header != header:
        differing = [
            f"{key} {earlier.header.get(key)} there, {header.get(key)} here"
            for key in dict.fromkeys([*earlier.header, *header])
            if earlier.header.get(key) != header.get(key)
        ]
        raise UserError(
            f"--output {output} was made otherwise ({'; '.join(differing)}); choose another folder"
        )
    return earlier


def run(
    jobs: Sequence[Job], output: Path, work: Work, *, batch_size: int, workers: int, describe: str
) -> Manifest:
    """Make every file that is not there yet, and the manifest.

    Batches are always the same files, whatever was done before: a network's last digits can depend on the
    batch, so a continued run gives the bytes of an uninterrupted one.

    Args:
        jobs: sorted by path.
        output: folder.
        work: what is done.
        batch_size: images at a time.
        workers: threads, each of which has a batch.
        describe: of the progress bar.

    Returns:
        What manifest.jsonl holds now.

    Raises:
        UserError: as :func:`open_output`, or when a full or read-only disk ends the run; running it again
            continues it.
    """
    with open_output(output, work.header) as earlier:
        return _run(jobs, output, work, earlier, batch_size, workers, describe)


def _run(
    jobs: Sequence[Job],
    output: Path,
    work: Work,
    earlier: Manifest,
    batch_size: int,
    workers: int,
    describe: str,
) -> Manifest:
    done = still_there(output, earlier, {job.path for job in jobs})
    batches = [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]
    open_batches = [batch for batch in batches if any(job.path not in done for job in batch)]
    open_jobs = sum(map(len, open_batches))
    failed: dict[str, str] = {}

    def whole(batch: Sequence[Job]) -> list[tuple[str, dict | str]]:
        loaded = [_load(job, work) for job in batch]
        mapped = work.network([item.pixels for item in loaded])
        return [_finish(*item, work, output, done) for item in zip(batch, loaded, mapped, strict=True)]

    with (
        Journal(output / JOURNAL, earlier.header, done.values()) as journal,
        tqdm(
            total=len(jobs), initial=len(jobs) - open_jobs, unit=" images", desc=describe, disable=None
        ) as progress,
    ):
        for folder in sorted(
            {output, *(output / Path(job.path).parent for batch in open_batches for job in batch)}
        ):
            remove_unfinished(folder)
        for results in side_by_side(open_batches, whole, workers):
            made = {path: result for path, result in results if isinstance(result, dict)}
            failed.update({path: result for path, result in results if isinstance(result, str)})
            journal.add(entry for path, entry in made.items() if path not in done)
            done.update(made)
            progress.update(len(results))
        write_manifest(output, earlier.header, done.values(), failed)
    (output / JOURNAL).unlink()
    return Manifest(earlier.header, done, failed, True)


def still_there(output: Path, earlier: Manifest, wanted: set[str]) -> dict[str, dict]:
    """Entries whose files need not be made again.

    Raises:
        UserError: when a file was changed, or is of an image that is wanted no more.
    """
    gone = sorted(set(earlier.entries) - wanted)
    if gone:
        more = f" and {len(gone) - 1:,} more" if len(gone) > 1 else ""
        raise UserError(
            f"--output {output} holds {gone[0]}{more} of images that --input has no more; choose another "
            "folder, or bring "
            "them back"
        )
    done = {
        path: entry
        for path, entry in earlier.entries.items()
        if all((output / name).exists() for name in _files(entry))
    }
    for path, entry in done.items():
        if not unchanged(output, entry):
            raise UserError(
                f"{output / path} was changed since it was written, or its sealed original; delete it to "
                "have it made again"
            )
    return done


def _files(entry: dict) -> list[str]:
    """The paths of an entry's files: the protected one, and its sealed original where there is one."""
    return [entry["path"], *([entry["sealed"]] if "sealed" in entry else [])]


class Journal:
    """The entries of finished files, each on the disk before the next batch is counted."""

    def __init__(self, path: Path, header: dict, entries):
        self.path = path
        write_atomically(
            path, lambda file: file.writelines(map(line, [header, *entries]))
        )  # without a torn line of a killed run

    def __enter__(self) -> Journal:
        self.file = self.path.open("ab")
        return self

    def __exit__(self, *error) -> None:
        self.file.close()

    def add(self, entries) -> None:
        self.file.writelines(map(line, entries))
        self.file.flush()


def _load(job: Job, work: Work) -> Loaded:
    try:
        return work.load(job)
    except UserError as error:
        return Loaded(reason=str(error))


def _finish(
    job: Job, loaded: Loaded, mapped: np.ndarray | None, work: Work, output: Path, done: dict
) -> tuple[str, dict | str]:
    """(path, line of the manifest, or the reason why there is no file)."""
    if loaded.pixels is None or mapped is None:
        return job.path, loaded.reason
    if job.path in done:  # of a batch that was killed half-way
        return job.path, done[job.path]
    target = output / job.path
    try:
        content = work.finish(job, loaded, mapped)
        if target.is_symlink() or (target.exists() and target.read_bytes() != content):
            return job.path, "a file of this name is there already, which this run did not write"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda file: file.write(content))
    except UserError as error:
        return job.path, str(error)
    except OSError as error:
        if error.errno in HOPELESS:
            raise UserError(
                f"{target} cannot be written: {error.strerror}; run the same command again to continue"
            ) from None
        return job.path, f"it cannot be written: {error.strerror}"
    return job.path, {
        "path": job.path,
        **loaded.about,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
