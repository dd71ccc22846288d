"""Rows A2, A3 and A7: a network learns the way back from pairs.

The attacker of PixelFade (ACM MM 2024): a U-Net, Adam of learning rate 1e-3, L1 loss, the learning rate
divided by ten for the last fifth. Only the number of steps is given here, not that of epochs, so that few
pairs are used as long as many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from tqdm import tqdm

from ..core.errors import UserError
from ..core.images import quantize, to_levels, to_unit
from ..networks import UNetGenerator
from .subjects import Subject
from .views import View

FULL_STEPS = 10_000  # of a budget of 1: PixelFade's 100 epochs over 3,200 pairs
BATCH = 32
LEARNING_RATE = 1e-3
KEPT = 1_000_000_000  # bytes: what is seen and wanted is kept in memory as it is first read
DEEPEST = 7  # halvings of the paper's U-Net at 256×128

Network = TypeVar("Network", bound=nn.Module)
Seen = Callable[[Sequence[Subject]], tuple[Tensor, ...]]
"""What an attacker sees of some subjects: tensors N×…, images as uint8; a network takes them as they are."""


def pictures_of(view: View) -> Seen:
    """The images of a view alone."""
    return lambda subjects: (view(subjects).byte(),)


def depth_of(size: tuple[int, int]) -> int:
    """How often the attacker's networks halve images of a (height, width)."""
    return max(2, min(DEEPEST, int(math.log2(min(size)))))


@dataclass(frozen=True)
class Attacker:
    """Who trains a network to find the way back.

    Attributes:
        width: channels of the U-Net's first layer.
        steps: of training.
        device: where it runs.
    """

    width: int
    steps: int
    device: str

    def learn(
        self,
        build: Callable[[tuple[int, int]], Network],
        seen: Seen,
        wanted: View,
        subjects: Sequence[Subject],
        seed: int,
        doing: str,
    ) -> Network:
        """Train on pairs.

        Args:
            build: makes the network for images of a (height, width); it maps what is seen to N×3×H×W in
                [−1, 1].
            seen: what the attacker sees of the subjects.
            wanted: what it is to give back.
            subjects: the pairs; fewer than a batch are taken as often as needed.
            seed: of the network's start and of the order.
            doing: what the bar of progress says.

        Returns:
            The trained network.

        Raises:
            UserError: when the loss is not finite any more.
        """
        torch.manual_seed(seed)
        pairs = _Pairs(seen, wanted, subjects)
        network = build(pairs.size).to(self.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [max(1, round(0.8 * self.steps))])
        network.train()
        order = _endless(len(subjects), seed)
        for _ in tqdm(range(self.steps), unit=" steps", desc=doing, disable=None, leave=False):
            inputs, targets = pairs.batch([next(order) for _ in range(BATCH)])
            made = network(*(part.to(self.device) for part in inputs))
            loss = (made - to_unit(targets.to(self.device).float())).abs().mean()
            if not loss.isfinite():
                raise UserError(f"the attacker's loss is not finite ({doing}); try another --seeds")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return network.eval()

    def told(self, network: str, images: int) -> dict[str, Any]:
        """What the result says of a trained network."""
        return {"network": f"{network}, width {self.width}", "images": images, "steps": self.steps}


@dataclass(frozen=True)
class Learned:
    """What a trained network makes of what is seen; a view.

    Attributes:
        seen: what it is given.
        network: as :meth:`Attacker.learn` trains it.
        device: where it runs.
    """

    seen: Seen
    network: nn.Module
    device: str

    @torch.no_grad()
    def __call__(self, subjects: Sequence[Subject]) -> Tensor:
        """The images: see :data:`.views.View`."""
        made = self.network(*(part.to(self.device) for part in self.seen(subjects)))
        return quantize(to_levels(made)).cpu()


class Recovery(nn.Module):
    """The U-Net: protected images to raw ones, of any size; what cannot be halved is filled up at the edges.

    Args:
        width: channels of its first layer.
        size: (height, width) of the images, which its depth follows.
        beside: channels of what it sees beside each image.
    """

    def __init__(self, width: int, size: tuple[int, int], beside: int = 0):
        super().__init__()
        depth = depth_of(size)
        self.step = 2**depth
        self.network = UNetGenerator(width=width, depth=depth, in_channels=3 + beside)

    def forward(self, images: Tensor, *beside: Tensor) -> Tensor:
        """Recover images.

        Args:
            images: N×3×H×W, 0–255.
            beside: N×C×H×W, [−1, 1].

        Returns:
            N×3×H×W, [−1, 1].
        """
        height, width = images.shape[2:]
        missing = (0, -width % self.step, 0, -height % self.step)
        filled = pad(torch.cat([to_unit(images.float()), *beside], dim=1), missing, mode="replicate")
        return self.network(filled)[..., :height, :width]


class _Pairs:
    """Batches of pairs; what is read is kept, as far as the memory for it goes."""

    def __init__(self, seen: Seen, wanted: View, subjects: Sequence[Subject]):
        self.seen, self.wanted, self.subjects = seen, wanted, subjects
        self.kept: dict[int, tuple[Tensor, ...]] = {}
        self.room = KEPT
        height, width = wanted(subjects[:1]).shape[2:]
        self.size = height, width

    def batch(self, indices: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        """What is seen of some subjects, and the images that are wanted, N×3×H×W uint8."""
        fresh = self._read(sorted(set(indices) - self.kept.keys()))
        pairs = [fresh[index] if index in fresh else self.kept[index] for index in indices]
        for index, pair in fresh.items():
            self.room -= sum(part.nbytes for part in pair)
            if self.room > 0:
                self.kept[index] = pair
        *seen, wanted = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        return seen, wanted

    def _read(self, indices: Sequence[int]) -> dict[int, tuple[Tensor, ...]]:
        if not indices:
            return {}
        subjects = [self.subjects[index] for index in indices]
        pairs = zip(*self.seen(subjects), self.wanted(subjects).byte(), strict=True)
        return dict(zip(indices, pairs, strict=True))


def _endless(count: int, seed: int) -> Iterator[int]:
    """Indices in random order, every one once before any comes again."""
    draw = np.random.default_rng(seed)
    while True:
        yield from draw.permutation(count).tolist()
