"""What every page is made of: templates, pictures inline, the rank lists of a run."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import jinja2
import numpy as np

from ..core.errors import as_unicode
from ..core.files import write_whole
from ..core.images import png_bytes
from ..results.stored import MATCHES
from .look import MARKS
from .pictures import rank_list_picture, save_png
from .tables import arrow

OPEN_PAIR = "OI-PI"  # the pair of domains whose rank lists are unfolded, where there is one


def render(template: str, folder: Path | None = None, **values: object) -> str:
    """Fill in a template; values are escaped, a missing one is an error.

    A file's name that is no Unicode has escapes, so that the page can be encoded.

    Args:
        template: its name, in this package or in the folder.
        folder: of templates that may build on these.
        values: by their names in the template.
    """
    folders = [folder, Path(__file__).parent] if folder else [Path(__file__).parent]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return as_unicode(environment.get_template(template).render(**values))


def render_into(path: Path, template: str, folder: Path | None = None, **values: object) -> Path:
    """As :func:`render`, into a file, which is written whole or not at all.

    Returns:
        The file.
    """
    write_whole(path, render(template, folder, **values).encode())
    return path


def data_uri(png: bytes) -> str:
    """A PNG file as the source of an image of a page that fetches nothing."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def rank_lists(lists: Mapping[str, np.ndarray] | None, path: Path) -> list[dict]:
    """What ``parts.html`` shows of the rank lists; those of each pair also become a PNG file.

    Args:
        lists: as ``RANK_LISTS.load`` gives them.
        path: of the PNG files without ``_<pair>.png``.

    Returns:
        of each pair its names and a row for each query: the query, then its best gallery images.
    """
    lists = lists or {}
    pairs = [key for key in lists if not key.endswith(MATCHES)]
    opened = OPEN_PAIR if OPEN_PAIR in pairs else next(iter(pairs), None)
    shown = []
    for pair in pairs:
        images, matches = lists[pair], lists[pair + MATCHES]
        save_png(rank_list_picture(images, matches), path.with_name(f"{path.name}_{pair}.png"))
        rows = [_cells(*row) for row in zip(images, matches, strict=True)]
        query, gallery = pair.split("-")
        shown.append(
            {"arrow": arrow(pair), "query": query, "gallery": gallery, "open": pair == opened, "rows": rows}
        )
    return shown


def _cells(images: np.ndarray, matches: np.ndarray) -> list[dict]:
    cells = [{"kind": "query", "picture": data_uri(png_bytes(images[0])), "alt": "query", "mark": "query"}]
    for place, (image, match) in enumerate(zip(images[1:], matches, strict=True), 1):
        if match >= 0:  # a small gallery has no image for the last places
            kind, alt = ("same", "the same person") if match else ("other", "another person")
            cells.append(
                {
                    "kind": kind,
                    "picture": data_uri(png_bytes(image)),
                    "alt": f"place {place}: {alt}",
                    "mark": f"{place} {MARKS[bool(match)][0]}",
                }
            )
    return cells
