"""The output folder of a run: one run's alone, continued where an earlier one ended, never others' files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import UserError, some_of
from ..core.files import is_unfinished, make_folder, read_file, saying_what, write_atomically
from ..core.lock import locked
from ..core.packed import Folder
from ..core.remote import Place, there
from ..manifest import (
    FORMAT,
    GUARD,
    JOURNAL,
    MANIFEST,
    TAR,
    Manifest,
    all_names,
    files_of,
    journal_line,
    names_of,
    read_manifest,
    sums_of,
    unchanged,
)
from .staging import put_staged

SHARDS, ENDING = ".manifest.shards", ".jsonl"  # a folder in the output of an unfinished run, and manifests
NOISE_KEY = ".noise.key"  # in the output folder while a run with noise is unfinished


def unwritten(error: OSError, target: Place) -> UserError:
    """What ends a run that cannot write a file.

    Args:
        error: the system's, of writing it.
        target: the file, or the folder of its kind.
    """
    reason = error.strerror or error
    return UserError(f"{target} cannot be written: {reason}; run the same command again to continue")


@contextmanager
def open_output(output: Place, header: dict) -> Iterator[Manifest]:
    """Make the output folder, or find what an earlier run of the same header has left there.

    Inside, no other run may write to it.

    Raises:
        UserError: when the folder holds something else, was made otherwise, cannot be written to, or another
            run writes to it.
    """
    make_folder(output)
    in_use = f"another run writes to --output {output}; wait for its end, or choose another folder"
    with locked(output, in_use):
        yield _earlier(output, {"kind": FORMAT, "schema": 1, **header})


def _earlier(output: Place, header: dict) -> Manifest:
    """What an earlier run has left in a folder; nothing in a new one."""
    journal, manifest = output / JOURNAL, output / MANIFEST
    found = next((file for file in (journal, manifest) if file.exists()), None)
    # a run that was killed early leaves a journal without a first line
    if found is None or (found == journal and not read_file(journal).count(b"\n")):
        ours = (JOURNAL, NOISE_KEY)  # of a run that ended before it wrote anything
        if any(item.name not in ours and not is_unfinished(item.name) for item in output.iterdir()):
            raise UserError(
                f"--output {output} is not empty, and no earlier run wrote it; choose an empty or new folder"
            )
        return Manifest(header, {}, {}, False)
    earlier = read_manifest(found, torn=found == journal)
    told = earlier.entries or earlier.failed  # a journal has no other failed ones than those withheld
    if found == journal and not told and {item.name for item in output.iterdir()} <= {JOURNAL, NOISE_KEY}:
        return Manifest(header, {}, {}, False)  # it ended before it wrote anything
    if earlier.header != header:
        keys = dict.fromkeys([*earlier.header, *header])
        others = [key for key in keys if earlier.header.get(key) != header.get(key)]
        differing = [f"{key} {earlier.header.get(key)} there, {header.get(key)} here" for key in others]
        unguarded = others == [GUARD] and GUARD not in earlier.header  # older versions had none
        remedy = ", or continue it with --no-guard" if unguarded else ""
        raise UserError(
            f"--output {output} was made otherwise ({'; '.join(differing)}); choose another folder{remedy}"
        )
    if found == journal:
        for file in _shards(output):
            _take_over(output, earlier, read_manifest(file).entries)
        earlier.entries |= put_staged(output / SHARDS, output, earlier.failed)
    return earlier


def _take_over(output: Place, earlier: Manifest, entries: dict[str, dict]) -> None:
    """Take over the lines of a shard, but for those of a tar file that did not get its name: it still is the
    one that the journal tells of."""
    folder: Folder = files_of(output, entries.values())
    for path, entry in entries.items():
        before = earlier.entries.get(path)
        if not before or sums_of(before) == sums_of(entry) or unchanged(folder, entry):
            earlier.entries[path] = entry


def _shards(output: Place) -> list[Place]:
    """The manifests of shards that an unfinished run has left, the latest last."""
    folder = output / SHARDS
    if not folder.is_dir():
        return []
    return sorted((file for file in folder.iterdir() if file.name.endswith(ENDING)), key=str)


def forget_shards(output: Place) -> None:
    """Delete the manifests of shards, and staged files; what they say is elsewhere."""
    if (output / SHARDS).is_dir():
        for file in [*(output / SHARDS).iterdir()]:
            file.unlink()
        (output / SHARDS).rmdir()


def forget(output: Place) -> None:
    """Delete what was kept for the next run, for the manifest has it all."""
    (output / JOURNAL).unlink()
    forget_shards(output)


def still_there(output: Place, earlier: Manifest, wanted: set[str]) -> dict[str, dict]:
    """Entries whose files need not be made again, by path.

    Raises:
        UserError: when a file was changed, or is of an image that is wanted no more.
    """
    folder: Folder = files_of(output, earlier.entries.values())
    for path in {*earlier.entries} - wanted:
        if not any((folder / name).exists() for name in names_of(earlier.entries[path])):
            del earlier.entries[path]  # a run was killed before it wrote any of it
    gone = sorted(set(earlier.entries) - wanted)
    if gone:
        raise UserError(
            f"--output {output} holds {some_of(gone, 1)} of images that --input has no more; choose another "
            "folder, or bring them back"
        )
    done = {
        path: entry
        for path, entry in earlier.entries.items()
        if all((folder / name).exists() for name in names_of(entry))
    }
    for entry in done.values():
        if not unchanged(folder, entry):
            raise changed(output, entry)
    return done


def changed(output: Place, entry: dict) -> UserError:
    """What is said where a file of an entry was changed."""
    return UserError(
        f"{output / entry.get(TAR, entry['path'])} was changed since it was written, or what lies beside it "
        "(.sealed, .template, .audit.jsonl); delete it to have it made again"
    )


def remove_all_of(output: Place, paths: Iterable[str]) -> None:
    """Delete what was made under these paths and lies beside it, also what no entry tells of."""
    for path in paths:
        for name in all_names(path):
            if there(output / name):
                (output / name).unlink()


def begin_journal(path: Place, header: dict, entries: Iterable[dict]) -> None:
    """Write the journal anew, as :class:`Journal` has it: it has all that shards told, which begin anew."""
    lines = map(journal_line, [header, *entries])
    write_atomically(path, lambda file: file.writelines(lines), private=True)
    forget_shards(path.parent)


class Journal:
    """The entries of files, each on the disk before the next batch is counted.

    Args:
        path: of the file; it is written anew, without the torn line of a killed run. Only its owner may read
            it.
        header: the manifest's first line.
        entries: of the files that are there already.
    """

    def __init__(self, path: Path, header: dict, entries: Iterable[dict]):
        self.path = path
        begin_journal(path, header, entries)

    def __enter__(self) -> Journal:
        self.file = self.path.open("ab")
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def add(self, entries: Iterable[dict]) -> None:
        """Write entries, so that the system has them when this returns; several threads may do so."""
        if lines := b"".join(map(journal_line, entries)):
            with saying_what(self.path):
                self.file.write(lines)
                self.file.flush()
