"""An attacker in the loop: a network that learns the way back while the anonymizer learns, and must not win.

Where originals are sealed nothing needs to come back out of protected images (λ_rec 0). Re-ID still draws the
anonymizer towards keeping what tells people apart, and an attacker with pairs reads that, too. So a decoder
G_A learns from what is stored, as such an attacker would, and the anonymizer is taught to leave it no more
than desensitized images leave.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from .losses import frozen


def error_by_image(recovered: Tensor, raw: Tensor) -> Tensor:
    """The mean absolute difference of each image: N×3×H×W and N×3×H×W in [−1, 1] → N, float32."""
    return (recovered.float() - raw).abs().flatten(1).mean(dim=1)


def shortfall(reached: Tensor, wanted: Tensor) -> Tensor:
    """How far below the wanted errors the reached ones lie: the mean over images of max(0, wanted − reached).

    By image, so that one that shows more is not excused by another that shows less; and 0 from the wanted
    error on, so that nothing is gained by hiding more than that.

    Args:
        reached: N errors of the attacker on protected images.
        wanted: N errors of an attacker on the same images, desensitized; no gradient flows into them.
    """
    return (wanted.detach() - reached).clamp(min=0).mean()


class TrainedAttacker(nn.Module):
    """G_A and its twin: two decoders with L1 losses, on stored protected and on desensitized images.

    The twin measures the error that the anonymizer has to reach. It starts from the same weights as G_A, and
    learns from the same people for as many steps at the same learning rate, so that the two errors differ by
    what the images show. One decoder for both kinds of images would be weaker on each of them than an
    attacker who has one kind to learn. A fixed number of dB would be too easy at first, when no decoder has
    learned anything, and wrong for another operator. What remains: G_A follows images that still change, its
    twin images that do not, so an attacker who comes after training finds somewhat more than G_A did.

    L_ano (eqs. 1–3) needs no change. A protected image that equals its desensitized one has reached the error
    that is asked for: L_ano and this term have one optimum in common, and only Re-ID draws away from it.
    Where Re-ID shall have more room to leave the desensitized images for something else that no attacker can
    use, lower λ_L1 (``PRIVACY.LAMBDA_L1``); the term goes on holding what can be recovered.

    Args:
        decoder: G_A with its initial weights, N×3×H×W in [−1, 1] to the same; copied for the twin.
        weight: of the anonymizer's term. It is an L1 in [−1, 1], as those that λ_L1 = 100 weighs.
    """

    def __init__(self, decoder: nn.Module, weight: float):
        super().__init__()
        self.on_protected, self.on_desensitized = decoder, copy.deepcopy(decoder)
        self.weight = weight

    def forward(self, raw: Tensor, desensitized: Tensor, protected: Tensor) -> dict[str, Tensor]:
        """The losses of one batch. Each network gets the gradient of its own alone.

        Args:
            raw: N×3×H×W in [−1, 1].
            desensitized: the same images, desensitized, as stored.
            protected: the same images, as the anonymizer has them stored; the graph leads to it.

        Returns:
            loss_attacker_protected of G_A, loss_attacker_desensitized of the twin, and
            loss_anonymization_attacker, the weighted :func:`shortfall`, of the anonymizer.
        """
        learned = error_by_image(self.on_protected(protected.detach()), raw)
        wanted = error_by_image(self.on_desensitized(desensitized), raw)
        with frozen(self.on_protected):
            reached = error_by_image(self.on_protected(protected), raw)
        return {
            "loss_attacker_protected": learned.mean(),
            "loss_attacker_desensitized": wanted.mean(),
            "loss_anonymization_attacker": self.weight * shortfall(reached, wanted),
        }
