"""Raw images to protected files."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from ..checkpoints.image_maps import ImageMap
from ..core.errors import UserError
from ..core.files import write_atomically
from ..core.images import to_pictures
from ..core.pictures import read_bytes, read_picture, resize
from ..core.version import __version__
from ..manifest import Manifest
from ..model.storage import ImageStorage
from .run import Job, Loaded, Work, run
from .source import Source, check_apart, targets

NOISE_KEY = ".noise.key"  # in the output folder while a run with conventional noise is unfinished
SEALED = ".sealed"  # end of the name of a sealed original, after the protected file's name


def protect_collection(
    source: Source,
    output: str | Path,
    image_map: ImageMap,
    *,
    method: str = "learned",
    storage: str = "png",
    batch_size: int = 32,
    workers: int | None = None,
    pseudonym_key: bytes | None = None,
    seal: Callable[[str, bytes], bytes] | None = None,
) -> Manifest:
    """Protect every image of a collection; what was done before is kept, a killed run is continued.

    Learned protection gives files of the network's size, the raw size is in the manifest; a conventional
    operator without a size of its own keeps each image's. Files carry pixels only, nothing of the raw files'
    metadata.

    Args:
        source: the images.
        output: folder for the protected files and ``manifest.jsonl``.
        image_map: the anonymizer.
        method: its name in the manifest.
        storage: "png" or "jpegNN".
        batch_size: images at a time.
        workers: threads, each of which has a batch; None: as many as there are cores.
        pseudonym_key: rename files by a keyed hash of their path.
        seal: a source's relative path and content to what only the owner can open; it is written beside each
            protected file.

    Returns:
        What the manifest holds: entries, and the reasons for what could not be protected.

    Raises:
        UserError: when two images would share a name, the output folder is no place for them, or the disk is
            full.
    """
    output, files = Path(output), ImageStorage(storage)
    check_apart(source.root, output)
    names = targets(source.paths, files.extension, pseudonym_key)
    jobs = sorted((Job(source.root / path, names[path]) for path in source.paths), key=lambda job: job.path)
    origins = {names[path]: path for path in source.paths}
    made_by = protection_header(
        image_map, method, storage, batch_size, pseudonym_key is not None, seal is not None
    )
    header = {**made_by, **source.dataset}

    def load(job: Job) -> Loaded:
        pixels = read_picture(job.source)
        about = {"width": pixels.shape[1], "height": pixels.shape[0]}
        if source.labels:
            about["labels"] = source.labels[origins[job.path]]
        return Loaded(resize(pixels, image_map.size) if image_map.size else pixels, about=about)

    def finish(job: Job, loaded: Loaded, mapped: np.ndarray) -> bytes:
        check_changed(loaded.pixels, mapped)
        content = files.encode(mapped)
        if seal is not None:
            loaded.about.update(
                write_sealed(output, job.path, seal(origins[job.path], read_bytes(job.source)))
            )
        return content

    conventional = image_map.network is None
    network = BatchOf(image_map, batch_size, (lambda: _noise_key(output)) if conventional else None)
    work = Work(header, load, network, finish)
    done = run(
        jobs,
        output,
        work,
        batch_size=batch_size,
        workers=workers or os.cpu_count() or 1,
        describe="protecting",
    )
    (output / NOISE_KEY).unlink(missing_ok=True)
    return done


def protection_header(
    image_map: ImageMap, method: str, storage: str, batch_size: int, pseudonyms: bool, sealed: bool
) -> dict:
    """What protected files of every kind depend on, for the first line of their manifest."""
    return {
        "version": __version__,
        "method": method,
        "anonymizer": image_map.fingerprint,
        "trained_on": list(image_map.trained_on),
        "network_size": list(image_map.size) if image_map.size else None,
        "storage": storage,
        "batch_size": batch_size,
        "runtime": image_map.runtime,
        "precision": image_map.precision,
        "pseudonyms": pseudonyms,
        "sealed": sealed,
    }


def check_changed(raw: np.ndarray, protected: np.ndarray) -> None:
    """Refuse protection that leaves a picture as it is; a picture of one colour, which shows nothing, may
    stay.

    Raises:
        UserError: the reason, without the path.
    """
    if np.array_equal(raw, protected) and (raw != raw[:1, :1]).any():
        raise UserError(
            "it would stay as it is: the operator's options are too weak for it, or it is too small for them"
        )


def write_sealed(output: Path, path: str, closed: bytes) -> dict[str, str]:
    """Write a sealed original beside its protected file; returns what the manifest says of it."""
    sealed = output / (path + SEALED)
    sealed.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(sealed, lambda file: file.write(closed))
    return {"sealed": path + SEALED, "sealed_sha256": hashlib.sha256(closed).hexdigest()}


class BatchOf:
    """An image map over lists of pictures: always as many images as a batch has, so that a picture's bytes do
    not depend on the others.

    Args:
        image_map: the network or operator.
        batch_size: images at a time; places without one are black.
        noise_key: gives the key of conventional noise; asked once. It is secret and new for each run: whoever
            could repeat the noise could subtract it.
    """

    def __init__(self, image_map: ImageMap, batch_size: int, noise_key: Callable[[], bytes] | None = None):
        self.image_map, self.batch_size, self.noise_key = image_map, batch_size, noise_key
        self.key, self.lock = b"", threading.Lock()

    def __call__(self, pictures: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
        """uint8 H×W×3 pictures, None where there is none, to the same."""
        if self.image_map.size is None:  # a conventional operator, each picture in its own size
            return [None if picture is None else self._map(picture[None])[0] for picture in pictures]
        if all(picture is None for picture in pictures):
            return list(pictures)
        batch = np.zeros((self.batch_size, *self.image_map.size, 3), np.uint8)
        for index, picture in enumerate(pictures):
            if picture is not None:
                batch[index] = picture
        mapped = self._map(batch)
        return [None if picture is None else image for picture, image in zip(pictures, mapped, strict=False)]

    def _map(self, batch: np.ndarray) -> np.ndarray:
        device = next((weights.device for weights in self.image_map.parameters()), torch.device("cpu"))
        seeds = None
        if self.noise_key is not None:
            with self.lock:  # the first of several threads makes the key
                self.key = self.key or self.noise_key()
            digests = [
                hmac.digest(self.key, np.ascontiguousarray(image).tobytes(), "sha256") for image in batch
            ]
            seeds = torch.tensor([int.from_bytes(digest[:8], "little") >> 1 for digest in digests])
        images = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float()
        mapped = self.image_map.levels(images, seeds)
        if not torch.isfinite(mapped).all():
            raise UserError("the network's output is not finite: its weights are broken")
        return to_pictures(mapped)


def _noise_key(output: Path) -> bytes:
    """A new one, or that of the killed run that this one continues."""
    path = output / NOISE_KEY
    if not path.is_file():
        write_atomically(
            path, lambda file: (os.chmod(file.fileno(), 0o600), file.write(secrets.token_bytes(32)))
        )
    return path.read_bytes()
