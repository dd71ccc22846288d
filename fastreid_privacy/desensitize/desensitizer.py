"""A desensitizer by name and config, and the registry that others add theirs to.

A registered operator is a function ``f(images, ...)`` from N×3×H×W RGB 0–255, float or uint8, to the same.
Its other parameters say by their names what it wants: ``scale`` (H / 256, to multiply lengths in pixels by),
``seeds`` (one whole number of at most 256 bits per image, or None; secret where pictures are protected),
``people`` (the identity of each image, a list of whole numbers), ``regions`` (N×1×H×W, 0 or 1: the part of
each image that is to be changed, see :mod:`.regions`), and any option: a key of PRIVACY.DESENSITIZER in lower
case, or one of its own, whose default makes it a key. What it depends on besides, such as the file of a
network, it says by a description (:mod:`.description`).

An operator that asks for ``people`` or ``regions`` always gets them: where nothing tells them, it is refused.

Example:
    >>> import torch
    >>> from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, Desensitizer
    >>> @DESENSITIZER_REGISTRY.register()
    ... def darken(images, darkness=0.5):
    ...     return images * (1 - darkness)
    >>> Desensitizer("darken", darkness=0.75)(torch.full((1, 3, 2, 2), 100.0)).mean().item()
    25.0
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from ..core.errors import UserError
from ..core.json_text import json_value
from ..core.operators import DESENSITIZER_REGISTRY, NODE, PER_BATCH, operator_keys, parameters
from ..core.registry import lookup
from . import operations
from .description import Description
from .regions import FinderMaker, RegionFinder

REFERENCE_HEIGHT = 256
LONGEST = 10_000  # pixels at that height: of sigma and block; further ones change nothing more
REGIONS_KEY = "DATASETS.REGIONS"
STRONGEST_NOISE = 1_000  # times the value range


@DESENSITIZER_REGISTRY.register()
def blur(images: Tensor, scale: float, blur_sigma: float) -> Tensor:
    """Gaussian blur; ``blur_sigma`` in pixels of an image 256 high."""
    return operations.gaussian_blur(images, blur_sigma * scale)


@DESENSITIZER_REGISTRY.register()
def pixelate(images: Tensor, scale: float, pixel_block: int, pixel_reduce: str) -> Tensor:
    """Pixelation; ``pixel_block`` in pixels of an image 256 high, rounded after scaling, at least 1."""
    return operations.pixelate(images, max(1, round(pixel_block * scale)), pixel_reduce)


@DESENSITIZER_REGISTRY.register()
def noise(images: Tensor, seeds: Sequence[int] | Tensor | None, noise_std: float) -> Tensor:
    """Gaussian noise; ``noise_std`` is a fraction of the value range."""
    return operations.gaussian_noise(images, noise_std, seeds)


@DESENSITIZER_REGISTRY.register()
def mask(images: Tensor, mask_region: Sequence[float] | None) -> Tensor:
    """Mid grey over ``mask_region``: (top, left, height, width), fractions of the sides; none: everywhere."""
    return operations.mask_out(images, mask_region or None)


class Desensitizer(nn.Module):
    """Desensitizes batches with one registered operator; has no parameters.

    Lengths are given for an image 256 high and scale with the height: at 128×64, ``blur_sigma=12`` blurs with
    sigma 6.

    Args:
        name: "blur", "pixelate", "noise", "mask", or a name in ``DESENSITIZER_REGISTRY``.
        blur_sigma: Standard deviation of the blur, in pixels at a height of 256.
        pixel_block: Side of a pixelation block, in pixels at a height of 256.
        pixel_reduce: "mean" or "corner", the colour of a block.
        noise_std: Standard deviation of the noise, as a fraction of the value range.
        mask_region: (top, left, height, width) of the mask as fractions of the sides; None or empty:
            everything.
        regions_file: ``DATASETS.REGIONS``: where an operator that asks for regions finds them.
        options: Options of an operator of your own.

    Raises:
        UserError: The name is not registered, or the operator lacks an option or does not know one, or what
            describes it cannot use one.
        ValueError: An option has a value that makes no sense.

    Example:
        >>> import torch
        >>> Desensitizer("pixelate")(torch.rand(2, 3, 128, 64) * 255)[0, 0, :12, :12].unique().numel()
        1
    """

    def __init__(
        self,
        name: str,
        *,
        blur_sigma: float = 12.0,
        pixel_block: int = 24,
        pixel_reduce: str = "mean",
        noise_std: float = 0.5,
        mask_region: Sequence[float] | None = None,
        regions_file: str = "",
        **options: Any,
    ) -> None:
        super().__init__()
        operations.check_sigma(blur_sigma)
        operations.check_block(pixel_block)
        operations.check_reduce(pixel_reduce)
        operations.check_std(noise_std)
        _check_most("the blur's sigma", blur_sigma, LONGEST)
        _check_most("the pixelation's block", pixel_block, LONGEST)
        _check_most("the noise's std", noise_std, STRONGEST_NOISE)
        operations.check_region(mask_region or None)
        available = {
            "blur_sigma": blur_sigma,
            "pixel_block": pixel_block,
            "pixel_reduce": pixel_reduce,
            "noise_std": noise_std,
            "mask_region": mask_region,
            **options,
        }
        self.name, self.regions_file = name, regions_file
        self.operator = lookup(DESENSITIZER_REGISTRY, name, "PRIVACY.DESENSITIZER.NAME")
        wanted = parameters(self.operator)
        unknown = set(options) - set(wanted)
        if unknown:
            raise UserError(
                f"the desensitizer {name} has no option {', '.join(sorted(unknown))}; it knows "
                f"{', '.join(wanted)}"
            )
        required = {option for option, needed in wanted.items() if needed}
        missing = required - set(available) - set(PER_BATCH)
        if missing:
            keys = ", ".join(f"{NODE}.{option.upper()}" for option in sorted(missing))
            raise UserError(f"the desensitizer {name} needs {keys}, which the config does not have")
        self.options = {option: available[option] for option in wanted if option in available}
        self.per_batch = [option for option in PER_BATCH if option in wanted]
        describe = getattr(self.operator, "describe", None)
        own = {key.rpartition(".")[2].lower(): default for key, default in operator_keys(name).items()}
        self.description: Description | None = describe(**{**own, **self.options}) if describe else None

    @classmethod
    def from_config(cls, cfg: Any) -> Desensitizer:
        """Build what ``PRIVACY.DESENSITIZER`` describes.

        Raises:
            UserError: as the constructor, also for values that make no sense.
        """
        node = cfg.PRIVACY.DESENSITIZER
        operator = lookup(DESENSITIZER_REGISTRY, node.NAME, "PRIVACY.DESENSITIZER.NAME")
        # The node may carry keys of several operators; each gets its own.
        known = {*inspect.signature(cls).parameters, *parameters(operator)} - {"name"}
        options = {key.lower(): value for key, value in node.items() if key.lower() in known}
        try:
            if "regions" in known:
                options["regions_file"] = cfg.DATASETS.REGIONS
            return cls(node.NAME, **options)
        except ValueError as error:
            raise UserError(f"PRIVACY.DESENSITIZER: {error}") from error

    def forward(
        self,
        images: Tensor,
        seeds: Sequence[int] | Tensor | None = None,
        people: Sequence[int] | Tensor | None = None,
        regions: Tensor | None = None,
    ) -> Tensor:
        """Desensitize a batch.

        Args:
            images: N×3×H×W RGB, 0–255, float or uint8.
            seeds: One whole number of at most 256 bits per image, on which alone its noise depends; None: the
                default generator.
            people: The identity of each image; None: unknown.
            regions: N×1×H×W, 0 or 1, the part of each image that is to be changed, as
                :func:`.regions.regions_of` gives it; None: unknown.

        Returns:
            The desensitized images: same shape and range, uint8 for uint8, else float32.

        Raises:
            UserError: The operator depends on people, or on regions, and they are unknown.
            ValueError: There is not one identity or one region per image.
        """
        available: dict[str, Any] = {"scale": images.shape[2] / REFERENCE_HEIGHT, "seeds": seeds}
        if (self.needs_people and people is None) or (self.needs_regions and regions is None):
            self.refuse_unlabelled("these images")
        if self.needs_regions and regions is not None:
            if (wanted := (len(images), 1, *images.shape[2:])) != tuple(regions.shape):
                raise ValueError(f"the regions must be {wanted}, not {tuple(regions.shape)}")
            available["regions"] = regions.to(images.device)
        if self.needs_people and people is not None:
            available["people"] = [int(person) for person in people]
            if len(people) != len(images):
                raise ValueError(f"{len(images)} images need as many identities, got {len(people)}")
        per_batch = {option: available[option] for option in self.per_batch}
        return self.operator(images, **self.options, **per_batch)

    @property
    def about(self) -> dict[str, Any] | None:
        """What its images depend on, as JSON gives it back; None where the operator describes nothing."""
        return None if self.description is None else json_value(dict(self.description.about))

    @property
    def is_seeded(self) -> bool:
        """Whether the operator draws random numbers, from seeds."""
        return "seeds" in self.per_batch

    @property
    def needs_people(self) -> bool:
        """Whether the operator depends on who is shown."""
        return "people" in self.per_batch

    @property
    def needs_regions(self) -> bool:
        """Whether the operator changes a part of each image that has to be found."""
        return "regions" in self.per_batch

    @cached_property
    def finder(self) -> RegionFinder | None:
        """What tells the regions of images, made when it is first asked for; None: the operator needs none.

        Raises:
            UserError: when ``DATASETS.REGIONS`` names nothing that can be read.
        """
        if not self.needs_regions:
            return None
        make: FinderMaker | None = getattr(self.operator, "make_finder", None)
        if make is None:
            raise UserError(f"the desensitizer {self.name} asks for regions, and has nothing that finds them")
        return make(self.regions_file)

    def __getstate__(self) -> dict[str, Any]:
        """Without the finder, which another process makes for itself: it may hold open files or locks."""
        return {name: value for name, value in super().__getstate__().items() if name != "finder"}

    def refuse_unlabelled(self, what: str) -> None:
        """Refuse images to an operator that depends on who or what is where in them.

        Args:
            what: which images, for the message.

        Raises:
            UserError: The operator depends on people or on regions.
        """
        if self.needs_regions:
            raise UserError(
                f"the desensitizer {self.name} changes a part of each image, and nothing tells which part of "
                f"{what}: take files of images, or another desensitizer"
            )
        if self.needs_people:
            raise UserError(
                f"the desensitizer {self.name} depends on the person, and nothing tells who is shown in "
                f"{what}: take images of people who are known, or another desensitizer"
            )

    def extra_repr(self) -> str:
        options = (f"{option}={value!r}" for option, value in self.options.items())
        return ", ".join([repr(self.name), *options])


def _check_most(what: str, value: float, most: int) -> None:
    """Refuse a number that somebody mistyped, and that scaling with the height could make endless."""
    if value > most:
        raise ValueError(f"{what} must be at most {most:,}, not {value}")


def about_operator(cfg: Any) -> dict[str, Any] | None:
    """What the images of a config's operator depend on, where it describes itself, as JSON gives it back.

    Returns:
        As :attr:`Desensitizer.about`; None, too, where nothing is desensitized.

    Raises:
        UserError: as :meth:`Desensitizer.from_config`.
    """
    return None if cfg.PRIVACY.PROTECTION == "none" else Desensitizer.from_config(cfg).about


def about_regions(cfg: Any) -> dict[str, Any] | None:
    """What tells the regions of a config's images, as JSON gives it back.

    It is of these images: who protects others with the same operator has other regions.

    Returns:
        What the finder says of itself; None where the operator needs no regions, or nothing is desensitized.

    Raises:
        UserError: as :meth:`Desensitizer.from_config`, or when ``DATASETS.REGIONS`` names nothing that can be
            read.
    """
    finder = None if cfg.PRIVACY.PROTECTION == "none" else Desensitizer.from_config(cfg).finder
    return None if finder is None else json_value(dict(finder.about))


def option_keys(name: str) -> list[str]:
    """The config keys that a registered operator reads: PRIVACY.DESENSITIZER.BLUR_SIGMA of blur.

    Raises:
        UserError: The name is not registered.
    """
    operator = lookup(DESENSITIZER_REGISTRY, name, "PRIVACY.DESENSITIZER.NAME")
    wanted = parameters(operator)
    options = [f"{NODE}.{option.upper()}" for option in wanted if option not in PER_BATCH]
    return [*options, REGIONS_KEY] if "regions" in wanted else options
