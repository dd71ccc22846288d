"""Row A5, with keys: those that are nearly right, and all labels where the label is the key."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.image_maps import ImageMap
from ..checkpoints.opening import KEY, load_recovery
from ..core.errors import UserError, brief
from ..core.images import quantize
from ..core.operators import CONVENTIONAL
from ..desensitize import Desensitizer
from ..evaluation.image_quality import psnr_of_sum
from .masks import COMBINATIONS, Combination
from .measures import quality
from .subjects import Subject, choose
from .views import BATCH, Mapped, View, at_size_of, batches

DISTURBED = (0.01, 0.1, 0.5)  # noise in the weights, as a share of each tensor's standard deviation
LABELS = 2_000  # the highest that is guessed
GUESSED_ON = 32  # queries whose label is sought
PLAIN = 128  # level of the attacker's own plain image, whose protected one shows a label's mask

NearKeys = Mapping[str, ImageMap | str]
"""Keys that are not the right one, by what they are; where one does not open at all, the message."""


def without_key(operator: Desensitizer) -> str:
    """Why an operator has no key that could be attacked; "" where it depends on a label or on a seed."""
    keyed = operator.needs_people or operator.is_seeded
    return "" if keyed and operator.name not in CONVENTIONAL else f"{operator.name} has no key"


def near_keys(
    key: ImageMap | None,
    file: Path | None,
    others: Sequence[Path],
    device: str,
    passphrase: Callable[[], str] | None,
) -> dict[str, ImageMap | str]:
    """Keys beside the right one: with disturbed weights, of other anonymizers, under another passphrase.

    Args:
        key: the right one; None: the attacker knows none.
        file: of the right one, where it is a file of its own.
        others: files of other decoders.
        device: as everywhere.
        passphrase: asked for that of encrypted files.

    Raises:
        UserError: when a file of ``others`` is missing or no key.
    """
    found: dict[str, ImageMap | str] = {}
    if key is not None and key.runtime == "onnx":
        found["disturbed weights"] = "a graph's weights stay; name the checkpoint, or the key without .onnx"
    elif key is not None:
        found.update({f"{share:.0%} noise in the weights": disturbed(key, share) for share in DISTURBED})
    if file is not None and file.suffix == KEY and passphrase is not None:
        found["another passphrase"] = _refused(file, device, lambda: passphrase() + "x")
    for other in others:
        if other.suffix == KEY:
            found[str(other)] = _refused(other, device, passphrase)
        else:
            found[str(other)] = load_recovery(other, device)
    return found


def disturbed(key: ImageMap, share: float) -> ImageMap:
    """A decoder with noise in every tensor of weights: ``share`` of the tensor's standard deviation."""
    other, draw = copy.deepcopy(key), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in other.parameters():
            spread = weights.std(correction=0) if weights.numel() > 1 else weights.abs()
            noise = torch.randn(weights.shape, generator=draw).to(weights.device)
            weights.add_(share * spread * noise)
    return other


def _refused(file: Path, device: str, passphrase: Callable[[], str] | None) -> ImageMap | str:
    try:
        return load_recovery(file, device, passphrase)
    except UserError as error:
        if "does not open" not in str(error):
            raise
        return f"refused: {brief(error)}"


def recovered_by(
    keys: NearKeys, protected: View, raw: View, subjects: Sequence[Subject]
) -> dict[str, dict[str, Any]]:
    """PSNR and SSIM of what each near key gives; "refused" and the reason where it gives nothing."""
    return {
        name: {"refused": key}
        if isinstance(key, str)
        else quality(Mapped(protected, at_size_of(key)), raw, subjects)
        for name, key in keys.items()
    }


def guess_labels(
    operator: Desensitizer, protected: View, raw: View, queries: Sequence[Subject], own: Sequence[Subject]
) -> dict[str, Any]:
    """Try every label on some queries, and keep that whose undone image is smoothest (total variation).

    Args:
        operator: public, and keyed by the label alone.
        protected, raw: views of the images.
        queries: whose labels are sought.
        own: images of the attacker's own, which tell how the operator combines image and mask.

    Returns:
        "labels", how many are tried, from 0; "images"; "found" and "chance", the share of right labels in
        percent; "PSNR" of the images that the guessed labels give; "combination".
    """
    sought = choose(queries, GUESSED_ON, 0)
    shape = tuple(protected(sought[:1]).shape[1:])

    def mask(combination: Combination, labels: Sequence[int]) -> Tensor:
        plain = torch.full((len(labels), *shape), float(PLAIN))
        shown = quantize(operator(plain, people=labels))
        return combination.mask(shown.int(), plain.int())

    name = _combination(operator, raw, own[:BATCH], mask)
    combination = COMBINATIONS[name]
    smoothest = torch.full((len(sought),), torch.inf)
    labels, undone = torch.zeros(len(sought), dtype=torch.int64), torch.zeros(len(sought), *shape)
    images = torch.cat([protected(some) for some in batches(sought)]).int()
    for start in range(0, LABELS + 1, BATCH):
        tried = list(range(start, min(start + BATCH, LABELS + 1)))
        masks = mask(combination, tried)
        for index, image in enumerate(images):
            candidates = combination.undo(image[None], masks).float()
            variation = _variation(candidates)
            best = int(variation.argmin())
            if variation[best] < smoothest[index]:
                smoothest[index], labels[index] = variation[best], tried[best]
                undone[index] = candidates[best]
    right = [int(label) == each.pid for label, each in zip(labels, sought, strict=True)]
    error = (undone - torch.cat([raw(some) for some in batches(sought)])).double().square()
    return {
        "combination": name,
        "labels": LABELS + 1,
        "images": len(sought),
        "found": 100 * sum(right) / len(right),
        "chance": 100 / (LABELS + 1),
        "PSNR": psnr_of_sum(float(error.sum()), error.numel()),
    }


def _combination(
    operator: Desensitizer,
    raw: View,
    own: Sequence[Subject],
    mask: Callable[[Combination, Sequence[int]], Tensor],
) -> str:
    """How the operator combines image and mask: what undoes it best on images of the attacker's own."""
    images = raw(own)
    people = [each.pid for each in own]
    shown = quantize(operator(images, people=people)).int()

    def misfit(name: str) -> float:
        combination = COMBINATIONS[name]
        undone = combination.undo(shown, mask(combination, people)).float()
        return float((undone - images).square().mean())

    return min(COMBINATIONS, key=misfit)


def _variation(images: Tensor) -> Tensor:
    """The mean step between neighbouring pixels of each image: N."""
    steps = images.diff(dim=2).abs().mean((1, 2, 3)), images.diff(dim=3).abs().mean((1, 2, 3))
    return steps[0] + steps[1]
