"""What Re-ID learns of a batch in all its domains: eq. 7, through the wrapped fastreid model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from .heads import joined, watched_features
from .losses import center_loss, update_centers
from .teacher import Teacher, distance_to_teacher

FEATURES = "features"  # beside the losses of a training pass: N×D, what the center loss is of


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
        erasing: torchvision's random erasing, which here sets what it erases of a mask to 0.
        erased: 3×1×1, the color that is seen instead, or 1×1×1.
        joint_batch: whether all domains pass through Re-ID in one batch.
        center_weight, center_lr: of AGW's center loss; weight 0 turns it off.
        centers: C×D, of the identities; only with a center loss.
        teacher: whose features of raw images are to be found in all domains; the trainer sets it.
    """

    erasing: nn.Module
    erased: Tensor
    joint_batch: bool
    center_weight: float
    center_lr: float
    centers: Tensor
    teacher: Teacher | None = None

    def reid_losses(self, domains: Sequence[Tensor], targets: Tensor) -> dict[str, Tensor]:
        """Eq. 7: the sum over domains of the AGW losses, through the wrapped model's own forward.

        In one joint batch, BatchNorm sees both domains, triplets cross them, and a mean over all images times
        the number of domains stands for the sum. A teacher's term is added for each domain.

        Args:
            domains: N×3×H×W in 0–255 each, raw images first.
            targets: N identities.
        """
        wanted = self.teacher(domains[0]) if self.teacher and self.teacher.weight else None
        domains = [self.erase(images) for images in domains]
        if self.joint_batch:
            count = len(domains)
            losses = self._losses_of_pass(torch.cat(domains), targets.repeat(count), count, wanted)
            return {name: count * loss for name, loss in losses.items()}
        total: dict[str, Tensor] = {}
        for images in domains:
            for name, loss in self._losses_of_pass(images, targets, 1, wanted).items():
                total[name] = total[name] + loss if name in total else loss
        return total

    def erase(self, images: Tensor) -> Tensor:
        """Random erasing of N×3×H×W images, of each by itself.

        The masks are made on the CPU and used at once: erased one by one on a GPU, the images of a batch took
        almost a third of a step.
        """
        whole = torch.ones(1, *images.shape[-2:])
        kept = torch.stack([self.erasing(whole) for _ in images]) > 0
        return torch.where(kept.to(images.device), images, self.erased)

    def _losses_of_pass(
        self, images: Tensor, targets: Tensor, domains: int, wanted: Tensor | None
    ) -> dict[str, Tensor]:
        """The losses of one batch through the wrapped model, of images of so many domains; the centers step.

        The centers step along the gradient of eq. 7's sum over domains, of which a joint batch has the mean.
        """
        batch = {"images": images, "targets": targets}
        if self.teacher is None or wanted is None:
            losses = super().forward(batch)
        else:
            with watched_features(self) as given:
                losses = super().forward(batch)
            distance = distance_to_teacher(joined(given), wanted.repeat(domains, 1))
            losses["loss_teacher"] = self.teacher.weight * distance
        features = losses.pop(FEATURES, None)  # none of a subclass whose ``losses`` are its own
        if self.center_weight and features is not None:
            losses["loss_center"] = self.center_weight * center_loss(features, targets, self.centers)
            update_centers(self.centers, features.detach(), targets, self.center_lr * domains)
        return losses

    def losses(self, *outputs_and_targets: Any) -> dict[str, Tensor]:
        """fastreid's losses in float32 whatever autocast says: in half precision distances mean nothing.

        The wrapped model's forward hands through what this returns: so it also carries, under ``FEATURES``,
        the features (MGN's: of the global branch) that the center loss is of.
        """
        *outputs, targets = outputs_and_targets
        with torch.autocast(self.device.type, enabled=False):
            outputs = [{name: value.float() for name, value in output.items()} for output in outputs]
            return {**super().losses(*outputs, targets), FEATURES: outputs[0]["features"]}
