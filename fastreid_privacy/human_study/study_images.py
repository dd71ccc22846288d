"""The images that people are shown: of a test set, raw or as the models of a reproduction protect them."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..checkpoints.reading import read_trained
from ..core.images import to_pictures
from ..data.datasets import load_dataset
from ..results.results_json import read_results
from ..retrieval.extract import Extractor, load_extractor, open_picture
from .groups import Group

CHECKPOINTS = ("model_best.pth", "model_final.pth")


def checkpoint_of(folder: Path) -> Path | None:
    """The checkpoint of a run whose figures its results.json has, before there is one the best or the last;
    None where it has none.

    Raises:
        UserError: when its results.json cannot be read.
    """
    results = folder / "results.json"
    tested = [str(read_results(results).get("checkpoint", ""))] if results.is_file() else []
    return next((folder / name for name in (*tested, *CHECKPOINTS) if (folder / name).is_file()), None)


def missing_runs(runs: Path, groups: Sequence[Group]) -> list[str]:
    """The folders of the groups' models that hold no checkpoint."""
    return [
        name for name in dict.fromkeys(group.run for group in groups) if checkpoint_of(runs / name) is None
    ]


def shown_images(checkpoint: Path) -> list[tuple[str, int, int]]:
    """(path, identity, camera) of the test images of the data set that a checkpoint was tested on, sorted by
    path.

    Raises:
        UserError: when the data set is not there, or the checkpoint carries no config.
    """
    cfg = read_trained(checkpoint).cfg
    data = load_dataset(cfg, cfg.DATASETS.TESTS[0])
    return sorted({(path, pid, camera) for path, pid, camera, *_ in (*data.query, *data.gallery)})


class Studio:
    """Makes the images of groups as PNG files, each once.

    Args:
        runs: folder of the runs of one seed of a reproduction.
        paths: of the test images.
        device: where networks run.
    """

    def __init__(self, runs: Path, paths: Sequence[str], device: str = "auto"):
        self._runs, self._paths, self._device = runs, paths, device
        self._models: dict[str, Extractor] = {}
        self._made: dict[tuple[str, int], bytes] = {}

    def _model(self, run: str) -> Extractor:
        if run not in self._models:
            self._models[run] = load_extractor(checkpoint_of(self._runs / run), self._device)
        return self._models[run]

    def image(self, group: Group, domain: str, index: int) -> bytes:
        """One test image as PNG, at the size that the networks see; "PI" as the group's model stores it, "OI"
        raw.

        Raises:
            UserError: when the image cannot be read.
        """
        # Raw images are resized as every model of a reproduction does; any of them will do.
        run = group.run if domain == "PI" else "raw"
        if (run, index) not in self._made:
            model = self._model(group.run)
            path = self._paths[index]
            raw = model.transform(open_picture(path))[None]
            image = model.protect(raw, [os.path.basename(path)]) if domain == "PI" else raw
            self._made[run, index] = _png(image[0])
        return self._made[run, index]


def _png(image: Tensor) -> bytes:
    """3×H×W RGB 0–255 as the bytes of a PNG file, which say nothing about where the image comes from."""
    buffer = io.BytesIO()
    Image.fromarray(to_pictures(image[None])[0]).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
