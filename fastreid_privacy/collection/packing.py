"""Tar files as an output, as WebDataset reads them: batches of a run, and a tar that holds what they give."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from ..core.errors import UserError
from ..core.files import read_regular
from ..core.remote import Place, there
from ..core.tars import TAR, TarFiles, files_of_tar
from ..manifest import BESIDE, names_of
from .work import Job, Left, Made, Same

ENDINGS = ("", *BESIDE.values())  # of what may lie in a tar of a file


def tars_of(batches: Sequence[Sequence[Job]], images: int) -> dict[str, str]:
    """The name of the tar file that each file goes to; always the same, whatever was done before.

    Args:
        batches: of a run; each goes to one tar.
        images: of a tar at least, but for the last one.
    """
    names: dict[str, str] = {}
    number = held = 0
    for batch in batches:
        if held >= images:
            number, held = number + 1, 0
        names |= dict.fromkeys((job.path for job in batch), f"{number:06d}{TAR}")
        held += len(batch)
    return names


def open_tars(
    output: Place,
    batches: Sequence[Sequence[Job]],
    tar_of: Mapping[str, str],
    done: Mapping[str, dict],
    withheld: Sequence[str],
) -> set[str]:
    """Names of the tar files that a run has to write: where a file is missing, or one is to be removed.

    Args:
        output: folder.
        batches: of the whole run.
        tar_of: of :func:`tars_of`.
        done: lines of the files that are there, or are not to be made.
        withheld: paths of those that are to be removed.

    Raises:
        UserError: when a tar from which something may have to be removed cannot be read.
    """
    wanting = {tar_of[job.path] for batch in batches for job in batch if job.path not in done}
    for tar in {tar_of[path] for path in withheld if path in tar_of} - wanting:
        names = {path + ending for path in withheld for ending in ENDINGS}
        if not names.isdisjoint(_earlier(output / tar).members):
            wanting.add(tar)
    return wanting


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
        ours = {job.path + ending for batch in left.batches for job in batch for ending in ENDINGS}
        strange = sorted({*found.members, *found.others} - ours)
        if strange:
            raise UserError(
                f"{self.place} is there already and holds {strange[0]}, which this run did not write: move "
                "it away, or choose another --output"
            )
        self.earlier = found.members
        self.made: dict[str, Made] = {}
        self.tar = tarfile.open(  # noqa: SIM115  # closed by close()
            fileobj=file, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
        )

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
                self._write(job.path, made.content)
                for word in (word for word in BESIDE if word in made.beside):
                    self._write(job.path + BESIDE[word], made.beside[word])
                continue
            line = self.left.done.get(job.path) or self.left.suspects.get(job.path)
            for name in names_of(line) if line and "failed" not in line else ():
                try:
                    self._write(name, read_regular(self.earlier.get(name) or self.left.output / name))
                except UserError as error:
                    raise UserError(f"{self.place}, {name}: {error}") from None

    def _check_the_earlier(self, path: str, content: bytes) -> None:
        earlier = self.earlier.get(path)
        if earlier and path not in self.left.renewed and not self.same(read_regular(earlier), content):
            raise UserError(
                f"{self.place} is there already, and its {path} is not what this run makes: move it away, or "
                "choose another --output"
            )

    def _write(self, name: str, content: bytes) -> None:
        about = tarfile.TarInfo(name)
        about.size = len(content)
        self.tar.addfile(about, io.BytesIO(content))

    def close(self) -> None:
        """Write the end of the tar."""
        self.tar.close()
