"""An anonymizer as a map of images, whatever it is: a trained network, or a conventional operator.

An anonymizer is anything that maps N×3×H×W images, RGB 0–255, to the same; conventional operators
(``desensitize``) and trained networks are called alike. A recovery decoder is one, too, of protected images.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from ..core.errors import UserError
from ..core.images import to_bytes, to_levels
from ..desensitize import Desensitizer
from ..desensitize.noise_stream import KEY_BITS
from ..model.anonymizer import seen
from ..model.storage import ImageStorage
from ..model.verdict import Constraint
from .onnx_runtime import OnnxNetwork


class ImageMap(nn.Module):
    """A trained generator or a conventional operator, and the storage that follows it, as a map of images.

    Args:
        network: images in [−1, 1] to the same; None where there is an operator.
        operator: images 0–255 to the same; None where there is a network.
        storage: what a stored image keeps; the result is that.
        size: (height, width) that the network was trained for, or that the operator makes; None: an
            operator, which keeps each image's.
        beside: the operator whose images the network sees beside the raw ones; None: it sees those alone.
        fingerprint: of the anonymizer that this is, or whose images it recovers
            (:func:`anonymizer_fingerprint`).
        trained_on: names of the data sets that the network learned from.
        constraint: what a trained anonymizer's images are held against; None: there is no such thing, or it
            is not known.
        private: whether the network met the privacy constraint at its last check; None where that is not
            known, or there is no network.
        precision: "float32", "bfloat16" or "float16": what the network's convolutions compute in; all else is
            float32.

    Raises:
        ValueError: unless there is either a network or an operator.
    """

    def __init__(
        self,
        network: nn.Module | None,
        operator: Desensitizer | None,
        storage: ImageStorage,
        size: tuple[int, int] | None,
        *,
        beside: Desensitizer | None = None,
        constraint: Constraint | None = None,
        fingerprint: str = "",
        trained_on: tuple[str, ...] = (),
        private: bool | None = None,
        precision: str = "float32",
    ):
        super().__init__()
        if (network is None) == (operator is None):
            raise ValueError("an ImageMap has either a network or an operator")
        self.network, self.operator, self.storage, self.size = network, operator, storage, size
        self.beside, self.constraint, self.private = beside, constraint, private
        self.fingerprint, self.trained_on, self.precision = fingerprint, trained_on, precision
        if operator is not None and operator.description is not None:
            # such an operator maps by a network of its own, where the images are
            self.register_buffer("place", torch.empty(0), persistent=False)
        self.runtime = "onnx" if isinstance(network, OnnxNetwork) else "torch"
        self.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        """Where images are mapped."""
        return next((held.device for held in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    @property
    def needs_people(self) -> bool:
        """Whether it is an operator that depends on who is shown."""
        return self.operator is not None and self.operator.needs_people

    @property
    def is_random(self) -> bool:
        """Whether what is made of an image depends on noise drawn for it."""
        drawn = self.operator or self.beside
        return drawn is not None and drawn.is_seeded

    @property
    def of_regions(self) -> Desensitizer | None:
        """The operator that needs to know the region of each image; None: nothing does."""
        drawn = self.operator or self.beside
        return drawn if drawn is not None and drawn.needs_regions else None

    @torch.no_grad()
    def forward(
        self,
        images: Tensor,
        seeds: Sequence[int] | Tensor | None = None,
        people: Sequence[int] | None = None,
        regions: Tensor | None = None,
    ) -> Tensor:
        """Map images.

        Args:
            images: N×3×H×W, RGB 0–255, uint8 or float, on any device; H×W as in training (``size``) is what
                the network knows best, other sizes must be halvable as often.
            seeds: as of :meth:`levels`; None: secret ones, new for each call, so that nobody can repeat the
                noise and subtract it.
            people: the identity of each image, for an operator that depends on it.
            regions: N×1×H×W, 0 or 1, for an operator that changes a part of each image.

        Returns:
            The same shape, kind and device, 0–255.

        Raises:
            ValueError: for another shape.
            UserError: as of :meth:`levels`.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be N×3×H×W, got {tuple(images.shape)}")
        device = next((p.device for p in self.parameters()), images.device)
        if seeds is None and self.is_random:
            seeds = [secrets.randbits(KEY_BITS) for _ in images]
        levels = self.levels(images.to(device, torch.float32), seeds, people, regions)
        stored = self.storage(levels).to(images.device)
        return to_bytes(stored) if images.dtype == torch.uint8 else stored.to(images.dtype)

    @torch.no_grad()
    def levels(
        self,
        images: Tensor,
        seeds: Sequence[int] | Tensor | None = None,
        people: Sequence[int] | None = None,
        regions: Tensor | None = None,
    ) -> Tensor:
        """The mapped images before any storage.

        Args:
            images: float32 N×3×H×W, RGB 0–255, on the network's device.
            seeds: one whole number of at most 256 bits per image, on which alone noise depends; None: the
                default generator.
            people: the identity of each image, for an operator that depends on it.
            regions: N×1×H×W, 0 or 1, for an operator that changes a part of each image.

        Returns:
            float32, the same shape and device, nominally 0–255, neither rounded nor clamped.

        Raises:
            UserError: when NaN or infinity comes out, of which no picture can be made, or people or regions
                are missing.
        """
        if self.operator is not None:
            mapped = self.operator(images, seeds, people, regions).float()
            _check_finite(mapped, f"the images of the desensitizer {self.operator.name} are")
            return mapped
        desensitized = None
        if self.beside is not None:
            desensitized = self.storage(self.beside(images, seeds, people, regions))
        return self._of_network(images, desensitized)

    @torch.no_grad()
    def levels_and_desensitized(
        self,
        images: Tensor,
        desensitizer: Desensitizer,
        seeds: Sequence[int] | Tensor | None = None,
        people: Sequence[int] | None = None,
        regions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What a trained anonymizer makes of images, and the same images desensitized.

        Args:
            images: as of :meth:`levels`.
            desensitizer: the operator that the anonymizer was trained with.
            seeds, people, regions: as of :meth:`levels`.

        Returns:
            As of :meth:`levels`; and the desensitized images as stored, the very ones that the network saw
            where it sees them.
        """
        desensitized = self.storage(desensitizer(images, seeds, people, regions))
        return self._of_network(images, None if self.beside is None else desensitized), desensitized

    def _of_network(self, images: Tensor, desensitized: Tensor | None) -> Tensor:
        assert self.network is not None
        half = self.precision != "float32"
        with torch.autocast(images.device.type, getattr(torch, self.precision), enabled=half):
            mapped = self.network(seen(images, desensitized))
        _check_finite(mapped, "the network's output is")
        return to_levels(mapped.float())


def _check_finite(mapped: Tensor, what: str) -> None:
    if not torch.isfinite(mapped).all():
        raise UserError(f"{what} not finite: its weights are broken")
