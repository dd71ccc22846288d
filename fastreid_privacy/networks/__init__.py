"""pix2pix generators and discriminators, and the registries that others add theirs to.

``unet`` (anonymizer and recovery decoder), ``patchgan`` (discriminators), ``initialization``,
``output_range``, ``registry``.
"""

from .initialization import initialize
from .output_range import within_range
from .patchgan import PatchDiscriminator
from .registry import DISCRIMINATOR_REGISTRY, GENERATOR_REGISTRY, build_discriminator, build_generator
from .unet import UNetGenerator, halvings

__all__ = [
    "DISCRIMINATOR_REGISTRY",
    "GENERATOR_REGISTRY",
    "PatchDiscriminator",
    "UNetGenerator",
    "build_discriminator",
    "build_generator",
    "halvings",
    "initialize",
    "within_range",
]
