"""The images that people are shown: of a test set, raw or as the models of a reproduction protect them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..checkpoints.reading import read_trained
from ..core.errors import UserError
from ..core.images import png_bytes, to_pictures
from ..core.pictures import open_picture
from ..data.datasets import load_dataset
from ..results.results_json import checkpoint_of, lost_checkpoint
from ..retrieval.extract import Extractor, load_extractor
from .groups import Group


class ShownImage(NamedTuple):
    """An image of a test set: its file, and who is seen by which camera."""

    path: str
    pid: int
    camid: int


def checkpoints_of(runs: Path, groups: Sequence[Group]) -> dict[str, Path]:
    """The checkpoint of every run that makes images of the groups, by the run's folder.

    Args:
        runs: folder of the runs of one seed of a reproduction.
        groups: at least one.

    Raises:
        UserError: for runs without one, and for one that is not there any more.
    """
    found = {name: checkpoint_of(runs / name) for name in dict.fromkeys(group.run for group in groups)}
    for name in found:
        if lost := lost_checkpoint(runs / name):
            raise UserError(f"{lost}. Or choose others than those of {name} with --groups")
    if missing := [name for name, checkpoint in found.items() if not checkpoint.is_file()]:
        raise UserError(
            f"{runs} has no checkpoint of {', '.join(missing)}: run tools/reproduce.py first, or choose "
            "others with --groups"
        )
    return found


def shown_images(checkpoint: Path) -> list[ShownImage]:
    """The test images of the data set that a checkpoint was tested on, sorted by path.

    Raises:
        UserError: when the data set is not there, or the checkpoint carries no config.
    """
    cfg = read_trained(checkpoint).cfg
    data = load_dataset(cfg, cfg.DATASETS.TESTS[0])
    return sorted({ShownImage(path, pid, camid) for path, pid, camid, *_ in (*data.query, *data.gallery)})


class StudyImages:
    """The images of groups as PNG files, each made once.

    Args:
        checkpoints: of :func:`checkpoints_of`.
        images: of the test set.
        device: where networks run.
    """

    def __init__(self, checkpoints: Mapping[str, Path], images: Sequence[ShownImage], device: str = "auto"):
        self._checkpoints, self._images, self._device = checkpoints, images, device
        self._models: dict[str, Extractor] = {}
        self._made: dict[tuple[str, int], bytes] = {}

    def png(self, group: Group, domain: str, index: int) -> bytes:
        """One test image at the size that the networks see.

        Args:
            group: whose model sees it.
            domain: "PI" as the group's model stores it, "OI" raw.
            index: among the test images.

        Raises:
            UserError: when the image cannot be read or protected.
        """
        # Raw images are resized as every model of a reproduction does; any of them will do.
        run = group.run if domain == "PI" else "raw"
        if (run, index) not in self._made:
            model = self._model(group.run)
            path = self._images[index].path
            raw = model.transform(open_picture(path))[None]
            image = model.protect(raw, [path]) if domain == "PI" else raw
            self._made[run, index] = png_bytes(to_pictures(image)[0], optimize=True)
        return self._made[run, index]

    def _model(self, run: str) -> Extractor:
        if run not in self._models:
            self._models[run] = load_extractor(self._checkpoints[run], self._device)
        return self._models[run]
