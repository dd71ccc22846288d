"""Protected files to recovered images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..checkpoints.image_maps import ImageMap
from ..core.errors import UserError
from ..core.files import file_hash, read_regular
from ..core.images import png_bytes
from ..core.packed import Folder
from ..core.pictures import LARGEST_FILE, read_picture, resize
from ..core.remote import Place
from ..core.version import __version__
from ..manifest import LIVE, MANIFEST, Manifest, files_of, read_manifest
from .batch_mapper import BatchMapper
from .run import run
from .shards import engine_here
from .source import check_apart, targets
from .work import Engine, Job, Loaded, Made, Work

KNOWN = ("sha256", "width", "height")  # of a protected file's line, which its recovery needs


@dataclass(frozen=True)
class ProtectedFolder:
    """A folder that a finished protection has left: of images, or of one video.

    Attributes:
        folder: the folder.
        manifest: what its manifest.jsonl holds.
    """

    folder: Place
    manifest: Manifest

    @cached_property
    def files(self) -> Folder:
        """The folder, whose files are found under the paths of the manifest, in tar files or not."""
        return files_of(self.folder, self.manifest.entries.values())

    @cached_property
    def recovered_names(self) -> dict[str, str]:
        """What each recovered image is to be called, by the path of the protected one.

        Raises:
            UserError: when two would share a name.
        """
        return targets(self.manifest.entries, ".png")


def read_protected(folder: str | Place) -> ProtectedFolder:
    """Read the manifest of a protected folder.

    Raises:
        UserError: when there is none, or its run was not finished.
    """
    folder = Path(folder) if isinstance(folder, str) else folder
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
    if not texts or ("video" in header and LIVE not in header and len(manifest.entries) != 1):
        raise UserError(f"{folder / MANIFEST} is damaged: no run writes such a manifest")
    return ProtectedFolder(folder, manifest)


def recover_collection(
    protected: ProtectedFolder,
    output: str | Place,
    image_map: ImageMap,
    *,
    batch_size: int = 32,
    engine: Engine | None = None,
    tar_images: int = 0,
) -> Manifest:
    """Recover every image of a protected collection, in its raw size, as PNG; a killed run is continued.

    Args:
        protected: what :func:`fastreid_privacy.collection.protect_collection` wrote.
        output: folder for the recovered images and a manifest of their own.
        image_map: the recovery decoder that belongs to the collection's anonymizer.
        batch_size: images at a time.
        engine: what does the work; None: threads of this process, as many as there are cores.
        tar_images: of each tar file at least, in which the files are to lie; 0: they lie alone.

    Returns:
        What the manifest of ``output`` holds.

    Raises:
        UserError: when the collection was made by another anonymizer, or the output folder is no place for
            it.
    """
    output = Path(output) if isinstance(output, str) else output
    entries = protected.manifest.entries
    header, _ = begin_recovery(protected, output, image_map, batch_size)
    jobs = sorted(
        (
            Job(path, protected.files / path, name, {word: entries[path][word] for word in KNOWN})
            for path, name in protected.recovered_names.items()
        ),
        key=lambda job: job.path,
    )
    work = replace(RecoveredFiles(image_map, batch_size).work(), header=header)
    return run(
        jobs,
        output,
        work,
        batch_size=batch_size,
        engine=engine or engine_here(output, None, in_tars=tar_images > 0),
        describe="recovering",
        tar_images=tar_images,
    )


@dataclass(frozen=True)
class RecoveredFiles:
    """How recovered files are made; other processes get it, and make files of the same bytes.

    Attributes:
        image_map: the recovery decoder.
        batch_size: images at a time.
    """

    image_map: ImageMap
    batch_size: int

    def work(self) -> Work[np.ndarray]:
        """What is done with each file, without the header."""
        mapper = BatchMapper(self.image_map, self.batch_size)
        return Work({}, self.load, mapper, self.finish, again=self.again)

    def again(self, device: str) -> Work[np.ndarray]:
        """As :meth:`work`, with the network on a device."""
        self.image_map.to(device)
        return self.work()

    def load(self, job: Job) -> Loaded:
        """Read a protected picture, which has to be the one that was written."""
        assert self.image_map.size is not None  # a recovery decoder is a network
        content = read_regular(job.source, LARGEST_FILE)
        if hashlib.sha256(content).hexdigest() != job.known["sha256"]:
            raise UserError("it is not what was written: its SHA-256 differs from the manifest's")
        pixels = resize(read_picture(content), self.image_map.size)
        return Loaded(pixels, {"width": job.known["width"], "height": job.known["height"]})

    def finish(self, job: Job, loaded: Loaded, mapped: np.ndarray) -> Made:
        """Scale a recovered picture to the raw one's size, and encode it."""
        return Made(png_bytes(resize(mapped, (loaded.about["height"], loaded.about["width"]))))


def begin_recovery(
    protected: ProtectedFolder, output: Place, image_map: ImageMap, batch_size: int
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
