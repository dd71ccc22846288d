"""Rows A2 and A3: a network learns the way back from pairs.

The attacker of PixelFade (ACM MM 2024): a U-Net, Adam of learning rate 1e-3, L1 loss, the learning rate
divided by ten for the last fifth. Only the number of steps is given here, not that of epochs, so that few
pairs are used as long as many.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from tqdm import tqdm

from ..core.errors import UserError
from ..core.images import to_levels, to_unit
from ..networks import UNetGenerator
from .subjects import Subject
from .views import View

FULL_STEPS = 10_000  # of a budget of 1: PixelFade's 100 epochs over 3,200 pairs
BATCH = 32
LEARNING_RATE = 1e-3
KEPT = 1_000_000_000  # bytes: images that are kept in memory as they are first read
DEEPEST = 7  # halvings of the paper's U-Net at 256×128


@dataclass(frozen=True)
class Attacker:
    """A network that learns the way back.

    Attributes:
        width: channels of the U-Net's first layer.
        steps: of training.
        device: where it runs.
    """

    width: int
    steps: int
    device: str

    def learn(self, seen: View, wanted: View, subjects: Sequence[Subject], seed: int, doing: str) -> Recovery:
        """Train on pairs.

        Args:
            seen: what the attacker sees of the subjects.
            wanted: what it is to give back.
            subjects: the pairs; fewer than a batch are taken as often as needed.
            seed: of the network's start and of the order.
            doing: what the bar of progress says.

        Raises:
            UserError: when the loss is not finite any more.
        """
        torch.manual_seed(seed)
        pairs = _Pairs(seen, wanted, subjects)
        recovery = Recovery(self.width, pairs.size, self.device)
        optimizer = torch.optim.Adam(recovery.network.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [max(1, round(0.8 * self.steps))])
        recovery.network.train()
        order = _endless(len(subjects), seed)
        for _ in tqdm(range(self.steps), unit=" steps", desc=doing, disable=None, leave=False):
            inputs, targets = pairs.batch([next(order) for _ in range(BATCH)])
            loss = (recovery.raw_output(inputs) - to_unit(targets.to(self.device))).abs().mean()
            if not loss.isfinite():
                raise UserError(f"the attacker's loss is not finite ({doing}); try another --seeds")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        recovery.network.eval()
        return recovery


class Recovery:
    """Protected images to recovered ones, of any size: what cannot be halved is filled up at the edges.

    Args:
        width: channels of the U-Net's first layer.
        size: (height, width) of the images, which its depth follows.
        device: where it runs.
    """

    def __init__(self, width: int, size: tuple[int, int], device: str):
        depth = max(2, min(DEEPEST, int(math.log2(min(size)))))
        self.device, self.step = device, 2**depth
        self.network: nn.Module = UNetGenerator(width=width, depth=depth).to(device)

    def raw_output(self, images: Tensor) -> Tensor:
        """N×3×H×W, 0–255 → the network's output, [−1, 1], in the same size."""
        height, width = images.shape[2:]
        missing = (0, -width % self.step, 0, -height % self.step)
        filled = pad(to_unit(images.to(self.device)), missing, mode="replicate")
        return self.network(filled)[..., :height, :width]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """N×3×H×W, 0–255 → the same, recovered, on the CPU."""
        return to_levels(self.raw_output(images)).float().cpu()


class _Pairs:
    """Batches of pairs; images are kept as they are first read, as far as their memory goes."""

    def __init__(self, seen: View, wanted: View, subjects: Sequence[Subject]):
        self.seen, self.wanted, self.subjects = seen, wanted, subjects
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.room = KEPT
        height, width = wanted(subjects[:1]).shape[2:]
        self.size = height, width

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What is seen and what is wanted of some subjects, 0–255."""
        fresh = self._read(sorted(set(indices) - self.kept.keys()))
        pairs = [fresh[index] if index in fresh else self.kept[index] for index in indices]
        for index, pair in fresh.items():
            self.room -= sum(image.numel() for image in pair)
            if self.room > 0:
                self.kept[index] = pair
        seen, wanted = zip(*pairs, strict=True)
        return torch.stack(seen).float(), torch.stack(wanted).float()

    def _read(self, indices: Sequence[int]) -> dict[int, tuple[Tensor, Tensor]]:
        if not indices:
            return {}
        subjects = [self.subjects[index] for index in indices]
        pairs = zip(self.seen(subjects).byte(), self.wanted(subjects).byte(), strict=True)
        return dict(zip(indices, pairs, strict=True))


def _endless(count: int, seed: int) -> Iterator[int]:
    """Indices in random order, every one once before any comes again."""
    draw = np.random.default_rng(seed)
    while True:
        yield from draw.permutation(count).tolist()
