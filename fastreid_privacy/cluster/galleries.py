"""The engine of a cluster for galleries: each task makes the features of some batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from ..collection.pipeline import side_by_side
from ..retrieval.features import Look, Looked, Picture
from .tasks import Pieces, RayTasks
from .worker import Do, refuse_unseen


@dataclass(frozen=True)
class Some:
    """Some batches of a gallery.

    Attributes:
        batches: by their numbers.
        tries: how often they were begun, and their process was lost.
    """

    batches: Mapping[int, Sequence[Picture]]
    tries: int = 0

    @property
    def names(self) -> list[str]:
        """Of the images."""
        return [picture.path for batch in self.batches.values() for picture in batch]


@dataclass(frozen=True)
class RayFeatures(RayTasks):
    """Makes the features of a gallery on a cluster."""

    def __call__(
        self, look: Look, batches: Iterable[Sequence[Picture]], images: int, size: int
    ) -> Iterator[tuple[int, Looked]]:
        """As :class:`fastreid_privacy.retrieval.features.Engine`.

        Raises:
            UserError: as :meth:`RayTasks.done`.
        """
        numbered = enumerate(batches)

        def cut(least: int) -> Iterator[Some]:
            while some := dict(islice(numbered, -(-least // size))):
                yield Some(some)

        def again(lost: Some) -> list[Some]:
            return [Some({number: batch}, lost.tries + 1) for number, batch in lost.batches.items()]

        pieces = Pieces(images, cut, again, "--gallery", "run the same command again")
        with closing(self.done(MakeFeatures(look), pieces)) as done:
            for _, looked in done:
                yield from looked.items()


@dataclass(frozen=True)
class MakeFeatures:
    """Makes features in a process of the cluster.

    Attributes:
        look: what is done with a batch.
    """

    look: Look

    def __call__(self, device: str) -> Do:
        self.look.extract.to(device)
        return self.do

    def do(self, some: Some, threads: int) -> dict[int, Looked]:
        """The features of some batches, by their numbers."""
        files = (picture.file for batch in some.batches.values() for picture in batch)
        refuse_unseen(files, some.names, "--gallery")
        looked = side_by_side(some.batches.values(), self.look, threads)
        return dict(zip(some.batches, looked, strict=True))
