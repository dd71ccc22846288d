"""One step of learning: what the networks are to do, as losses of one batch of several people.

First the identity encoder learns alone: it knows people apart (fastreid's cross entropy and triplet loss).
Then it stays as it is, and the others learn:

1. Half of the images come back from their attribute code and the identity embedding of *another* image of
   their person.
2. The codes of the other half get another identity. The identity encoder has to take the picture for that
   identity, the attribute encoder has to find the same code, and a discriminator to take it for a real image.
   The identity is that of somebody else in the batch, or, half of the time, drawn anywhere on the sphere,
   as noise makes it.
3. A classifier that is told the codes alone must not be able to name the person.
"""

from __future__ import annotations

import torch
from fastreid.modeling.losses import cross_entropy_loss, triplet_loss
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, l1_loss, linear, log_softmax, normalize, pad

from fastreid_privacy.model.losses import adversarial_loss, frozen
from fastreid_privacy.networks.patchgan import PatchDiscriminator

from .networks import IdentityNetworks, Sizes

WEIGHTS = {
    "recognise": 1.0,
    "triplet": 1.0,
    "rebuild": 20.0,
    "new_identity": 1.0,
    "same_attributes": 1.0,
    "realistic": 0.1,
    "anonymous_code": 0.5,
    "discriminate": 1.0,
    "name_by_code": 1.0,
}
"""Of each loss in their sum. Each network has the gradients of its own losses alone."""

MARGIN = 0.3  # of the triplet loss, between unit vectors
SMOOTHING = 0.1  # of the labels of the cross entropy
SCALE = 16.0  # of the cosines that the cross entropy compares
CODE_NOISE = 0.2  # std of the noise on the code while learning: what it carries has to be worth it
SHIFT = (
    2  # pixels that pictures move before the encoder looks at them, so that it cannot be tricked by pixels
)


class Learner(nn.Module):
    """The networks, and the helpers that are thrown away when they have learned.

    Args:
        sizes: of images and networks.
        people: identities of the training images.
    """

    def __init__(self, sizes: Sizes, people: int):
        super().__init__()
        self.networks = IdentityNetworks(sizes)
        self.classes = nn.Parameter(torch.randn(people, sizes.dimension))
        self.critic = PatchDiscriminator(in_channels=3, width=sizes.width, layers=2)
        places = sizes.height * sizes.width_of_image // 64
        self.namer = nn.Sequential(
            nn.Flatten(), nn.Linear(sizes.code * places, 128), nn.ReLU(), nn.Linear(128, people)
        )

    def recognition(self, images: Tensor, people: Tensor) -> dict[str, Tensor]:
        """The losses of the identity encoder, not weighted yet.

        Args:
            images: N×3×H×W in [−1, 1], several of each person.
            people: N, whole numbers from 0.
        """
        identity = self.networks.identity(images)
        cosines = linear(identity, normalize(self.classes))
        return {
            "recognise": cross_entropy_loss(SCALE * cosines, people, SMOOTHING),
            "triplet": triplet_loss(identity, people, MARGIN, norm_feat=False, hard_mining=True),
        }

    def drawing(self, images: Tensor, people: Tensor) -> dict[str, Tensor]:
        """The losses of all others, not weighted yet; arguments as of :meth:`recognition`."""
        networks = self.networks
        networks.identity.eval()  # it normalises with what it has gathered, not with the batch
        with torch.no_grad():
            identity = networks.identity(images)
        code = networks.attributes(images)
        noisy = (code + CODE_NOISE * torch.randn_like(code)).clamp(-1, 1)
        kept, changed = slice(0, None, 2), slice(1, None, 2)
        others = self._others(identity, people)[changed]
        made = networks.decoder(
            torch.cat([noisy[kept], noisy[changed]]), torch.cat([identity[of_same(people)][kept], others])
        )
        rebuilt, swapped = made.split([len(images[kept]), len(others)])
        with frozen(networks.identity):
            recognised = cosine_similarity(networks.identity(shifted(swapped)), others)
        with frozen(self.critic):
            realistic = adversarial_loss(self._judged(swapped), real=True)
        with frozen(self.namer):
            named = log_softmax(self.namer(noisy), dim=1)
        return {
            "rebuild": l1_loss(rebuilt, images[kept]),
            "new_identity": 1 - recognised.mean(),
            "same_attributes": l1_loss(networks.attributes(swapped), code[changed].detach()),
            "realistic": realistic,
            "anonymous_code": -named.mean(),  # as far from every name as from any other
            "name_by_code": cross_entropy(self.namer(noisy.detach()), people),
            "discriminate": (
                adversarial_loss(self._judged(images[kept]), real=True)
                + adversarial_loss(self._judged(swapped.detach()), real=False)
            )
            / 2,
        }

    def _judged(self, images: Tensor) -> Tensor:
        return self.critic(images[:, :0], images)  # on no condition

    def _others(self, identity: Tensor, people: Tensor) -> Tensor:
        """For each image an identity that is not its own: of another person; of every fourth image drawn."""
        drawn = normalize(torch.randn_like(identity))
        use_drawn = torch.arange(len(identity), device=identity.device) % 4 == 1
        return torch.where(use_drawn[:, None], drawn, identity[of_others(people)])


def of_same(people: Tensor) -> Tensor:
    """For each image of a batch another one of its person, at random; itself where there is none: N."""
    same = people[:, None] == people[None]
    return _drawn(same & ~torch.eye(len(people), dtype=torch.bool, device=people.device))


def of_others(people: Tensor) -> Tensor:
    """For each image of a batch one of another person, at random; itself where there is nobody else: N."""
    return _drawn(people[:, None] != people[None])


def _drawn(allowed: Tensor) -> Tensor:
    """A place in each row that is allowed, each equally likely; the row's own where none is."""
    own = torch.arange(len(allowed), device=allowed.device)
    drawn = (torch.rand(allowed.shape, device=allowed.device) * allowed).argmax(dim=1)
    return torch.where(allowed.any(dim=1), drawn, own)


def shifted(images: Tensor) -> Tensor:
    """Images moved by a few pixels, and mirrored half of the time, all alike."""
    if torch.rand(()) < 0.5:
        images = images.flip(3)
    down, right = torch.randint(2 * SHIFT + 1, (2,)).tolist()
    height, width = images.shape[2:]
    padded = pad(images, (SHIFT,) * 4, mode="replicate")
    return padded[:, :, down : down + height, right : right + width]
