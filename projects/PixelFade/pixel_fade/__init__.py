"""PixelFade: pixels give way to noise, as far as a Re-ID model still finds the person.

Importing the package registers the operator ``pixel_fade``.
"""

from .fading import fade, feature_distance, noise_and_order
from .operator import pixel_fade

__all__ = ["fade", "feature_distance", "noise_and_order", "pixel_fade"]
