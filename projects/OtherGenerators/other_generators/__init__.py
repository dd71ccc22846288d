"""Two more generators for the anonymizer G_X and the recovery decoder G_Y, in place of the U-Net.

Importing the package registers ``CouplingGenerator``, affine coupling blocks on Haar wavelets as flow-based
image hiding has them (``coupling``, ``haar``), and ``ResNetGenerator``, that of CycleGAN (``resnet``).
``sizes`` has what both refuse.
"""

from .coupling import CouplingGenerator
from .haar import from_bands, to_bands
from .resnet import ResNetGenerator

__all__ = ["CouplingGenerator", "ResNetGenerator", "from_bands", "to_bands"]
