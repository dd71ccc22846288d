"""What Re-ID learns of a batch in all its domains: eq. 7, through the wrapped fastreid model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from .losses import center_loss, distillation_loss, update_centers

FEATURES = "features"  # beside the losses of a training pass: N×D


if TYPE_CHECKING:

    class ReidModel(nn.Module):
        """What the stages need of the fastreid meta-architecture behind it in the bases."""

        device: torch.device

        @classmethod
        def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
            raise NotImplementedError

        def losses(self, *outputs_and_targets: Any) -> dict[str, Tensor]:
            raise NotImplementedError

else:
    ReidModel = nn.Module


class ReidLosses(ReidModel):
    """The Re-ID losses of raw and protected images. Whoever inherits it builds the parts.

    Attributes:
        erasing: random erasing of one image, C×H×W.
        joint_batch: whether all domains pass through Re-ID in one batch.
        center_weight, center_lr: of AGW's center loss; weight 0 turns it off.
        centers: C×D, of the identities; only with a center loss.
        distillation_weight: of the distance between the features of a protected image and of its raw one.
    """

    erasing: nn.Module
    joint_batch: bool
    center_weight: float
    center_lr: float
    centers: Tensor
    distillation_weight: float

    def reid_losses(self, domains: Sequence[Tensor], targets: Tensor) -> dict[str, Tensor]:
        """Eq. 7: the sum over domains of the AGW losses, through the wrapped model's own forward.

        In one joint batch, BatchNorm sees both domains, triplets cross them, and a mean over all images times
        the number of domains stands for the sum.

        Args:
            domains: raw images, and protected ones where there are any, N×3×H×W each, 0–255.
            targets: N identities.

        Returns:
            The losses by name, with loss_distillation where that has a weight.

        Raises:
            ValueError: Features are to be distilled of one domain, or the wrapped model gives none.
        """
        domains = [torch.stack([self.erasing(image) for image in images]) for images in domains]
        if self.joint_batch:
            count = len(domains)
            losses, features = self._losses_of_pass(torch.cat(domains), targets.repeat(count), count)
            total = {name: count * loss for name, loss in losses.items()}
            by_domain = [] if features is None else list(features.chunk(count))
        else:
            passes = [self._losses_of_pass(images, targets, 1) for images in domains]
            total = {name: torch.stack([losses[name] for losses, _ in passes]).sum() for name in passes[0][0]}
            by_domain = [features for _, features in passes if features is not None]
        if self.distillation_weight:
            if len(by_domain) != 2:
                raise ValueError("distillation needs the features of two domains beside the losses")
            raw, protected = by_domain
            total["loss_distillation"] = self.distillation_weight * distillation_loss(protected, raw)
        return total

    def _losses_of_pass(
        self, images: Tensor, targets: Tensor, domains: int
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """The losses of one batch through the wrapped model, of images of so many domains; the centers step.

        The centers step along the gradient of eq. 7's sum over domains, of which a joint batch has the mean.

        Returns:
            The losses by name; the features, N×D, which a subclass whose ``losses`` are its own may not give.
        """
        losses = super().forward({"images": images, "targets": targets})
        features = losses.pop(FEATURES, None)
        if self.center_weight and features is not None:
            losses["loss_center"] = self.center_weight * center_loss(features, targets, self.centers)
            update_centers(self.centers, features.detach(), targets, self.center_lr * domains)
        return losses, features

    def losses(self, *outputs_and_targets: Any) -> dict[str, Tensor]:
        """fastreid's losses in float32 whatever autocast says: in half precision distances mean nothing.

        The wrapped model's forward hands through what this returns: so it also carries, under ``FEATURES``,
        the features (MGN's: of the global branch) that the center loss and the distillation are of.
        """
        *outputs, targets = outputs_and_targets
        with torch.autocast(self.device.type, enabled=False):
            outputs = [{name: value.float() for name, value in output.items()} for output in outputs]
            return {**super().losses(*outputs, targets), FEATURES: outputs[0]["features"]}
