"""The meta-architectures: a fastreid Re-ID model trained jointly with an anonymizer and a recovery decoder.

:class:`PrivacyStages` adds the stages to any fastreid meta-architecture that follows it in the bases;
``PrivacyReID`` (on ``Baseline``: AGW, bag of tricks, SBS, OSNet, ViT, …) and ``PrivacyMGN`` are registered.
``backbone.*`` and ``heads.*`` keep fastreid's names, so checkpoints go both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline
from fastreid.modeling.meta_arch.mgn import MGN
from torch import Tensor, nn
from torchvision.transforms import RandomErasing

from ..core.images import to_unit
from ..desensitize import Desensitizer
from ..networks import build_discriminator, build_generator
from .anonymizer import build_anonymizer, second_input
from .attacker import TrainedAttacker
from .heads import FASTREID_STD, scale_classifiers
from .image_stages import ImageStages, people_of
from .losses import adversarial_loss, frozen
from .memory_layout import to_channels_last
from .reid_losses import ReidLosses
from .storage import ImageStorage
from .supervision import Supervision


def _discrimination(discriminator: nn.Module, condition: Tensor, real: Tensor, generated: Tensor) -> Tensor:
    """The discriminator's side of eqs. 1 and 4: the mean of its losses on real and on generated images."""
    return (
        adversarial_loss(discriminator(condition, real), True)
        + adversarial_loss(discriminator(condition, generated), False)
    ) / 2


class PrivacyStages(ImageStages, ReidLosses):
    """Desensitize → supervision → anonymize → store → recover → Re-ID, before a fastreid meta-architecture.

    In training, ``forward(batch)`` returns one dict of losses, whose sum gives every network exactly its own
    gradient: the discriminators' losses see detached images, and the generators' adversarial losses see
    discriminators whose parameters are left out of the graph. All networks step at once (pix2pix updates D
    before G). Choices where the paper is silent: discriminators, recovery, Re-ID and the L1 losses see the
    stored protected image; D_X's condition is detached, so that G_X is not trained to deceive through it.
    λ_rec weighs L_rec in the loss of the generators alone: D_X, which learns from nothing else, takes its own
    whole step.

    In evaluation, ``forward(batch)`` returns the features of the raw images, as fastreid does;
    :meth:`extract_domains` those of all.

    Args:
        desensitizer: the conventional operator y of the supervision and of the DI domain.
        storage: what a stored image keeps.
        protection: "none", "conventional" or "learned": what the PI domain is.
        anonymizer, recovery: G_X and G_Y, images in [−1, 1] to the same ("learned" only); without G_Y there
            is no L_rec and no RI domain.
        sees_desensitized: whether G_X sees the desensitized images beside the raw ones, six channels.
        anonymization_discriminator, recovery_discriminator: D_Y and D_X, (condition, image) to patch logits
            ("learned" only).
        attacker: which the anonymizer must not help ("learned" without recovery only).
        lambda_l1: λ_L1 of eqs. 3 and 6.
        lambda_rec: λ_rec, the weight of L_rec; 0 builds neither G_Y nor D_X.
        joint_batch: whether raw and protected images pass through Re-ID in one batch.
        center_weight, center_lr, center_shape: AGW's center loss; (identities, feature dimension).
        erasing_prob, erasing_value: random erasing of what Re-ID sees in training; probability 0 turns it
            off.
        classifier_std: standard deviation of the first weights of fastreid's classifiers.
        padding: pixels and mode of the padding before the crop, where batches carry whole images.
        **reid: what the wrapped meta-architecture takes.

    Raises:
        ValueError: for "learned" protection without the networks that learn it, or an attacker beside a
            recovery decoder.
    """

    mixed_precision = False
    """Whether training passes run under bfloat16 autocast; the training step sets it."""

    anonymization_discriminator: nn.Module
    recovery_discriminator: nn.Module | None
    attacker: TrainedAttacker | None
    supervision: Supervision | None
    centers: Tensor

    @configurable
    def __init__(
        self,
        *,
        desensitizer: Desensitizer,
        storage: ImageStorage,
        protection: str,
        anonymizer: nn.Module | None = None,
        recovery: nn.Module | None = None,
        anonymization_discriminator: nn.Module | None = None,
        recovery_discriminator: nn.Module | None = None,
        attacker: TrainedAttacker | None = None,
        sees_desensitized: bool = False,
        lambda_l1: float = 100.0,
        lambda_rec: float = 1.0,
        joint_batch: bool = True,
        center_weight: float = 0.0005,
        center_lr: float = 0.5,
        center_shape: tuple[int, int] = (0, 0),
        erasing_prob: float = 0.0,
        erasing_value: Sequence[float] = (0.0, 0.0, 0.0),
        classifier_std: float = FASTREID_STD,
        padding: tuple[int, str] = (0, "constant"),
        **reid: Any,
    ):
        super().__init__(**reid)
        scale_classifiers(self, classifier_std)
        self.desensitizer, self.storage, self.protection = desensitizer, storage, protection
        self.padding, self.sees_desensitized = padding, sees_desensitized
        self.lambda_l1, self.lambda_rec, self.joint_batch = lambda_l1, lambda_rec, joint_batch
        self.center_weight, self.center_lr = center_weight, center_lr
        self.erasing = RandomErasing(p=erasing_prob, value=0)
        color = torch.tensor(erasing_value, dtype=torch.float32).view(-1, 1, 1)
        self.register_buffer("erased", color, persistent=False)
        self.supervision = None
        if protection == "learned":
            if anonymizer is None or anonymization_discriminator is None:
                raise ValueError("learned protection needs an anonymizer and its discriminator")
            if (recovery is None) != (recovery_discriminator is None):
                raise ValueError("a recovery decoder and its discriminator come together")
            if attacker is not None and recovery is not None:
                raise ValueError("an attacker would take away what a recovery decoder needs")
            self.anonymizer, self.recovery, self.attacker = anonymizer, recovery, attacker
            self.anonymization_discriminator = anonymization_discriminator
            self.recovery_discriminator = recovery_discriminator
            self.supervision = Supervision(anonymizer)
        if center_weight:
            self.register_buffer("centers", torch.randn(center_shape))
        to_channels_last(self)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        privacy, backbone, heads, pad = cfg.PRIVACY, cfg.MODEL.BACKBONE, cfg.MODEL.HEADS, cfg.INPUT.PADDING
        after_neck = heads.NECK_FEAT == "after" and heads.EMBEDDING_DIM > 0
        arguments = {
            **super().from_config(cfg),
            "desensitizer": Desensitizer.from_config(cfg),
            "storage": ImageStorage(privacy.STORAGE),
            "protection": privacy.PROTECTION,
            "lambda_l1": privacy.LAMBDA_L1,
            "lambda_rec": privacy.LAMBDA_REC,
            "joint_batch": privacy.JOINT_BATCH,
            "center_weight": privacy.CENTER_LOSS.WEIGHT,
            "center_lr": privacy.CENTER_LOSS.LR,
            "center_shape": (heads.NUM_CLASSES, heads.EMBEDDING_DIM if after_neck else backbone.FEAT_DIM),
            "erasing_prob": cfg.INPUT.REA.PROB if cfg.INPUT.REA.ENABLED else 0.0,
            "erasing_value": cfg.INPUT.REA.VALUE,
            "classifier_std": heads.CLASSIFIER_STD,
            "padding": (pad.SIZE, pad.MODE) if pad.ENABLED else (0, "constant"),
        }
        if privacy.PROTECTION == "learned":
            recovers, size = privacy.LAMBDA_REC > 0, cfg.INPUT.SIZE_TRAIN
            arguments["anonymizer"] = build_anonymizer(cfg, size)
            arguments["sees_desensitized"] = second_input(cfg) is not None
            arguments["recovery"] = build_generator(privacy.RECOVERY, size) if recovers else None
            arguments["anonymization_discriminator"] = build_discriminator(privacy.DISCRIMINATOR)
            d_x = build_discriminator(privacy.DISCRIMINATOR) if recovers else None
            arguments["recovery_discriminator"] = d_x
            if privacy.ATTACKER.WEIGHT > 0:
                decoder = build_generator(privacy.RECOVERY, size)
                arguments["attacker"] = TrainedAttacker(decoder, privacy.ATTACKER.WEIGHT)
        return arguments

    # -- training --------------------------------------------------------------------------------------------

    def forward(self, batch: dict | Tensor) -> Any:
        """Losses by name in training; N×D features of the raw images in evaluation.

        Args:
            batch: fastreid's: images N×3×H×W, RGB, 0–255, and in training N targets; in evaluation, the
                images alone will do. With whole and places, the images before padding, cropping and mirroring
                and where each was cut (``data.placing``), those are desensitized and cut in the same way.
        """
        images = (batch["images"] if isinstance(batch, dict) else batch).to(self.device, torch.float32)
        if not self.training:
            return super().forward({"images": images})
        assert isinstance(batch, dict), "training needs a batch with targets"
        targets = batch["targets"].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16) if self.mixed_precision else nullcontext():
            if self.protection == "none":
                return self.reid_losses([images], targets)
            desensitized = (
                self.desensitize_placed(batch)
                if "whole" in batch
                else self.desensitize(images, people=people_of(batch))
            )
            if self.protection == "conventional":
                return self.reid_losses([images, desensitized], targets)
            protected = self.protect(images, desensitized)
            losses = self.anonymization_losses(images, desensitized, protected)
            if self.recovery is not None:
                losses.update(self.recovery_losses(images, protected))
            if self.attacker is not None:
                losses.update(self.attacker(*map(to_unit, (images, desensitized, protected))))
            return {**losses, **self.reid_losses([images, protected], targets)}

    def anonymization_losses(
        self, images: Tensor, desensitized: Tensor, protected: Tensor
    ) -> dict[str, Tensor]:
        """L_ano, eqs. 1–3, and D_Y's loss, of raw, desensitized and stored protected images (0–255)."""
        x, p, d_y = to_unit(images), to_unit(protected), self.anonymization_discriminator
        assert self.supervision is not None, "there is one where protection is learned"
        y = self.supervision(self.seen(images, desensitized), to_unit(desensitized)).float()
        with frozen(d_y):
            adversarial = adversarial_loss(d_y(x, p), real=True)
        return {
            "loss_anonymization_adversarial": adversarial,
            "loss_anonymization_l1": self.lambda_l1 * (p - y).abs().mean(),
            "loss_anonymization_discriminator": _discrimination(d_y, x, real=y, generated=p.detach()),
        }

    def recovery_losses(self, images: Tensor, protected: Tensor) -> dict[str, Tensor]:
        """λ_rec·L_rec, eqs. 4–6, and D_X's loss, of raw and stored protected images (0–255)."""
        x, condition, d_x = to_unit(images), to_unit(protected).detach(), self.recovery_discriminator
        assert d_x is not None, "there is one where there is a recovery decoder"
        r = to_unit(self.recover(protected))
        with frozen(d_x):
            adversarial = adversarial_loss(d_x(condition, r), real=True)
        return {
            "loss_recovery_adversarial": self.lambda_rec * adversarial,
            "loss_recovery_l1": self.lambda_rec * self.lambda_l1 * (r - x).abs().mean(),
            "loss_recovery_discriminator": _discrimination(d_x, condition, real=x, generated=r.detach()),
        }

    # -- evaluation ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def extract_domains(self, batch: dict, flip: bool = False) -> dict[str, dict]:
        """Images of every domain that the model has, as stored, and their Re-ID features.

        Args:
            batch: as of :meth:`domain_images`.
            flip: average the features of each image and its mirror image (``TEST.FLIP``).

        Returns:
            {"images": {domain: N×3×H×W, 0–255}, "features": {domain: N×D}, "same_images": of
            :attr:`same_images`} with domains OI, DI, PI (not for the upper bound) and RI (learned protection
            with recovery only).
        """
        images, same = self.domain_images(batch), self.same_images
        features = {
            domain: self.reid_features(images[domain], flip) for domain in images if domain not in same
        }
        features.update({domain: features[other] for domain, other in same.items()})
        return {"images": images, "features": features, "same_images": same}

    @torch.no_grad()
    def extract_checked(self, batch: dict, flip: bool = False) -> dict[str, dict]:
        """What a check of a training run looks at, in one pass of Re-ID: raw queries, a protected gallery.

        Args:
            batch: as of :meth:`extract_domains`, and is_query, N.
            flip: likewise.

        Returns:
            The same without RI, with features of the queries under OI and of the gallery under PI; of all
            images under OI where nothing is protected.
        """
        images, same = self.images_to_check(batch), self.same_images
        if self.protection == "none":
            features = {"OI": self.reid_features(images["OI"], flip)}
        else:
            query = batch["is_query"].to(self.device)
            seen = torch.where(query[:, None, None, None], images["OI"], images["PI"])
            of_seen = self.reid_features(seen, flip)
            features = {"OI": of_seen[query], "PI": of_seen[~query]}
            features.update({other: features[domain] for domain, other in same.items()})
        return {"images": images, "features": features, "same_images": same}

    def reid_features(self, images: Tensor, flip: bool = False) -> Tensor:
        """N×D float32 features for retrieval of N×3×H×W images, 0–255.

        Args:
            flip: the mean of each image's features and its mirror image's.
        """
        features = super().forward({"images": images}).float()
        if not flip:
            return features
        return (features + super().forward({"images": images.flip(3)}).float()) / 2


@META_ARCH_REGISTRY.register()
class PrivacyReID(PrivacyStages, Baseline):
    """The paper's model: :class:`PrivacyStages` on fastreid's ``Baseline``, with any backbone and head."""


@META_ARCH_REGISTRY.register()
class PrivacyMGN(PrivacyStages, MGN):
    """:class:`PrivacyStages` on fastreid's MGN; a center loss acts on the global branch."""
