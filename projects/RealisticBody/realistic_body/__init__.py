"""A new person in the place of the raw one: a U-Net fills the region of the body or head, from a latent z.

Importing the package registers the operators ``realistic_body``, ``realistic_head`` and ``realistic_person``.
Where people are is told by the project Regions, whose folder lies beside this one: it is imported, too.

    windows       what of an image a network looks at, and putting it back
    generator     the U-Net
    networks      what fills, and what finds joints
    model_file    the file of a trained network
    finding       where people are
    filling       images, regions and latents to images
    looks         histograms of what is filled in: equalized, or matched to the surroundings
    operators     the operators

    samples       what is learned from
    pictures      data sets with masks, photographs with instance masks
    recipe        the file that says what is trained, and on what
    training      the networks, step by step
    learning      the command that trains
    detectors     whether people are still found
    measuring     the command that measures: how well it hides, and what stays
"""

from pathlib import Path

from fastreid_privacy.core.projects import load_projects

load_projects([Path(__file__).parents[2] / "Regions"])  # before what asks it

# isort: split
from .operators import realistic_body, realistic_head, realistic_person  # noqa: E402

__all__ = ["realistic_body", "realistic_head", "realistic_person"]
