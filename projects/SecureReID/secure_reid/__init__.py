"""Masks that are drawn from a number and added to an image: of the person, as SecureReID, or of each image.

Importing the package registers the operators ``label_mask``, ``label_mask_clipped`` and ``fresh_mask``.
"""

from .masks import fresh_mask, label_mask, label_mask_clipped, mask_of, unmask

__all__ = ["fresh_mask", "label_mask", "label_mask_clipped", "mask_of", "unmask"]
