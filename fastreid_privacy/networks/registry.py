"""Generators and discriminators by name, so that other networks plug in from outside.

A registered class is built by its own ``from_options``, the one place where a network meets the config:

- generator: ``from_options(options, size)`` with the config node ``PRIVACY.ANONYMIZER`` or
  ``PRIVACY.RECOVERY`` and the training size (height, width) in pixels; its ``forward`` maps N×3×H×W in
  [−1, 1] to the same shape and range. One that also takes ``from_options(options, size, in_channels=6)`` can
  be an anonymizer that sees the desensitized image beside the raw one: N×6×H×W to N×3×H×W;
- discriminator: ``from_options(options)`` with the node ``PRIVACY.DISCRIMINATOR``; its ``forward(condition,
  image)`` maps two N×3×H×W in [−1, 1] to logits of any shape, positive for "real".

Example:
    >>> from types import SimpleNamespace
    >>> import torch
    >>> from fastreid_privacy.networks import GENERATOR_REGISTRY, build_generator
    >>> @GENERATOR_REGISTRY.register()
    ... class OneLayerGenerator(torch.nn.Conv2d):
    ...     @classmethod
    ...     def from_options(cls, options, size):
    ...         return cls(3, 3, kernel_size=3, padding=1)
    >>> type(build_generator(SimpleNamespace(NAME="OneLayerGenerator"), size=(128, 64))).__name__
    'OneLayerGenerator'
"""

from __future__ import annotations

import inspect
from typing import Any

from fastreid.utils.registry import Registry
from torch import nn

from ..core.errors import UserError
from ..core.registry import lookup

GENERATOR_REGISTRY = Registry("GENERATOR")
DISCRIMINATOR_REGISTRY = Registry("DISCRIMINATOR")


def build_generator(options: Any, size: tuple[int, int], in_channels: int = 3) -> nn.Module:
    """Build the generator that a config node names.

    Args:
        options: ``cfg.PRIVACY.ANONYMIZER`` or ``cfg.PRIVACY.RECOVERY``, or any object with the attributes
            that the network reads (``NAME``, for the U-Net also ``WIDTH`` and ``DEPTH``).
        size: Training size (height, width) in pixels, as ``INPUT.SIZE_TRAIN``.
        in_channels: 3; 6 for a raw image and a desensitized one.

    Raises:
        UserError: The name is not registered, or the network cannot take the size or the channels.
    """
    keys = "PRIVACY.ANONYMIZER.NAME or PRIVACY.RECOVERY.NAME"
    build = lookup(GENERATOR_REGISTRY, options.NAME, keys).from_options
    if in_channels == 3:
        return build(options, size)
    if "in_channels" not in inspect.signature(build).parameters:
        raise UserError(
            f"{options.NAME} sees raw images alone, for its from_options has no in_channels: set "
            "PRIVACY.ANONYMIZER.INPUT raw, or PRIVACY.ANONYMIZER.NAME UNetGenerator"
        )
    return build(options, size, in_channels=in_channels)


def build_discriminator(options: Any) -> nn.Module:
    """Build the discriminator that a config node names.

    Args:
        options: ``cfg.PRIVACY.DISCRIMINATOR``, or any object with the attributes that the network reads
            (``NAME``, ``WIDTH``).

    Raises:
        UserError: The name is not registered.
    """
    return lookup(DISCRIMINATOR_REGISTRY, options.NAME, "PRIVACY.DISCRIMINATOR.NAME").from_options(options)
