"""Protected files to recovered images."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from ..checkpoints.image_maps import ImageMap
from ..core.errors import UserError
from ..core.pictures import read_bytes, read_picture, resize
from ..core.version import __version__
from ..manifest import MANIFEST, Manifest, file_hash, read_manifest
from .protect import BatchOf
from .run import Job, Loaded, Work, run
from .source import check_apart, targets


def recover_collection(
    protected: str | Path,
    output: str | Path,
    image_map: ImageMap,
    *,
    batch_size: int = 32,
    workers: int | None = None,
) -> Manifest:
    """Recover every image of a protected collection, in its raw size, as PNG; a killed run is continued.

    Args:
        protected: a folder that :func:`protect_collection` wrote.
        output: folder for the recovered images and a manifest of their own.
        image_map: the recovery decoder that belongs to the collection's anonymizer.
        batch_size: images at a time.
        workers: threads, each of which has a batch; None: as many as there are cores.

    Returns:
        What the manifest of ``output`` holds.

    Raises:
        UserError: when the collection is unfinished, was made by another anonymizer, or the output folder is
            no place for it.
    """
    protected, output = Path(protected), Path(output)
    collection, header = begin_recovery(protected, output, image_map, batch_size)
    entries = collection.entries
    names = targets(entries, ".png")
    jobs = sorted((Job(protected / path, names[path]) for path in entries), key=lambda job: job.path)
    stored = {names[path]: entry for path, entry in entries.items()}

    def load(job: Job) -> Loaded:
        content, entry = read_bytes(job.source), stored[job.path]
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise UserError("it is not what was written: its SHA-256 differs from the manifest's")
        return Loaded(
            resize(read_picture(content), image_map.size),
            about={"width": entry["width"], "height": entry["height"]},
        )

    def finish(job: Job, loaded: Loaded, mapped: np.ndarray) -> bytes:
        recovered = resize(mapped, (loaded.about["height"], loaded.about["width"]))
        buffer = io.BytesIO()
        Image.fromarray(recovered).save(buffer, format="PNG")
        return buffer.getvalue()

    work = Work(header, load, BatchOf(image_map, batch_size), finish)
    return run(
        jobs,
        output,
        work,
        batch_size=batch_size,
        workers=workers or os.cpu_count() or 1,
        describe="recovering",
    )


def begin_recovery(
    protected: Path, output: Path, image_map: ImageMap, batch_size: int
) -> tuple[Manifest, dict]:
    """The collection that is to be recovered, and the header of what is made of it.

    Raises:
        UserError: when the collection is unfinished, was made by another anonymizer, or the output folder
            lies in it.
    """
    collection = finished_collection(protected)
    check_key(protected, collection, image_map)
    check_apart(protected, output)
    return collection, {
        "version": __version__,
        "recovered_from": file_hash(protected / MANIFEST),
        "anonymizer": image_map.fingerprint,
        "batch_size": batch_size,
        "runtime": image_map.runtime,
        "precision": image_map.precision,
    }


def finished_collection(folder: Path) -> Manifest:
    """The manifest of a protected collection.

    Raises:
        UserError: when there is none, or its run was not finished.
    """
    if not folder.is_dir():
        raise UserError(f"--input {folder} is no folder; give one that tools/anonymize.py wrote")
    collection = read_manifest(folder / MANIFEST)
    whole = collection.complete and not {"method", "anonymizer", "pseudonyms", "sealed"} - set(
        collection.header
    )
    if whole and (
        type(collection.header["anonymizer"]) is not str
        or ("video" in collection.header and len(collection.entries) != 1)
    ):
        raise UserError(f"{folder / MANIFEST} is damaged: no run writes such a manifest")
    if not whole:
        raise UserError(
            f"{folder / MANIFEST} is not that of a finished protection; run tools/anonymize.py again to "
            "finish it"
        )
    return collection


def check_key(folder: Path, collection: Manifest, image_map: ImageMap) -> None:
    """Refuse the key of another anonymizer.

    Raises:
        UserError: when the collection was not protected by the anonymizer that the recovery decoder belongs
            to.
    """
    if collection.header["method"] != "learned":
        sealed = (
            "open its sealed originals with --identity"
            if collection.header["sealed"]
            else "it has no sealed originals either"
        )
        raise UserError(
            f"{folder} was protected by {collection.header['method']}, which no key undoes; {sealed}"
        )
    made_by = collection.header["anonymizer"]
    if made_by != image_map.fingerprint:
        raise UserError(
            f"{folder} was protected by another anonymizer ({made_by[:12]}…) than the one that this key "
            "belongs to "
            f"({image_map.fingerprint[:12]}…): take its own key"
        )
