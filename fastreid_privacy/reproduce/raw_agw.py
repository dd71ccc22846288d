"""How AGW trained on raw images sees the images of a full model, as an attacker may (tables 1 and 4).

``commands.raw_agw`` is the process that does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from .. import compat
from ..checkpoints.reading import read_checkpoint, read_trained
from ..checkpoints.rebuilding import rebuild
from ..config import changed
from ..core.errors import UserError, some_of
from ..core.files import file_hash
from ..core.version import __version__
from ..model.parts import NOT_REID
from ..results.results_json import (
    RESULTS,
    build_results,
    read_results,
    results_path,
    save_results,
    tested_checkpoint,
)
from ..training import testing

PAIRS = ("OI-OI", "DI-DI", "PI-PI", "RI-RI")  # query and gallery of the same kind of image
FOLDER = "raw_agw"  # below the full model's


def put_in_reid(model: nn.Module, weights: Mapping[str, torch.Tensor], path: str) -> None:
    """Replace the Re-ID part of a model: what retrieval uses of all but generators and discriminators.

    Args:
        model: changed in place.
        weights: of a model with the same Re-ID part, by name.
        path: of their file, for messages.

    Raises:
        UserError: when they lack a part, or it is of another shape; the model is unchanged then.
    """
    own = {name: value for name, value in model.state_dict().items() if name.split(".")[0] not in NOT_REID}
    unfit = [name for name, value in own.items() if name not in weights or weights[name].shape != value.shape]
    if unfit:
        raise UserError(
            f"{path} has another Re-ID model than the full one ({some_of(unfit)}): both must be trained "
            "with one config"
        )
    model.load_state_dict({name: weights[name] for name in own}, strict=False)


def evaluate_raw_agw(full: Path, upper_bound: Path, device: str) -> Path:
    """Test the upper bound's Re-ID on raw, desensitized, protected and recovered images of a full model.

    Args:
        full: OUTPUT_DIR of the full model, finished.
        upper_bound: OUTPUT_DIR of the upper bound, finished.
        device: torch device.

    Returns:
        ``full/raw_agw/results.json`` (schema 1); its retrieval has the pairs ``PAIRS``,
        ``reid_checkpoint`` names the Re-ID's file, and ``sha256`` has the sum of each checkpoint.

    Raises:
        UserError: for a folder without results or checkpoint, and for models that do not fit each other.
    """
    results = {folder: read_results(folder / RESULTS) for folder in (full, upper_bound)}
    files = [tested_checkpoint(found, folder) for folder, found in results.items()]
    trained, reid = read_trained(files[0]), read_checkpoint(files[1])
    sums = dict(zip(("checkpoint", "reid_checkpoint"), map(file_hash, files), strict=True))
    where = {"MODEL.DEVICE": device, "OUTPUT_DIR": str(full / FOLDER), "TEST.PAPER_RESULTS": []}
    compat.load_batches_onto(device)
    cfg, model = rebuild(changed(trained.cfg, where), trained.weights, files[0])
    put_in_reid(model, reid["model"], str(files[1]))
    (dataset,) = cfg.DATASETS.TESTS
    figures = testing.test(cfg, model, PAIRS)[dataset].figures
    checkpoint = f"../{files[0].name}"
    results = build_results(
        cfg, dataset, figures, version=__version__, checkpoint=checkpoint, private=trained.private
    )
    file = results_path(cfg, dataset)
    reid_checkpoint = f"../../{upper_bound.name}/{files[1].name}"
    save_results({**results, "reid_checkpoint": reid_checkpoint, "sha256": sums}, file)
    return file
