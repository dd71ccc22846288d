"""Templates in a folder of protected files: the features of the raw pictures, read without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..core.errors import UserError, some_of
from ..core.files import read_regular
from ..core.pictures import LARGEST_FILE, read_picture
from ..core.remote import Place
from ..keys import pixels, segments
from ..keys.pairs import PrivateKey
from ..keys.templates import Template, find_beside
from ..manifest import TEMPLATE

NOTHING = (
    "it carries no template that this key opens: none was sealed into it, or for another key, or the file was"
    " changed since"
)
NAMED = 3  # files that a message names for each reason


def gallery_templates(
    root: Place, paths: Sequence[str], key: PrivateKey, model: str | None = None
) -> Iterator[tuple[str, Template | UserError]]:
    """The templates of image files, with a progress bar where standard error is a terminal.

    Args:
        root: the folder.
        paths: relative to it.
        key: the search key.
        model: fingerprint of the Re-ID model that must have made them; None: the one of the first.

    Yields:
        Of each path its template, or the reason why there is none. All templates have as many values.
    """
    length = 0
    for path in tqdm(paths, unit=" images", desc="templates", disable=None):
        try:
            template = read_template(root / path, key)
            model = model or template.model
            if template.model != model:
                raise UserError(
                    f"its template is of the Re-ID model {template.model[:12]}…, not of {model[:12]}…: "
                    "features of two models cannot be compared"
                )
            length = length or len(template.feature)
            if len(template.feature) != length:
                raise UserError(
                    f"its template has {len(template.feature):,} values and the first one {length:,}: both "
                    "cannot be of one Re-ID model"
                )
            yield path, template
        except UserError as error:
            yield path, error


def required_templates(files: Sequence[Path], key: PrivateKey, model: str | None = None) -> np.ndarray:
    """The features in the templates of files that all must have one: N×D float32, in their order.

    Args:
        files: protected ones.
        key, model: as of :func:`gallery_templates`.

    Raises:
        UserError: how many files have none that can be used, which, and why.
    """
    features: list[np.ndarray] = []
    lacking: dict[str, list[str]] = {}
    for path, found in gallery_templates(Path(), list(map(str, files)), key, model):
        if isinstance(found, UserError):
            lacking.setdefault(str(found), []).append(path)
        else:
            features.append(found.feature)
    if lacking:
        raise UserError(
            f"{len(files) - len(features):,} of {len(files):,} files have no template that can be used:"
            + "".join(f"\n  {some_of(paths, NAMED)}: {reason}" for reason, paths in lacking.items())
        )
    return np.stack(features)


def template_beside(path: Place) -> Place:
    """Where the template of a protected file is that lies beside it."""
    return path.parent / (path.name + TEMPLATE)


def read_template(path: Place, key: PrivateKey) -> Template:
    """The template of a protected file: in its pixels, its segments, or beside it.

    Raises:
        UserError: the reason, without the path, when there is none that the key opens.
    """
    try:
        content = read_regular(path, LARGEST_FILE)
        if content.startswith(segments.START):
            found = segments.find_template(content, key)
        else:
            found = pixels.find_template(read_picture(content), key)
        beside = template_beside(path)
        if found is None and beside.is_file():
            found = find_beside(read_regular(beside, LARGEST_FILE), content, key)
    except MemoryError:
        raise UserError("there is not enough memory for it") from None
    if found is None:
        raise UserError(NOTHING)
    return found
