"""Protected files to recovered images, and how near they come to the raw ones."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .. import __version__
from ..anonymizer import ImageMap
from ..errors import UserError
from ..evaluation.image_quality import SMALLEST_SIDE, ImageQuality, psnr_of_mse
from .manifest import MANIFEST, Manifest, read_manifest
from .picture import read_bytes, read_picture, resize
from .protect import BatchOf
from .run import Job, Loaded, Work, run
from .source import check_apart, folder_source, targets


def recover_collection(
    protected: str | Path, output: str | Path, image_map: ImageMap, *, batch_size: int = 32, workers: int | None = None,
    raw: str | Path | None = None, pseudonym_key: bytes | None = None,
) -> Manifest:  # fmt: skip
    """Recover every image of a protected collection, in its raw size, as PNG; a killed run is continued.

    Args:
        protected: a folder that :func:`protect_collection` wrote.
        output: folder for the recovered images and a manifest of their own.
        image_map: the recovery decoder that belongs to the collection's anonymizer.
        batch_size: images at a time.
        workers: threads, each of which has a batch; None: as many as there are cores.
        raw: folder of the raw images: their PSNR and SSIM are measured, in raw size.
        pseudonym_key: the key of the names, to find the raw image of each where they are pseudonyms.

    Returns:
        What the manifest of ``output`` holds; with ``raw`` each entry has ``PSNR`` (dB; None where nothing differs), ``SSIM`` (None where
        a side is shorter than its window, 11) and ``squared_error``, a sum over all values.

    Raises:
        UserError: when the collection is unfinished, was made by another anonymizer, or the output folder is no place for it.
    """
    protected, output = Path(protected), Path(output)
    collection = finished_collection(protected)
    check_key(protected, collection, image_map)
    check_apart(protected, output)
    entries = collection.entries
    names = targets(entries, ".png")
    jobs = sorted((Job(protected / path, names[path]) for path in entries), key=lambda job: job.path)
    stored = {names[path]: entry for path, entry in entries.items()}
    originals = _raw_files(Path(raw), names.values(), pseudonym_key if collection.header["pseudonyms"] else None) if raw else {}

    def load(job: Job) -> Loaded:
        content, entry = read_bytes(job.source), stored[job.path]
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise UserError("it is not what was written: its SHA-256 differs from the manifest's")
        return Loaded(resize(read_picture(content), image_map.size), about={"width": entry["width"], "height": entry["height"]})

    def finish(job: Job, loaded: Loaded, mapped: np.ndarray) -> bytes:
        recovered = resize(mapped, (loaded.about["height"], loaded.about["width"]))
        if raw:
            if job.path not in originals:
                raise UserError(f"{raw} holds no raw image of it")
            loaded.about.update(compare(recovered, read_picture(originals[job.path])))
        buffer = io.BytesIO()
        Image.fromarray(recovered).save(buffer, format="PNG")
        return buffer.getvalue()

    header = {
        "version": __version__, "recovered_from": hashlib.sha256((protected / MANIFEST).read_bytes()).hexdigest(),
        "anonymizer": image_map.fingerprint, "batch_size": batch_size, "runtime": image_map.runtime, "precision": image_map.precision,
        "compared": raw is not None,
    }  # fmt: skip
    work = Work(header, load, BatchOf(image_map, batch_size), finish)
    return run(jobs, output, work, batch_size=batch_size, workers=workers or os.cpu_count() or 1, describe="recovering")


def finished_collection(folder: Path) -> Manifest:
    """The manifest of a protected collection.

    Raises:
        UserError: when there is none, or its run was not finished.
    """
    if not folder.is_dir():
        raise UserError(f"--input {folder} is no folder; give one that tools/anonymize.py wrote")
    collection = read_manifest(folder / MANIFEST)
    if not collection.complete or {"method", "anonymizer", "pseudonyms", "sealed"} - set(collection.header):
        raise UserError(f"{folder / MANIFEST} is not that of a finished protection; run tools/anonymize.py again to finish it")
    return collection


def check_key(folder: Path, collection: Manifest, image_map: ImageMap) -> None:
    """Refuse the key of another anonymizer.

    Raises:
        UserError: when the collection was not protected by the anonymizer that the recovery decoder belongs to.
    """
    made_by = collection.header["anonymizer"]
    if made_by != image_map.fingerprint:
        raise UserError(f"{folder} was protected by another anonymizer ({made_by[:12]}…) than the one that this key belongs to "
                        f"({image_map.fingerprint[:12]}…): take its own key")  # fmt: skip


def compare(recovered: np.ndarray, raw: np.ndarray) -> dict[str, float | None]:
    """PSNR in dB, SSIM and the sum of squared errors of two uint8 H×W×3 pictures.

    Raises:
        UserError: when their sizes differ.
    """
    if recovered.shape != raw.shape:
        sizes = ["×".join(map(str, image.shape[:2])) for image in (recovered, raw)]
        raise UserError(f"its raw image has another size ({sizes[1]}) than the one that was protected ({sizes[0]})")
    squared_error = float(np.square(recovered.astype(np.int64) - raw).sum())
    ssim = None
    if min(raw.shape[:2]) >= SMALLEST_SIDE:
        quality = ImageQuality()
        quality.update(*(torch.from_numpy(image).permute(2, 0, 1)[None] for image in (recovered, raw)))
        ssim = quality.compute()["SSIM"]
    return {"PSNR": psnr_of_mse(squared_error / raw.size) if squared_error else None, "SSIM": ssim, "squared_error": squared_error}


def in_all(entries: list[dict]) -> dict[str, float | None]:
    """PSNR of the mean squared error over all values, and mean SSIM, of compared entries."""
    squared_error = sum(entry["squared_error"] for entry in entries)
    values = sum(3 * entry["width"] * entry["height"] for entry in entries)
    ssim = [entry["SSIM"] for entry in entries if entry["SSIM"] is not None]
    return {"PSNR": psnr_of_mse(squared_error / values) if squared_error else None, "SSIM": sum(ssim) / len(ssim) if ssim else None}


def figures_text(figures: dict) -> str:
    """PSNR and SSIM of :func:`compare` or :func:`in_all`, for a line of output."""
    psnr = "identical" if figures["PSNR"] is None else f"{figures['PSNR']:6.2f} dB"
    return f"{psnr:>9}  SSIM {'   –  ' if figures['SSIM'] is None else format(figures['SSIM'], '.4f')}"


def _raw_files(raw: Path, wanted, pseudonym_key: bytes | None) -> dict[str, Path]:
    """The raw image of each name of a recovered one."""
    source = folder_source(raw)
    named = targets(source.paths, ".png", pseudonym_key)
    found = {name: raw / path for path, name in named.items()}
    if not any(name in found for name in wanted):
        key = "" if pseudonym_key else "; where names are pseudonyms, give their key with --pseudonymize"
        raise UserError(f"--verify {raw} holds no image of this collection{key}")
    return found
