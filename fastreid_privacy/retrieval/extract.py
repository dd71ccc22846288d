"""A checkpoint as a function: images to Re-ID features, and images to what its anonymizer stores of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.transforms import build_transforms
from PIL import Image
from torch import Tensor

from ..checkpoints.fingerprints import reid_fingerprint
from ..checkpoints.reading import read_trained
from ..checkpoints.rebuilding import rebuild
from ..collection.source import Source
from ..config import changed, image_device
from ..core.errors import UserError
from ..core.remote import Place
from ..model.image_stages import path_seeds
from ..model.meta_arch import PrivacyStages
from ..model.parts import NOT_REID, TRAINING_ONLY

WANTED = "name a model_best.pth, or the reid.pth of tools/export.py"


class Extractor:
    """The Re-ID part of a trained model as a function of images, with its preprocessing and its anonymizer.

    Args:
        model: in evaluation, on its device.
        cfg: what it was trained with.
        fingerprint: see :func:`reid_fingerprint`.

    Attributes:
        device: where the model is.
        flip: the config's ``TEST.FLIP``.
        size: (height, width) of the images that ``transform`` gives.
        transform: the config's test transform: a picture of
            :func:`fastreid_privacy.core.pictures.open_picture` to 3×H×W float32, RGB 0–255.
        metric: the config's "cosine" or "euclidean".
        anonymizes: whether there is an anonymizer: a learned one, or Base's conventional operator.
    """

    def __init__(self, model: PrivacyStages, cfg: CfgNode, fingerprint: str):
        self.model, self.fingerprint = model, fingerprint
        self.device = next(model.parameters()).device
        self.flip, self.metric = cfg.TEST.FLIP.ENABLED, cfg.TEST.METRIC
        self.size = tuple(cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else cfg.INPUT.SIZE_TEST)
        self.transform = build_transforms(cfg, is_train=False)
        self.anonymizes = cfg.PRIVACY.PROTECTION != "none"

    def to(self, device: str) -> None:
        """Move the model to "cpu", "cuda" or "cuda:N"."""
        self.model.to(device)
        self.device = next(self.model.parameters()).device

    def reduced(self, anonymizes: bool) -> Extractor:
        """The same without networks that only training or recovery use; it shares the others' tensors.

        Args:
            anonymizes: whether :meth:`protect` is asked for, too; else the anonymizer is left out.
        """
        unused = {*TRAINING_ONLY, "recovery", *(() if anonymizes else ("anonymizer",))}
        extract, model = copy(self), copy(self.model)
        for held in ("_modules", "_buffers"):
            parts = getattr(self.model, held).items()
            setattr(model, held, {name: part for name, part in parts if name not in unused})
        extract.model = model
        return extract

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features for retrieval, as the evaluation has them.

        That is the mean over an image and its mirror image where ``TEST.FLIP`` says so.

        Args:
            images: N×3×H×W, RGB 0–255, uint8 or float, on any device; H×W is best ``size``.

        Returns:
            N×D float32 on the CPU, not normalised.
        """
        return self.model.reid_features(images.to(self.device, torch.float32), self.flip).cpu()

    def seen(self, picture: np.ndarray) -> Tensor:
        """What the model sees of a picture, scaled as the evaluation does it.

        Args:
            picture: uint8 H×W×3, RGB, of any size.

        Returns:
            3×H×W float32, 0–255, of the model's size.
        """
        return self.transform(Image.fromarray(picture))

    def check_anonymizes(self, source: Source | None = None) -> None:
        """Refuse a model, or images, that cannot stand as protected.

        Args:
            source: the images; None: not asked.

        Raises:
            UserError: when the model was trained without protected images, or its operator changes a part of
                each image, which nothing tells of files in a store or in tar files.
        """
        if not self.anonymizes:
            raise UserError(
                "this model holds no anonymizer, as one trained without protected images, or reid.pth: leave "
                "out --protect"
            )
        if source and source.listed:
            self.refuse_elsewhere(source.root)

    def refuse_elsewhere(self, gallery: Place) -> None:
        """Refuse to protect images of a store or of tar files where nothing tells their regions.

        Args:
            gallery: that has them, for the message.

        Raises:
            UserError: when the operator changes a part of each image.
        """
        desensitizes = self.model.protection == "conventional" or self.model.sees_desensitized
        if desensitizes and self.model.desensitizer.needs_regions:
            raise UserError(
                f"gallery {gallery} has its images in a store or in tar files, and what tells their "
                "regions reads files of this machine: copy the images"
            )

    @torch.no_grad()
    def protect(self, images: Tensor, paths: Sequence[str]) -> Tensor:
        """What the anonymizer stores of images.

        Args:
            images: N×3×H×W, RGB 0–255.
            paths: N, of the raw files, with their folders: their names seed noise, and they tell regions.

        Returns:
            N×3×H×W float32, 0–255, on the model's device.

        Raises:
            UserError: as :meth:`check_anonymizes`.
        """
        self.check_anonymizes()
        return self.model.protected(images.to(self.device, torch.float32), path_seeds(paths), paths)


def load_extractor(path: str | Path, device: str = "auto") -> Extractor:
    """The Re-ID part of a checkpoint as a function of images, rebuilt from the config that the file carries.

    Example:
        >>> extract = load_extractor("output/demo/model_best.pth")  # doctest: +SKIP
        >>> features = extract(images)  # N×3×H×W, RGB, 0–255 → N×D float32  # doctest: +SKIP

    Args:
        path: of a ``model_best.pth``, ``model_final.pth`` or periodic checkpoint of this package, or of the
            ``reid.pth`` that was split from one, which anonymizes nothing.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.

    Raises:
        UserError: when the file is missing, is no checkpoint of this package, holds no Re-ID model, or lacks
            networks that its config names.
    """
    path, device = Path(path), image_device(device)
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; {WANTED}")
    trained = read_trained(path)
    cfg = changed(trained.cfg, {"MODEL.DEVICE": device})
    parts = {name.partition(".")[0] for name in trained.weights}
    if parts <= set(NOT_REID):  # the part of somebody else
        raise UserError(f"{path} holds no Re-ID model; {WANTED}")
    if cfg.PRIVACY.PROTECTION == "learned" and not parts & set(NOT_REID):  # the part for researchers
        cfg = changed(cfg, {"PRIVACY.PROTECTION": "none", "PRIVACY.CENTER_LOSS.WEIGHT": 0.0})
    cfg, model = rebuild(cfg, trained.weights, path)
    if not isinstance(model, PrivacyStages):
        raise UserError(
            f"{path} holds a {cfg.MODEL.META_ARCHITECTURE}, which is no model of fastreid_privacy"
        )
    return Extractor(model, cfg, reid_fingerprint(trained.weights, cfg))
