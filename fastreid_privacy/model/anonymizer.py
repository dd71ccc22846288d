"""G_X as a config describes it: what it sees, and the network.

Noise cannot be predicted from a raw image. L1 draws an anonymizer that sees nothing else to the median of
what a noisy pixel may be, which is the raw pixel: that hides nothing. So for a random operator the
anonymizer sees the desensitized image, too, with noise drawn for this image.
"""

from __future__ import annotations

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from ..config import RAW_AND_DESENSITIZED
from ..core.images import to_unit
from ..desensitize import DESENSITIZER_REGISTRY, Desensitizer
from ..networks import build_generator


def second_input(cfg: CfgNode) -> Desensitizer | None:
    """The operator whose images G_X sees beside the raw ones (``PRIVACY.ANONYMIZER.INPUT``).

    Returns:
        The config's operator; None where the anonymizer sees raw images alone.

    Raises:
        UserError: The config's operator is wanted and not registered, or its options make no sense.
    """
    given, name = cfg.PRIVACY.ANONYMIZER.INPUT, cfg.PRIVACY.DESENSITIZER.NAME
    # An operator of a user's own may be missing where their model is only used. If it was random, the tensors
    # do not fit three channels, which is told.
    if given == "auto" and name not in DESENSITIZER_REGISTRY._obj_map:
        return None
    if given not in ("auto", RAW_AND_DESENSITIZED):
        return None
    operator = Desensitizer.from_config(cfg)
    return operator if operator.is_seeded or given == RAW_AND_DESENSITIZED else None


def channels_seen(cfg: CfgNode, part: str) -> int:
    """How many channels an image network sees: 3; 6 of an anonymizer that sees desensitized images, too.

    Args:
        cfg: of the model.
        part: "anonymizer" or "recovery".

    Raises:
        UserError: as :func:`second_input`.
    """
    return 6 if part == "anonymizer" and second_input(cfg) is not None else 3


def build_anonymizer(cfg: CfgNode, size: tuple[int, int]) -> nn.Module:
    """G_X with its initial weights: what :func:`seen` gives, in [−1, 1], to N×3×H×W in [−1, 1].

    Args:
        cfg: of the model.
        size: (height, width) of the images, pixels.

    Raises:
        UserError: as :func:`second_input` and ``networks.build_generator``.
    """
    return build_generator(cfg.PRIVACY.ANONYMIZER, size, channels_seen(cfg, "anonymizer"))


def seen(images: Tensor, desensitized: Tensor | None) -> Tensor:
    """What the anonymizer sees.

    Args:
        images: raw, N×3×H×W RGB, 0–255.
        desensitized: the same people desensitized, as stored, of the same shape and range; None for an
            anonymizer that sees raw images alone.

    Returns:
        [−1, 1]: N×3×H×W, or N×6×H×W, the raw image first.
    """
    return to_unit(images if desensitized is None else torch.cat([images, desensitized], dim=1))
