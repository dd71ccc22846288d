"""Features of a gallery's pictures: what is made of a batch, by which engine, and all batches in order."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..collection.pipeline import side_by_side
from ..collection.source import Source
from ..core.errors import UserError, told_with
from ..core.members import Readable
from ..core.pictures import open_picture
from .extract import Extractor


class Picture(NamedTuple):
    """One image of a gallery.

    Attributes:
        path: what the index calls it, relative to the gallery.
        name: what messages call it.
        file: where it is read.
    """

    path: str
    name: str
    file: Readable


class Looked(NamedTuple):
    """What became of a batch.

    Attributes:
        read: paths of the n images that could be read, in their order.
        features: of these, n×D float32, finite, not normalised; 0×0 where n is 0.
        reasons: path → why it could not be read.
    """

    read: list[str]
    features: np.ndarray
    reasons: dict[str, str]


@dataclass(frozen=True)
class Look:
    """Makes features of a batch; other processes get it, and make the same.

    Attributes:
        extract: the model.
        protect: whether each image goes through the anonymizer first.
    """

    extract: Extractor
    protect: bool = False

    def __call__(self, batch: Sequence[Picture]) -> Looked:
        """The features of a batch.

        Raises:
            UserError: when features are not finite, naming the first such image.
        """
        read: list[Picture] = []
        images: list[Tensor] = []
        reasons = {}
        for picture in batch:
            with told_with([picture.name]):
                try:
                    images.append(self.extract.transform(open_picture(picture.file, picture.name)))
                    read.append(picture)
                except UserError as error:
                    reasons[picture.path] = str(error)
        if not images:
            return Looked([], np.empty((0, 0), np.float32), reasons)
        names = [picture.name for picture in read]
        with told_with(names):
            stacked = torch.stack(images)
            seen = self.extract.protect(stacked, names) if self.protect else stacked
            features = self.extract(seen).numpy()
        bad = np.flatnonzero(~np.isfinite(features).all(1))
        if len(bad):
            raise UserError(
                f"the features of {names[bad[0]]} are not finite: the checkpoint's weights are broken"
            )
        return Looked([picture.path for picture in read], features, reasons)

    def __getstate__(self) -> dict:
        """With the networks alone that it uses."""
        return {"extract": self.extract.reduced(anonymizes=self.protect), "protect": self.protect}


class Engine(Protocol):
    """Has batches looked at."""

    def __call__(
        self, look: Look, batches: Iterable[Sequence[Picture]], images: int, size: int
    ) -> Iterator[tuple[int, Looked]]:
        """Yields (number of a batch, what became of it), in any order, each number once.

        Args:
            look: what is done with each.
            batches: always the same files for a gallery; read once, as far as they are needed.
            images: in all batches.
            size: images of a batch; the last one may have fewer.
        """
        ...


@dataclass(frozen=True)
class Threads:
    """The engine of one machine: each of several threads has a batch.

    Torch uses one thread in each, so that a feature's bytes do not depend on the number of cores.

    Attributes:
        workers: threads; None: as many as there are cores.
    """

    workers: int | None = None

    def __call__(
        self, look: Look, batches: Iterable[Sequence[Picture]], images: int, size: int
    ) -> Iterator[tuple[int, Looked]]:
        with closing(side_by_side(batches, look, self.workers)) as found:
            yield from enumerate(found)


def gallery_features(
    source: Source, look: Look, *, batch_size: int = 64, engine: Engine | None = None
) -> Generator[Looked]:
    """Features of all images, with a progress bar where standard error is a terminal.

    Batches that are done before an earlier one wait for it: no more is in memory than all features, and the
    batches that are worked on.

    Args:
        source: the images.
        look: what is done with a batch.
        batch_size: images at a time.
        engine: what does it; None: threads of this process.

    Yields:
        What became of each batch, in the order of the images' paths.

    Raises:
        UserError: when features are not finite.
    """
    engine, images = engine or Threads(), len(source.paths)
    waiting: dict[int, Looked] = {}
    awaited = 0
    with (
        tqdm(total=images, unit=" images", desc="features", disable=None) as progress,
        closing(engine(look, _batches(source, batch_size), images, batch_size)) as found,  # type: ignore[type-var]  # engines are generators
    ):
        for number, looked in found:
            progress.update(len(looked.read) + len(looked.reasons))
            waiting[number] = looked
            while awaited in waiting:
                yield waiting.pop(awaited)
                awaited += 1


def _batches(source: Source, size: int) -> Iterator[list[Picture]]:
    for start in range(0, len(source.paths), size):
        yield [
            Picture(path, str(source.root / path), source.place(path))
            for path in source.paths[start : start + size]
        ]
