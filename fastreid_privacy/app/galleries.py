"""Galleries in which a picture is looked for, raw and protected, and what is found as a strip of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..core.errors import UserError
from ..retrieval.build import build_index
from ..retrieval.extract import Extractor, load_extractor
from ..retrieval.gallery import GalleryPictures, refuse_unnamed
from ..retrieval.index import GalleryIndex
from ..retrieval.index_file import read_index
from ..retrieval.query import check_model, found_tiles, rank
from ..retrieval.strip import Tile, draw_strip

TOP = 5  # images that are shown of a gallery for each query


@dataclass(frozen=True)
class Gallery:
    """A folder that can be searched.

    Attributes:
        name: on the page.
        index: of its images.
    """

    name: str
    index: GalleryIndex


@dataclass(frozen=True)
class Galleries:
    """All of them, and the Re-ID model that looks.

    Attributes:
        extract: the model.
        each: the galleries.
    """

    extract: Extractor
    each: Sequence[Gallery]


@dataclass(frozen=True)
class Strip:
    """What a gallery holds that is nearest to some pictures.

    Attributes:
        gallery: its name.
        picture: a row for each query, RGB.
        words: the same for who does not see it: a line for each query.
        missing: images that the gallery's folder has no more.
    """

    gallery: str
    picture: Image.Image
    words: list[str]
    missing: list[str]


def load_galleries(paths: Sequence[Path], model: Path | None, device: str = "auto") -> Galleries | None:
    """Read or make the indexes of galleries.

    Args:
        paths: files of ``retrieve build``, or folders, whose index is made now and kept in memory.
        model: a checkpoint or ``reid.pth`` that looks, the one of the indexes.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.

    Returns:
        None where no gallery is named.

    Raises:
        UserError: when there is no model, or one of the galleries is not of this model or cannot be read.
    """
    if not paths:
        return None
    if model is None:
        raise UserError("--gallery needs the Re-ID model that looks: name it with --reid")
    extract = load_extractor(model, device)
    return Galleries(extract, [_gallery(path, extract) for path in paths])


def _gallery(path: Path, extract: Extractor) -> Gallery:
    if path.is_dir():
        return Gallery(path.name or str(path.absolute()), build_index(path, extract))
    index = read_index(path)
    check_model(index, extract)
    refuse_unnamed(index.root)
    if index.protected and not extract.anonymizes:
        raise UserError(
            f"index {path} is of images that the anonymizer protected first, and this Re-ID model holds "
            "none: name the whole checkpoint with --reid"
        )
    return Gallery(f"{index.root.name}, protected first" if index.protected else index.root.name, index)


def strips(galleries: Galleries, name: str, queries: Mapping[str, np.ndarray]) -> list[Strip]:
    """Look for pictures in every gallery.

    Args:
        galleries: of :func:`load_galleries`.
        name: of the file that the pictures come from; where it tells a person as Market-1501's names do, the
            strip marks who is found.
        queries: uint8 H×W×3 each, by what they are: "raw", "protected".
    """
    extract = galleries.extract
    seen = [(Path(what, name), extract.seen(picture)[None]) for what, picture in queries.items()]
    found = []
    for gallery in galleries.each:
        answers = rank(gallery.index, extract, seen, top=TOP)
        rows, words = [], []
        missing: list[str] = []
        pictures = GalleryPictures(gallery.index.root)
        for (what, picture), answer in zip(queries.items(), answers, strict=True):
            tiles = found_tiles(answer, gallery.index, extract, pictures, missing)
            rows.append((Tile(Image.fromarray(picture), what, name), tiles))
            words.append(f"{what}: " + ", ".join(f"{tile.title} {tile.name}" for tile in tiles))
        found.append(Strip(gallery.name, draw_strip(rows), words, list(dict.fromkeys(missing))))
    return found
