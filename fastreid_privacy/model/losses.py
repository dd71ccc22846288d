"""The losses of eqs. 1–6 and AGW's center loss, as pure functions of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def adversarial_loss(logits: Tensor, real: bool) -> Tensor:
    """Binary cross-entropy of patch logits against "real" or "generated": the mean (eqs. 1 and 4).

    With ``real=True`` on a generated image it is the generator's non-saturating loss −log D, which pix2pix
    and the paper's code train with.

    Args:
        logits: discriminator output, any shape.
        real: what the discriminator should say.
    """
    return F.binary_cross_entropy_with_logits(
        logits.float(), torch.full_like(logits, float(real), dtype=torch.float32)
    )


@contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """Within it, no graph leads to the parameters of ``module``, while gradients still reach its inputs."""
    wanted = [parameter.requires_grad for parameter in module.parameters()]
    module.requires_grad_(False)
    try:
        yield module
    finally:
        for parameter, flag in zip(module.parameters(), wanted, strict=True):
            parameter.requires_grad_(flag)


def center_loss(features: Tensor, targets: Tensor, centers: Tensor) -> Tensor:
    """Mean squared distance of features to the center of their identity (center loss of AGW, unweighted).

    Args:
        features: N×D.
        targets: N identities, whole numbers from 0.
        centers: C×D; no gradient flows into them.
    """
    return (features.float() - centers.detach()[targets]).square().sum(dim=1).mean()


@torch.no_grad()
def update_centers(centers: Tensor, features: Tensor, targets: Tensor, lr: float) -> None:
    """One step of gradient descent on the centers, in place: c ← c − lr · ∂L/∂c of :func:`center_loss`.

    Across processes the gradient is that of the whole batch: summed over ranks, divided by the number of
    images on all of them.
    """
    gradient = torch.zeros_like(centers)
    gradient.index_add_(0, targets, 2 * (centers[targets] - features.float()))
    count = torch.tensor(float(len(targets)), device=centers.device)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(gradient)
        dist.all_reduce(count)
    centers -= lr * gradient / count
