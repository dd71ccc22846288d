"""Conventional desensitization (paper, section 4.2).

It is the first target of the anonymizer, and what the method is compared with.
"""

from .description import Description, described
from .desensitizer import DESENSITIZER_REGISTRY, Desensitizer
from .operations import gaussian_blur, gaussian_noise, mask_out, pixelate
from .regions import Region, RegionFinder, finds_regions

__all__ = [
    "DESENSITIZER_REGISTRY",
    "Description",
    "Desensitizer",
    "Region",
    "RegionFinder",
    "described",
    "finds_regions",
    "gaussian_blur",
    "gaussian_noise",
    "mask_out",
    "pixelate",
]
