"""Tar files as an output, as WebDataset reads them: batches of a run, and a tar that holds what they give."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

from ..core.errors import UserError, named
from ..core.files import file_hash, read_regular
from ..core.packed import PackedFolder
from ..core.remote import Place, there
from ..core.tars import TAR, TarFiles, files_of_tar
from ..manifest import BESIDE, all_names, names_of
from ..manifest import TAR as TAR_OF
from .work import Job, Left, Made, Same


@dataclass(frozen=True)
class Tars:
    """Which tar file each image of a run goes to; always the same, whatever was done before.

    Attributes:
        batches: of the run; each goes to one tar.
        of: the name of the tar, by the path of the file.
    """

    batches: Sequence[Sequence[Job]]
    of: Mapping[str, str]

    def check(self, output: Place, done: Mapping[str, dict]) -> None:
        """Refuse a folder whose images would move from tar to tar.

        Args:
            output: folder.
            done: lines of the files that are there, by path.

        Raises:
            UserError: naming the first one; or when a folder of images is called as a tar.
        """
        for path, line in done.items():
            if TAR_OF in line and line[TAR_OF] != self.of[path]:
                raise UserError(
                    f"--output {output} has {path} in {line[TAR_OF]}, and images that came or went since "
                    f"would move it to {self.of[path]}; choose another folder, or bring --input back to what "
                    "it was"
                )
        tars = set(self.of.values())
        if shared := next((path for path in self.of if path.partition("/")[0] in tars), None):
            raise UserError(f"{shared} lies in a folder that is called as a tar file is to be: rename it")

    def wanting(self, output: Place, done: Mapping[str, dict], withheld: Sequence[str]) -> set[str]:
        """Names of the tars that have to be written: where a file is missing, or one is to be removed.

        Args:
            output: folder.
            done: lines of the files that are there, or are not to be made.
            withheld: paths of those that are to be removed.

        Raises:
            UserError: when a tar from which something may have to be removed cannot be read.
        """
        tars = {self.of[job.path] for batch in self.batches for job in batch if job.path not in done}
        names = {name for path in withheld for name in all_names(path)}
        for tar in {self.of[path] for path in withheld if path in self.of} - tars:
            if not names.isdisjoint(_earlier(output / tar).members):
                tars.add(tar)
        return tars


def in_tars(jobs: Sequence[Job], kept: Iterable[str], batch_size: int, images: int) -> Tars:
    """The tar files of a run.

    Args:
        jobs: sorted by path.
        kept: paths of withheld files: they keep their places, also where the raw image is gone.
        batch_size: images at a time.
        images: of a tar, but for the last one; a tar holds whole batches.
    """
    by_path = {job.path: job for job in jobs}
    paths = sorted({*by_path, *kept})
    size = -(-images // batch_size) * batch_size
    batches: list[list[Job]] = []
    of: dict[str, str] = {}
    for number, start in enumerate(range(0, len(paths), size)):
        group = paths[start : start + size]
        of |= dict.fromkeys(group, f"{number:06d}{TAR}")
        here = [by_path[path] for path in group if path in by_path]
        batches += [here[first : first + batch_size] for first in range(0, len(here), batch_size)]
    return Tars(batches, of)


def _earlier(tar: Place) -> TarFiles:
    """What the tar of an earlier run holds; nothing where there is none."""
    if not there(tar):
        return TarFiles({}, {})
    try:
        return files_of_tar(tar)
    except UserError as error:
        raise UserError(f"{tar}: {error}; delete it to have it made again") from None


class Packing:
    """A tar that is being written, whole: what batches give, and what an earlier one of its name holds.

    The same files give the same bytes: owners, times and modes of files are left out.

    Args:
        left: batches of this tar alone.
        file: the open file.
        same: of the contents of files.

    Raises:
        UserError: when a tar of this name is there that holds other files, or cannot be read.
    """

    def __init__(self, left: Left, file: BinaryIO, same: Same):
        self.left, self.same, self.place = left, same, left.output / left.tars[0]
        found = _earlier(self.place)
        paths = {job.path for batch in left.batches for job in batch} | left.leaving
        ours = {name for path in paths for name in all_names(path)}
        strange = sorted({*found.members, *found.others} - ours)
        if strange:
            raise UserError(
                f"{self.place} is there already and holds {strange[0]}, which this run did not write: move "
                "it away, or choose another --output"
            )
        self.earlier = found.members
        self.made: dict[str, Made] = {}
        self.tar = _new_tar(file)

    def put(self, path: str, made: Made) -> None:
        """Keep a file until its batch is added; several threads may do so."""
        self.made[path] = made

    def add(self, batch: Sequence[Job]) -> None:
        """Write the files of a batch: those that were put, and those that are there already.

        Raises:
            UserError: when one of the latter cannot be read, or the earlier tar has another file of a name.
        """
        for job in batch:
            if made := self.made.pop(job.path, None):
                self._check_the_earlier(job.path, made.content)
                _add(self.tar, job.path, made.content)
                for word in (word for word in BESIDE if word in made.beside):
                    _add(self.tar, job.path + BESIDE[word], made.beside[word])
                continue
            line = self.left.done.get(job.path) or self.left.suspects.get(job.path)
            for name in names_of(line) if line and "failed" not in line else ():
                if job.path in self.left.suspects and not self._has(name):
                    continue  # it was taken away
                with named(f"{self.place}, {name}"):
                    _add(self.tar, name, read_regular(self.earlier.get(name) or self.left.output / name))

    def _has(self, name: str) -> bool:
        return name in self.earlier or there(self.left.output / name)

    def _check_the_earlier(self, path: str, content: bytes) -> None:
        earlier = self.earlier.get(path)
        if earlier and path not in self.left.leaving and not self.same(read_regular(earlier), content):
            raise UserError(
                f"{self.place} is there already, and its {path} is not what this run makes: move it away, or "
                "choose another --output"
            )

    def close(self) -> None:
        """Write the end of the tar."""
        self.tar.close()


def _new_tar(file: BinaryIO) -> tarfile.TarFile:
    return tarfile.open(
        fileobj=file, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    )


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(content)
    tar.addfile(about, io.BytesIO(content))


class _Hash:
    """A file of which the hash alone is kept."""

    def __init__(self) -> None:
        self.hash, self.size = hashlib.sha256(), 0

    def write(self, piece: bytes) -> int:
        """Take a piece."""
        self.hash.update(piece)
        self.size += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Where the next piece goes."""
        return self.size


def holds_nothing_else(folder: Place, tar: str, lines: Iterable[dict]) -> bool:
    """Whether a tar is, byte for byte, what a run writes of its files: nothing hides between or behind them.

    Args:
        folder: of the tar.
        tar: its name.
        lines: of its files, in the manifest's order.
    """
    written, files = _Hash(), PackedFolder(folder, {name: tar for line in lines for name in names_of(line)})
    try:
        with _new_tar(cast(BinaryIO, written)) as again:
            for name in files.tars:
                _add(again, name, read_regular(files / name))
        return written.hash.hexdigest() == file_hash(folder / tar)
    except (OSError, UserError):
        return False
