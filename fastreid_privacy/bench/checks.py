"""What checks on the validation split cost a training run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from fastreid.config import CfgNode
from torch import Tensor

from ..model.meta_arch import PrivacyStages
from ..training.testing import hybrid_evaluator

CHECK = "a check of as many"


def check_of(
    model: PrivacyStages, cfg: CfgNode, images: Tensor, targets: Tensor, precision: torch.dtype
) -> Callable[[], None]:
    """What a check on the validation split does with a batch, but for ranking; the arguments of a step."""
    evaluator = hybrid_evaluator(cfg, 0, samples=0)
    batch = {
        "images": images,
        "targets": targets,
        "camids": targets,
        "img_paths": [f"{index}.png" for index in range(len(images))],
        "is_query": torch.arange(len(images)) % 5 == 0,
    }

    def step() -> None:
        evaluator.reset()
        model.eval()
        with torch.autocast(images.device.type, precision, precision is not torch.float32):
            evaluator.process(batch, model.extract_checked(batch))
        model.train()

    return step


def share_of_checks(check: float, step: float, cfg: CfgNode) -> float:
    """What checks after every epoch take of a training run, in percent.

    Args:
        check: seconds, without ranking.
        step: seconds, of as many images.
        cfg: whose validation split says how many images are checked.
    """
    validation = cfg.DATASETS.VALIDATION.FRACTION
    of_an_epoch = validation * check
    return 100 * of_an_epoch / (of_an_epoch + (1 - validation) * step)
