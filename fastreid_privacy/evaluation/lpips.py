"""LPIPS, the learned perceptual distance of images, where AlexNet's weights are at hand; no downloads."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import torch
from fastreid.config import CfgNode
from torch import Tensor
from torchmetrics.functional.image.lpips import _NoTrainLpips
from torchvision.models import AlexNet_Weights

from ..compat.checkpoints import load_safely
from ..core.errors import UserError, typed

logger = logging.getLogger(__name__)

SMALLEST_SIDE = 31  # AlexNet halves an image until nothing is left of smaller ones
FIX = "give torchvision's AlexNet file (alexnet-owt-*.pth) with TEST.LPIPS_WEIGHTS"


class Lpips:
    """LPIPS with AlexNet, version 0.1, as torchmetrics computes it, with the linear weights in torchmetrics.

    Args:
        weights: torchvision's AlexNet weights, a file of ``torch.save``.
        device: where the network is.

    Raises:
        UserError: when the file cannot be read or is of another network.

    Reference:
        Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018.
    """

    def __init__(self, weights: str | Path, device: str | torch.device = "cpu"):
        features = read_alexnet(weights)
        # torchmetrics' public class downloads the weights that this one leaves random; drawing them must not
        # move a run's random numbers.
        with torch.random.fork_rng(devices=[]):
            self._network = _NoTrainLpips(net="alex", pnet_rand=True)
        own = self._network.net.state_dict()  # "slice2.3.weight" is AlexNet's "features.3.weight"
        named = {name: features.get(f"features.{name.partition('.')[2]}") for name in own}
        wrong = [
            name
            for name, value in named.items()
            if not isinstance(value, Tensor) or value.shape != own[name].shape
        ]
        if wrong:
            name = f"features.{wrong[0].partition('.')[2]}"
            raise UserError(
                f"{weights} does not hold AlexNet's weights ({name} is missing or of another shape); {FIX}"
            )
        self._network.net.load_state_dict(named)
        self._network.to(device)

    @torch.no_grad()
    def __call__(self, images: Tensor, reference: Tensor) -> Tensor:
        """The distance of each image to its original, computed in float32, also under autocast.

        Args:
            images: N×3×H×W RGB, 0–255, any type, H and W at least 31.
            reference: the raw images, same shape and range.

        Returns:
            N float32, 0 for equal images.
        """
        images, reference = (batch.float() / 127.5 - 1 for batch in (images, reference))
        with (
            torch.autocast(images.device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            return self._network(images, reference).flatten()


def read_alexnet(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a weights file.

    Raises:
        UserError: when there is no such file, or it holds no state dict.
    """
    if not Path(path).is_file():
        raise UserError(f"TEST.LPIPS_WEIGHTS {path} does not exist; {FIX}, or leave it empty")
    try:
        weights = load_safely(path)
    except Exception as error:  # a damaged file can end in any exception of zipfile, pickle and torch
        raise UserError(f"{path} holds no weights that can be read ({typed(error)}); {FIX}") from error
    if not isinstance(weights, dict):
        raise UserError(
            f"{path} does not hold AlexNet's weights (it holds a {type(weights).__name__}); {FIX}"
        )
    return weights


def cached_alexnet() -> Path:
    """Where torch hub keeps torchvision's AlexNet weights, whether they are there or not."""
    return Path(torch.hub.get_dir(), "checkpoints", Path(AlexNet_Weights.DEFAULT.url).name)


def lpips_of_config(cfg: CfgNode) -> Lpips | None:
    """LPIPS with the weights of ``TEST.LPIPS_WEIGHTS``, or else those in torch hub's cache.

    Returns:
        None, after one line in the log, without any.

    Raises:
        UserError: when the file that is named cannot serve, or images are too small for it.
    """
    return _load(cfg.TEST.LPIPS_WEIGHTS, cfg.MODEL.DEVICE, min(cfg.INPUT.SIZE_TEST))


def check_lpips(cfg: CfgNode) -> None:
    """Find out before training whether the weights that ``TEST.LPIPS_WEIGHTS`` names, if any, can serve.

    Raises:
        UserError: as :func:`lpips_of_config`.
    """
    if cfg.TEST.LPIPS_WEIGHTS:
        _check_side(min(cfg.INPUT.SIZE_TEST))
        Lpips(cfg.TEST.LPIPS_WEIGHTS)


def _check_side(side: int) -> None:
    if side < SMALLEST_SIDE:
        raise UserError(
            f"LPIPS needs sides of at least {SMALLEST_SIDE} pixels, INPUT.SIZE_TEST has {side}: raise it, "
            "or leave TEST.LPIPS_WEIGHTS empty"
        )


@functools.cache  # one network for all evaluations of a run, and one line in its log
def _load(given: str, device: str, side: int) -> Lpips | None:
    if given:
        _check_side(side)
        return Lpips(given, device)
    path = cached_alexnet()
    reason = f"no {path.name} in {path.parent}"
    if path.is_file():
        try:
            _check_side(side)
            return Lpips(path, device)
        except UserError as error:  # nobody asked for this file
            reason = str(error)
    logger.info("LPIPS not available: %s; give TEST.LPIPS_WEIGHTS", reason)
    return None
