#!/usr/bin/env python3
"""What somebody recovers who has no key but pairs of raw and protected files.

A U-Net learns the way back, and is measured on other pairs: the attacker of PixelFade (ACM MM 2024), Adam of
learning rate 1e-3, L1 loss; README.md beside this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# Before torch, as everywhere: importing the package makes fastreid work.
from fastreid_privacy.core.errors import UserError, exit_code, say

# isort: split
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from fastreid_privacy.collection import folder_source
from fastreid_privacy.collection.source import targets
from fastreid_privacy.config import resolve_device
from fastreid_privacy.core.images import quantize, to_levels, to_pictures, to_unit
from fastreid_privacy.core.pictures import read_picture, resize
from fastreid_privacy.evaluation.image_quality import ImageQuality
from fastreid_privacy.networks import UNetGenerator, halvings

SHOWN = 6  # people in the picture that is written


class Pairs(Dataset):
    """Protected and raw files of the same path and stem: two uint8 3×H×W tensors, RGB.

    Both have the size of the protected file.

    Args:
        raw: folder.
        protected: folder; what is in it without a raw file of its name is an error.

    Raises:
        UserError: for a folder without images, or a protected file without a raw one.
    """

    def __init__(self, raw: Path, protected: Path):
        originals = {name: raw / path for path, name in targets(folder_source(raw).paths, "").items()}
        stored = targets(folder_source(protected).paths, "")
        alone = [path for path, name in stored.items() if name not in originals]
        if alone:
            raise UserError(
                f"{raw} holds no raw file of {alone[0]}{f' and {len(alone) - 1:,} more' if alone[1:] else ''}"
            )
        self.files = [(protected / path, originals[name]) for path, name in stored.items()]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        seen, wanted = (read_picture(path) for path in self.files[index])
        images = seen, resize(wanted, seen.shape[:2])
        first, second = (torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images)
        return first, second


def train(network: torch.nn.Module, pairs: Pairs, epochs: int, batch_size: int, device: str) -> None:
    """Learn protected → raw with the L1 loss; the learning rate is divided by ten in the last fifth."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = DataLoader(pairs, batch_size, shuffle=True, drop_last=len(pairs) > batch_size)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [max(1, round(0.8 * epochs))])
    network.train()
    for epoch in tqdm(range(epochs), unit=" epochs", desc="attacking", disable=None):
        total = 0.0
        for seen, wanted in loader:
            seen, wanted = (to_unit(images.to(device).float()) for images in (seen, wanted))
            loss = (network(seen) - wanted).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        schedule.step()
        say(f"epoch {epoch + 1}: L1 {total / len(loader) * 127.5:.2f} levels")


@torch.no_grad()
def measure(
    network: torch.nn.Module, pairs: Pairs, batch_size: int, device: str
) -> tuple[dict, dict, np.ndarray]:
    """How close protected images are to the raw ones, and how close the attack comes.

    Returns:
        Quality of the protected images as they are, and of the attacked ones; and a picture of some: rows of
        raw, protected and attacked images, uint8 H×W×3.
    """

    def guess(seen: torch.Tensor) -> torch.Tensor:
        return quantize(to_levels(network(to_unit(seen.to(device).float())))).cpu()

    as_stored, attacked = ImageQuality(), ImageQuality()
    network.eval()
    for seen, wanted in DataLoader(pairs, batch_size):
        as_stored.update(seen.float(), wanted.float())
        attacked.update(guess(seen), wanted.float())
    spread = np.linspace(0, len(pairs) - 1, min(SHOWN, len(pairs))).round().astype(int)
    seen, wanted = (torch.stack(images) for images in zip(*(pairs[index] for index in spread), strict=True))
    rows = [np.hstack([*to_pictures(images)]) for images in (wanted, seen, guess(seen))]
    return as_stored.compute(), attacked.compute(), np.vstack(rows)


def attack(options: argparse.Namespace) -> None:
    """Train the attacker, measure what it recovers, and print it."""
    device = resolve_device(options.device, "--device")
    known, unknown = Pairs(options.raw, options.protected), Pairs(options.test_raw, options.test_protected)
    height, width = known[0][0].shape[1:]
    if halvings(height, width) < 2:
        raise UserError(
            f"protected images of {width}×{height} cannot be halved twice, as the attacker's U-Net needs"
        )
    torch.manual_seed(options.seed)
    network = UNetGenerator(width=options.width, depth=halvings(height, width)).to(device)
    train(network, known, options.epochs, options.batch_size, device)
    as_stored, attacked, picture = measure(network, unknown, options.batch_size, device)
    for name, figures in (("protected, as they are", as_stored), ("attacked", attacked)):
        say(f"{name:24}{figures['PSNR']:6.2f} dB  SSIM {figures['SSIM']:.3f}", sys.stdout)
    if options.picture:
        Image.fromarray(picture).save(options.picture)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 after a message for the user."""
    parser = argparse.ArgumentParser(prog="attack.py", description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, required=True, help="folder of raw images that the attacker has")
    parser.add_argument("--protected", type=Path, required=True, help="folder of their protected files")
    parser.add_argument(
        "--test-raw", type=Path, required=True, help="folder of raw images to measure the attack with"
    )
    parser.add_argument("--test-protected", type=Path, required=True, help="folder of their protected files")
    parser.add_argument("--epochs", type=int, default=100, help="passes over the pairs (default 100)")
    parser.add_argument("--batch-size", type=int, default=32, help="default 32")
    parser.add_argument(
        "--width", type=int, default=64, help="channels of the U-Net's first layer (default 64)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--picture", type=Path, help="PNG to write: raw, protected and attacked images, one row each"
    )
    return exit_code(lambda: attack(parser.parse_args(arguments)), "interrupted")


if __name__ == "__main__":
    sys.exit(main())
