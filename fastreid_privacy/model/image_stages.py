"""The ways of images through the method: raw to desensitized, protected and recovered ones, as stored."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.images import quantize, to_levels, to_unit
from ..core.placing import placed
from ..desensitize import Desensitizer
from ..desensitize.regions import regions_of
from .anonymizer import seen
from .storage import ImageStorage


def path_seeds(paths: Sequence[str]) -> Tensor:
    """One seed per image from its file name, so that noise in an evaluation depends on nothing else: N.

    No secret: who knows the name can subtract the noise. Files to give out are noised with a secret key.
    """
    names = [path.replace("\\", "/").rsplit("/", 1)[-1] for path in paths]
    return torch.tensor([zlib.crc32(name.encode("utf-8", "surrogateescape")) for name in names])


def people_of(batch: Mapping[str, Any]) -> Tensor | None:
    """Who is shown in the images of a batch: N whole numbers; None where nothing tells it.

    The loaders of this package tell the numbers of the data set (people). Of other batches targets are taken,
    which plain fastreid counts anew from 0 in training.
    """
    return batch.get("people", batch.get("targets"))


class ImageStages(nn.Module):
    """Images in, images out: N×3×H×W, RGB, 0–255. Whoever inherits it builds the parts.

    Attributes:
        device: where the networks are.
        desensitizer: the conventional operator y.
        storage: what a stored image keeps.
        protection: "none", "conventional" or "learned": what the PI domain is.
        padding: pixels and mode of the padding before the crop, where batches carry whole images.
        sees_desensitized: whether G_X sees the desensitized images beside the raw ones, six channels.
        anonymizer: G_X, images in [−1, 1] to the same; only where protection is learned.
        recovery: G_Y, likewise; None without recovery.
    """

    device: torch.device
    desensitizer: Desensitizer
    storage: ImageStorage
    protection: str
    padding: tuple[int, str]
    sees_desensitized: bool
    anonymizer: nn.Module
    recovery: nn.Module | None

    def desensitize(
        self,
        images: Tensor,
        seeds: Tensor | None = None,
        people: Tensor | None = None,
        paths: Sequence[str] | None = None,
    ) -> Tensor:
        """The conventionally desensitized images, as stored; for ``people`` see :class:`Desensitizer`.

        Args:
            images: raw, whole ones: regions are those of the files.
            seeds, people: as of :class:`Desensitizer`.
            paths: of the files, for an operator that changes a part of each; None: unknown.
        """
        return self.storage(self._desensitized(images, seeds, people, paths)).detach()

    def _desensitized(
        self,
        images: Tensor,
        seeds: Tensor | None,
        people: Tensor | None,
        paths: Sequence[str] | None,
    ) -> Tensor:
        height, width = images.shape[2:]
        regions = None if paths is None else regions_of(self.desensitizer.finder, paths, (height, width))
        return self.desensitizer(images, seeds, people, regions)

    def desensitize_placed(self, batch: dict) -> Tensor:
        """The whole images of a batch, desensitized, then padded, cut and mirrored, as stored."""
        whole = batch["whole"].to(self.device, torch.float32)
        desensitized = self._desensitized(whole, None, people_of(batch), batch.get("img_paths"))
        return self.storage(placed(desensitized, batch["places"], *self.padding)).detach()

    def seen(self, images: Tensor, desensitized: Tensor | None) -> Tensor:
        """What G_X sees of raw images, and of the same ones desensitized: see :func:`.anonymizer.seen`."""
        if not self.sees_desensitized:
            return seen(images, None)
        if desensitized is None:
            raise ValueError("this model's anonymizer sees desensitized images beside the raw ones")
        return seen(images, desensitized)

    def protect(self, images: Tensor, desensitized: Tensor | None = None) -> Tensor:
        """The anonymizer's output, as stored (p̂); differentiable.

        Args:
            images: raw.
            desensitized: of :meth:`desensitize`, with the noise that G_X sees; needed where it sees any.

        Raises:
            ValueError: It is needed and missing.
        """
        return self.storage(to_levels(self.anonymizer(self.seen(images, desensitized)).float()))

    def protected(self, images: Tensor, seeds: Tensor, paths: Sequence[str] | None = None) -> Tensor:
        """What is stored of raw images where the model is used: the PI domain.

        Args:
            images: raw.
            seeds: N whole numbers, on which alone noise depends.
            paths: as of :meth:`desensitize`.

        Raises:
            ValueError: for a model without protection.
        """
        if self.protection == "none":
            raise ValueError("this model was built without protection")
        if self.protection == "learned" and not self.sees_desensitized:
            return self.protect(images)
        desensitized = self.desensitize(images, seeds, paths=paths)
        return self.protect(images, desensitized) if self.protection == "learned" else desensitized

    def recover(self, protected: Tensor) -> Tensor:
        """The recovery decoder's output for stored protected images, not rounded; differentiable.

        Raises:
            ValueError: for a model without a recovery decoder.
        """
        if self.recovery is None:
            raise ValueError("this model was built without a recovery decoder")
        return to_levels(self.recovery(to_unit(protected)).float())

    @property
    def same_images(self) -> dict[str, str]:
        """Domain → the domain whose images it shares: Base protects by desensitizing."""
        return {"PI": "DI"} if self.protection == "conventional" else {}

    @torch.no_grad()
    def domain_images(self, batch: dict) -> dict[str, Tensor]:
        """Images of every domain that the model has, as stored.

        Args:
            batch: fastreid's: images N×3×H×W 0–255, img_paths (which seed the noise and tell regions), and
                for a desensitizer that depends on the person, people or targets (:func:`people_of`).

        Returns:
            {domain: N×3×H×W, 0–255}: OI, DI, PI (not for the upper bound) and RI (learned protection with
            recovery only).
        """
        images = self.images_to_check(batch)
        if self.protection == "learned" and self.recovery is not None:
            images["RI"] = quantize(self.recover(images["PI"]))  # a recovered image is kept in 8 bits
        return images

    @torch.no_grad()
    def images_to_check(self, batch: dict) -> dict[str, Tensor]:
        """:meth:`domain_images` without RI, which no check of a training run looks at."""
        raw = batch["images"].to(self.device, torch.float32)
        paths = batch["img_paths"]
        images = {"OI": raw, "DI": self.desensitize(raw, path_seeds(paths), people_of(batch), paths)}
        if self.protection == "learned":
            images["PI"] = self.protect(raw, images["DI"])
        images.update({domain: images[other] for domain, other in self.same_images.items()})
        return images
