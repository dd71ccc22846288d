"""Protected files to recovered images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..checkpoints.image_maps import ImageMap
from ..core.errors import UserError
from ..core.files import read_regular
from ..core.images import png_bytes
from ..core.pictures import LARGEST_FILE, read_picture, resize
from ..core.version import __version__
from ..manifest import MANIFEST, Manifest, file_hash, read_manifest
from .batch_mapper import BatchMapper
from .run import Job, Loaded, Work, run
from .source import check_apart, targets


@dataclass(frozen=True)
class ProtectedFolder:
    """A folder that a finished protection has left: of images, or of one video.

    Attributes:
        folder: the folder.
        manifest: what its manifest.jsonl holds.
    """

    folder: Path
    manifest: Manifest

    @cached_property
    def recovered_names(self) -> dict[str, str]:
        """What each recovered image is to be called, by the path of the protected one.

        Raises:
            UserError: when two would share a name.
        """
        return targets(self.manifest.entries, ".png")


def read_protected(folder: str | Path) -> ProtectedFolder:
    """Read the manifest of a protected folder.

    Raises:
        UserError: when there is none, or its run was not finished.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--input {folder} is no folder; give one that tools/anonymize.py wrote")
    manifest = read_manifest(folder / MANIFEST)
    header = manifest.header
    if not manifest.complete or not {"method", "anonymizer", "pseudonyms", "sealed"} <= set(header):
        raise UserError(
            f"{folder / MANIFEST} is not that of a finished protection; run tools/anonymize.py again to "
            "finish it"
        )
    texts = isinstance(header["anonymizer"], str) and isinstance(header.get("recipient"), str | None)
    if not texts or ("video" in header and len(manifest.entries) != 1):
        raise UserError(f"{folder / MANIFEST} is damaged: no run writes such a manifest")
    return ProtectedFolder(folder, manifest)


def recover_collection(
    protected: ProtectedFolder,
    output: str | Path,
    image_map: ImageMap,
    *,
    batch_size: int = 32,
    workers: int | None = None,
) -> Manifest:
    """Recover every image of a protected collection, in its raw size, as PNG; a killed run is continued.

    Args:
        protected: what :func:`fastreid_privacy.collection.protect_collection` wrote.
        output: folder for the recovered images and a manifest of their own.
        image_map: the recovery decoder that belongs to the collection's anonymizer.
        batch_size: images at a time.
        workers: threads, each of which has a batch; None: as many as there are cores.

    Returns:
        What the manifest of ``output`` holds.

    Raises:
        UserError: when the collection was made by another anonymizer, or the output folder is no place for
            it.
    """
    output, entries = Path(output), protected.manifest.entries
    header, size = begin_recovery(protected, output, image_map, batch_size)
    jobs = sorted(
        (Job(path, protected.folder / path, name) for path, name in protected.recovered_names.items()),
        key=lambda job: job.path,
    )

    def load(job: Job) -> Loaded:
        content, entry = read_regular(job.source, LARGEST_FILE), entries[job.name]
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise UserError("it is not what was written: its SHA-256 differs from the manifest's")
        return Loaded(
            resize(read_picture(content), size), {"width": entry["width"], "height": entry["height"]}
        )

    def finish(job: Job, loaded: Loaded, mapped: np.ndarray) -> bytes:
        return png_bytes(resize(mapped, (loaded.about["height"], loaded.about["width"])))

    work = Work(header, load, BatchMapper(image_map, batch_size), finish)
    return run(jobs, output, work, batch_size=batch_size, workers=workers, describe="recovering")


def begin_recovery(
    protected: ProtectedFolder, output: Path, image_map: ImageMap, batch_size: int
) -> tuple[dict, tuple[int, int]]:
    """The manifest's first line of what is recovered, and the size, (height, width), of the network.

    Raises:
        UserError: when the folder was protected by another anonymizer, or the output folder lies in it.
    """
    check_key(protected, image_map)
    check_apart(protected.folder, output)
    assert image_map.size is not None  # a recovery decoder is a network
    return {
        "version": __version__,
        "recovered_from": file_hash(protected.folder / MANIFEST),
        "anonymizer": image_map.fingerprint,
        "batch_size": batch_size,
        "runtime": image_map.runtime,
        "precision": image_map.precision,
    }, image_map.size


def check_key(protected: ProtectedFolder, image_map: ImageMap) -> None:
    """Refuse the key of another anonymizer.

    Raises:
        UserError: when the folder was not protected by the anonymizer that the recovery decoder belongs to.
    """
    folder, header = protected.folder, protected.manifest.header
    if header["method"] != "learned":
        sealed = (
            "open its sealed originals with --identity"
            if header["sealed"]
            else "it has no sealed originals either"
        )
        raise UserError(f"{folder} was protected by {header['method']}, which no key undoes; {sealed}")
    if header["anonymizer"] != image_map.fingerprint:
        raise UserError(
            f"{folder} was protected by another anonymizer ({header['anonymizer'][:12]}…) than the one that "
            f"this key belongs to ({image_map.fingerprint[:12]}…): take its own key"
        )
