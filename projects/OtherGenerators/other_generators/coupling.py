"""An invertible coupling network: affine coupling blocks on Haar wavelets, as flow-based image hiding has
them.

Two images go through it side by side: one that is given, and one that is made. Each block changes the made
one by what it sees of the given one, then the given one by what it sees of the made one, so that each step
can be taken back. The made image is the output; the other one is thrown away.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastreid_privacy.networks import GENERATOR_REGISTRY, initialize, within_range

from .haar import BANDS, from_bands, to_bands
from .sizes import check_options, check_size

NAME = "coupling network"
BLOCKS = 8  # where DEPTH is 0
COLOURS = 3
CHANNELS = BANDS * COLOURS
LARGEST_LOG_SCALE = 1.0  # of one block, so that rounding grows by at most e in each on the way back


@GENERATOR_REGISTRY.register()
class CouplingGenerator(nn.Module):
    """Coupling network: N×3×H×W or N×6×H×W in [−1, 1] → N×3×H×W in [−1, 1].

    The first three channels are the given image: the raw one in an anonymizer, the protected one in a
    recovery decoder. The made image begins as the other three, the desensitized image; grey without them.

    With both images at the end and the weights the way back is exact but for rounding (:meth:`inverse`). A
    file has the made image alone, in 8 bits.

    Args:
        width: Channels inside of a block.
        depth: Number of coupling blocks, at least 1.
        in_channels: 3, or 6 for a given image and the one that the made image begins as.

    Raises:
        UserError: (from ``forward``) A side of the images is odd.

    Reference: Dinh et al., Density estimation using Real NVP, ICLR 2017, section 3.2 (affine coupling);
    Jing et al., HiNet: Deep Image Hiding by Invertible Network, ICCV 2021 (two images side by side, on Haar
    wavelets). The layers inside of a block are three convolutions, as in Kingma and Dhariwal, Glow, NeurIPS
    2018, not HiNet's dense blocks.

    Example:
        >>> CouplingGenerator(width=4, depth=2)(torch.zeros(1, 3, 128, 64)).shape
        torch.Size([1, 3, 128, 64])
    """

    def __init__(self, width: int = 64, depth: int = BLOCKS, in_channels: int = COLOURS) -> None:
        super().__init__()
        assert depth >= 1 and in_channels in (COLOURS, 2 * COLOURS)
        self.in_channels = in_channels
        # what the last block would make of the given image, nobody would see
        self.blocks = nn.ModuleList(_Block(width, last=number == depth - 1) for number in range(depth))

    @classmethod
    def from_options(
        cls, options: Any, size: tuple[int, int], in_channels: int = COLOURS
    ) -> CouplingGenerator:
        """Build from a config node with ``WIDTH`` and ``DEPTH`` (blocks; 0: 8).

        Args:
            options: the node.
            size: (height, width) of the images, pixels.
            in_channels: 3, or 6 for a raw image and a desensitized one.

        Raises:
            UserError: The network cannot take the size, or the options are out of bounds.
        """
        check_options(NAME, options)
        check_size(NAME, size, 2, 2)
        return cls(options.WIDTH, options.DEPTH or BLOCKS, in_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Translate images: N×C×H×W in [−1, 1] → N×3×H×W in [−1, 1]."""
        given = images[:, :COLOURS]
        begun = images[:, COLOURS:] if self.in_channels > COLOURS else torch.zeros_like(given)
        return within_range(self.transform(begun, given)[0])

    def transform(self, begun: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Both images through all blocks.

        Args:
            begun: what the made image begins as, N×3×H×W in [−1, 1].
            given: N×3×H×W in [−1, 1].

        Returns:
            The made image, not cut to any range, and what has become of the given one: N×3×H×W each.

        Raises:
            UserError: A side of the images is odd.
        """
        check_size(NAME, (given.shape[-2], given.shape[-1]), 2, 2)
        made, kept = to_bands(begun), to_bands(given)
        for block in self.blocks:
            made, kept = block(made, kept)
        return from_bands(made), from_bands(kept)

    def inverse(self, made: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """The images that :meth:`transform` made these of: begun and given, exact but for rounding."""
        begun, given = to_bands(made), to_bands(kept)
        for block in reversed(self.blocks):
            assert isinstance(block, _Block)
            begun, given = block.inverse(begun, given)
        return from_bands(begun), from_bands(given)


class _Block(nn.Module):
    """made += φ(given), then given = given · exp(ρ(made)) + η(made); the last block leaves the second out."""

    def __init__(self, width: int, last: bool) -> None:
        super().__init__()
        self.to_made = _layers(CHANNELS, width)
        self.to_given = None if last else _layers(2 * CHANNELS, width)

    def forward(self, made: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        made = made + self.to_made(given).to(made.dtype)
        if self.to_given is not None:
            log_scale, shift = self._log_scale_and_shift(made)
            given = given * log_scale.exp() + shift
        return made, given

    def inverse(self, made: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        if self.to_given is not None:
            log_scale, shift = self._log_scale_and_shift(made)
            given = (given - shift) * (-log_scale).exp()
        return made - self.to_made(given).to(made.dtype), given

    def _log_scale_and_shift(self, made: Tensor) -> tuple[Tensor, Tensor]:
        assert self.to_given is not None
        # half precision stays inside of the convolutions, so that the way back is exact there, too
        log_scale, shift = self.to_given(made).to(made.dtype).chunk(2, dim=1)
        return LARGEST_LOG_SCALE * torch.tanh(log_scale / LARGEST_LOG_SCALE), shift


def _layers(out_channels: int, width: int) -> nn.Sequential:
    """What one image adds to the other: N×12×h×w → N×C×h×w, little at first."""
    last = nn.Conv2d(width, out_channels, kernel_size=3, padding=1)
    initialize(last)
    return nn.Sequential(
        nn.Conv2d(CHANNELS, width, kernel_size=3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, width, kernel_size=1),
        nn.LeakyReLU(0.2),
        last,
    )
