"""The initialization that pix2pix gives both of its networks."""

from __future__ import annotations

from torch import nn


def initialize(module: nn.Module) -> None:
    """Draw convolutions from N(0, 0.02) and BatchNorm scales from N(1, 0.02); set every bias to 0.

    Use with ``network.apply(initialize)``.

    Reference: Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, CVPR 2017,
    appendix 6.2.
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
