"""The stored files of a method: what is attacked and learned from, and what they cost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..attack.subjects import PARTS
from ..checkpoints.opening import load_anonymizer
from ..collection import (
    ProtectionOptions,
    dataset_source,
    folder_source,
    protect_collection,
    unseal_collection,
)
from ..collection.guard import Guard
from ..collection.source import Source, is_dataset
from ..config import load_config
from ..core.errors import UserError, some_of
from ..keys.sealing import IDENTITY, new_identity, read_identity, read_sealer
from ..manifest import KEPT
from ..model.storage import ImageStorage

PROTECTED, KEYS, OPENED = "protected", "keys", "opened"  # in a method's folder


def raw_source(data: str) -> Source:
    """The raw images of a comparison's data: of a folder, those in the three folders of Market-1501."""
    if is_dataset(data):
        return dataset_source(load_config(), data)
    source = folder_source(data, "data")
    taking_part = [path for path in source.paths if PurePosixPath(path).parts[0] in PARTS]
    return replace(source, paths=taking_part or source.paths)


def protect(
    data: str, checkpoint: Path, folder: Path, *, seal: str, guard: bool, device: str
) -> dict[str, Any]:
    """Protect all raw images of the data, and open what is sealed to compare it byte by byte.

    Args:
        data: as of :class:`.methods.Methods`.
        checkpoint: whose anonymizer protects.
        folder: of the method; its files come into ``protected`` below it.
        seal: where raw files are sealed: "beside" the protected ones, in their "pixels", or "": not at all.
        guard: whether each image is held to the privacy thresholds.
        device: where the network runs.

    Returns:
        "private": whether the last check of its training met the privacy constraint (None: not known),
        "images", "bytes_per_image", "images_per_second" (reading and writing included; None where an
        interrupted run was continued). With a guard "blended": how many images it changed. Of sealed ones
        "sealed_bytes_per_image", of files beside the protected ones, and "opened": how many gave the raw
        file byte for byte.

    Raises:
        UserError: when images cannot be protected, or opened.
    """
    source = raw_source(data)
    output = folder / PROTECTED
    sealer = None
    if seal:
        if not (folder / KEYS / IDENTITY.public).exists():
            new_identity(folder / KEYS, passphrase=None)
        sealer = read_sealer([folder / KEYS / IDENTITY.public])
    fresh = not output.exists()
    anonymizer = load_anonymizer(checkpoint, device)
    start = time.perf_counter()
    done, failed, _ = protect_collection(
        source,
        output,
        anonymizer,
        ImageStorage("png"),
        ProtectionOptions(
            method=folder.name, seal=sealer, carry=seal or "beside", guard=Guard() if guard else None
        ),
    )
    seconds = time.perf_counter() - start
    if failed:
        raise UserError(f"{folder.name}: images were not protected: {some_of(sorted(failed), 3)}")
    return {
        "private": anonymizer.private,
        "images": len(done.entries),
        "bytes_per_image": _mean_size(output, [entry["path"] for entry in done.entries.values()]),
        "images_per_second": len(done.entries) / seconds if fresh else None,
        **({"blended": sum(entry[KEPT] < 1 for entry in done.entries.values())} if guard else {}),
        **(_sealed(source, folder, done.entries) if seal else {}),
    }


def _sealed(source: Source, folder: Path, entries: Mapping[str, Any]) -> dict[str, Any]:
    identity = read_identity(folder / KEYS / IDENTITY.private)
    opened = unseal_collection(folder / PROTECTED, folder / OPENED, identity)
    same = sum(
        (folder / OPENED / path).is_file()
        and (folder / OPENED / path).read_bytes() == (source.folder / path).read_bytes()
        for path in source.paths
    )
    if same != len(source.paths):
        raise UserError(
            f"{folder.name}: {len(source.paths) - same} sealed originals did not give the raw file: "
            f"{some_of([f'{path}: {why}' for path, why in sorted(opened.failed.items())], 3)}"
        )
    shutil.rmtree(folder / OPENED)  # raw images, which are there already
    beside = [entry["sealed"] for entry in entries.values() if "sealed" in entry]
    size = _mean_size(folder / PROTECTED, beside) * len(beside) / len(entries) if beside else 0.0
    return {"sealed_bytes_per_image": size, "opened": same}


def sizes(data: str) -> dict[str, Any]:
    """Of raw images, which are not protected at all."""
    source = raw_source(data)
    return {
        "images": len(source.paths),
        "bytes_per_image": _mean_size(source.folder, source.paths),
        "images_per_second": None,
    }


def _mean_size(root: Path, paths: list[str]) -> float:
    return sum((root / path).stat().st_size for path in paths) / len(paths)
