"""Asking an index: query pictures as the model sees them, their rankings, and the strip that shows both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ..core.errors import UserError
from ..core.images import to_pictures
from ..core.pictures import open_picture
from ..core.remote import Place
from .extract import Extractor
from .gallery import GalleryPictures
from .index import GalleryIndex
from .strip import MOST, Tile, draw_strip, same_person


@dataclass
class Answer:
    """The ranking of one query.

    Attributes:
        query: its file.
        scores: cosine (higher is nearer) or Euclidean distance (lower is nearer), the best first.
        paths: of the images found, relative to the gallery.
    """

    query: Path
    scores: list[float]
    paths: list[str]

    @property
    def same_person(self) -> list[bool | None]:
        """Of each image whether its name says that it shows the query's person; None: it does not say."""
        return [same_person(self.query.name, path) for path in self.paths]


def ask(
    index: GalleryIndex,
    extract: Extractor,
    images: Sequence[str | Path],
    *,
    top: int = 10,
    protect: bool = False,
    effort: int | None = None,
) -> list[Answer]:
    """Rank the gallery for image files of any domain.

    Args:
        index: of the gallery.
        extract: the Re-ID model that built it.
        images: query files.
        top, effort: as of :meth:`.index.GalleryIndex.search`.
        protect: put the queries through the anonymizer first.

    Raises:
        UserError: for another model than the index's, or a query that cannot be read or protected.
    """
    check_model(index, extract)  # before anything is read
    files = [Path(image) for image in images]
    seen = [_as_seen(open_picture(path), path, extract, protect) for path in files]
    return rank(index, extract, list(zip(files, seen, strict=True)), top=top, effort=effort)


def check_model(index: GalleryIndex, extract: Extractor) -> None:
    """Refuse an index of another model's features.

    Raises:
        UserError: saying what to do.
    """
    if extract.fingerprint != index.fingerprint:
        raise UserError(
            "the index was built with another Re-ID model than this checkpoint's, so features cannot be "
            f"compared: name the checkpoint that built it, or build the index of {index.root} again"
        )


def rank(
    index: GalleryIndex,
    extract: Extractor,
    queries: Sequence[tuple[Path, Tensor]],
    *,
    top: int = 10,
    effort: int | None = None,
) -> list[Answer]:
    """Rank the gallery for pictures as the model sees them.

    Args:
        index, extract, top, effort: as of :func:`ask`.
        queries: what each is called, and 1×3×H×W, 0–255, of :meth:`.extract.Extractor.seen` or ``protect``.

    Raises:
        UserError: for another model than the index's.
    """
    check_model(index, extract)
    features = np.concatenate([extract(images).numpy() for _, images in queries])
    if not np.isfinite(features).all():
        raise UserError("the features of the query are not finite: the checkpoint's weights are broken")
    answers = index.search(features, top, effort)
    return [
        Answer(path, scores.tolist(), [index.paths[place] for place in places])
        for (path, _), (scores, places) in zip(queries, answers, strict=True)
    ]


def answers_strip(
    answers: Sequence[Answer],
    index: GalleryIndex,
    extract: Extractor,
    root: str | Place,
    *,
    protect: bool = False,
) -> tuple[Image.Image, list[str]]:
    """The answers as one picture, a row each. What stood as protected for the search is shown protected.

    Args:
        answers: of :func:`ask`.
        index: that was asked.
        extract: the model, for protected pictures.
        root: the gallery, where it is now.
        protect: whether the queries went through the anonymizer.

    Returns:
        the RGB picture, and the gallery images that are missing in it because ``root`` has no readable file
        of that name.

    Raises:
        UserError: for a query that cannot be read, or an image that cannot be protected.
    """
    missing: list[str] = []
    rows = []
    pictures = GalleryPictures(root)
    for answer in answers:
        tiles = found_tiles(answer, index, extract, pictures, missing)
        rows.append(
            (
                Tile(
                    _to_show(open_picture(answer.query), answer.query, extract, protect),
                    "query",
                    answer.query.stem,
                ),
                tiles,
            )
        )
    return draw_strip(rows), list(dict.fromkeys(missing))


def found_tiles(
    answer: Answer, index: GalleryIndex, extract: Extractor, pictures: GalleryPictures, missing: list[str]
) -> list[Tile]:
    """The ranked images of an answer, for a strip.

    Args:
        answer, index, extract: as of :func:`answers_strip`.
        pictures: of the gallery.
        missing: gets the paths of those that the gallery has no more.

    Raises:
        UserError: for an image that cannot be protected as it was for the index.
    """
    tiles = []
    found = zip(answer.scores, answer.paths, answer.same_person, strict=True)
    for place, (score, path, same) in enumerate(list(found)[:MOST], start=1):
        picture = None
        try:
            picture = pictures.open(path)
        except UserError:
            missing.append(path)
        if picture is not None and index.protected:
            if not pictures.is_file(path):
                extract.refuse_elsewhere(pictures.root)
            picture = _to_show(picture, pictures.root / path, extract, protect=True)
        tiles.append(Tile(picture, f"{place}   {score:.3f}", Path(path).stem, same))
    return tiles


def _as_seen(picture: Image.Image, file: Place, extract: Extractor, protect: bool) -> Tensor:
    image = extract.transform(picture)[None]
    return extract.protect(image, [str(file)]) if protect else image


def _to_show(picture: Image.Image, file: Place, extract: Extractor, protect: bool) -> Image.Image:
    """A picture, or what the anonymizer stores of it, in the model's size."""
    if not protect:
        return picture
    return Image.fromarray(to_pictures(_as_seen(picture, file, extract, protect))[0])
