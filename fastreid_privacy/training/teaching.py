"""The teacher of a run: the upper bound that its config names, or that was trained beside it."""

from __future__ import annotations

from pathlib import Path

from fastreid.config import CfgNode

from ..checkpoints.fingerprints import reid_fingerprint
from ..checkpoints.reading import read_trained
from ..checkpoints.rebuilding import rebuild
from ..config import changed
from ..core.errors import UserError
from ..model.teacher import Teacher
from ..results.results_json import read_results
from .siblings import is_taught, teachers_results


def teacher_of(cfg: CfgNode) -> Teacher | None:
    """The teacher that a config asks for, on its device; None where it asks for none.

    The tested checkpoint of the upper bound, rebuilt from the config that it carries.

    Raises:
        UserError: when its results or its checkpoint are missing or damaged, or its images have another size.
    """
    if not is_taught(cfg):
        return None
    results = teachers_results(cfg)
    path = results.parent / Path(read_results(results)["checkpoint"])  # absolute where it lies elsewhere
    trained = read_trained(path)
    size, theirs = list(cfg.INPUT.SIZE_TRAIN), list(trained.cfg.INPUT.SIZE_TEST)
    if size != theirs:
        raise UserError(
            f"the teacher {path} has learned from images of {theirs[0]}×{theirs[1]}, INPUT.SIZE_TRAIN is "
            f"{size[0]}×{size[1]}; name the results of another with PRIVACY.UPPER_BOUND"
        )
    _, model = rebuild(changed(trained.cfg, {"MODEL.DEVICE": cfg.MODEL.DEVICE}), trained.weights, path)
    return Teacher(model, cfg.PRIVACY.TEACHER.WEIGHT, reid_fingerprint(trained.weights, trained.cfg))
