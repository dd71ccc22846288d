"""Row A1: an operator whose name is known is undone, without learning from anybody's pairs.

Whoever knows the operator can put images of their own through it, and so choose the way back that works best:
Wiener's filter and Richardson and Lucy's iteration for blur, and for every operator the image that it would
make the protected one of, smooth where several would do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..core.extras import restoration
from ..core.images import quantize
from ..desensitize import Desensitizer
from ..evaluation.image_quality import psnr_of_sum
from .subjects import Subject
from .views import View, operated

OPERATORS = ("blur", "pixelate", "noise")  # a mask leaves nothing to undo

TRIED_ON = 8  # images of their own, on which the attacker chooses
BALANCES = (0.0003, 0.003, 0.03, 0.3)  # of Wiener's filter: noise against sharpness
ITERATIONS = (5, 20, 60)  # of Richardson and Lucy
SMOOTHNESS = (0.0003, 0.003, 0.03, 0.3)  # weight of the total variation; values are 0–1
STEPS, LEARNING_RATE = 150, 0.02  # of the search for an image

Undo = Callable[[Tensor], Tensor]  # N×3×H×W, 0–255, to the same


def best_inversion(name: str, raw: View, own: Sequence[Subject]) -> tuple[str, Undo]:
    """The way back from an operator that works best on images of the attacker's own.

    Args:
        name: of ``OPERATORS``; of the paper's strength.
        raw: the view of raw images.
        own: images that the attacker may look at.

    Returns:
        What it is, in words, and the way back.

    Raises:
        UserError: where scikit-image is not installed.
    """
    wanted = raw(own[:TRIED_ON])
    seen = operated(raw, name)(own[:TRIED_ON])
    ways = _ways(name, wanted.shape[2:])

    def gain(way: str) -> float:
        error = (quantize(ways[way](seen)) - wanted).double().square()
        return psnr_of_sum(float(error.sum()), error.numel()) or np.inf

    best = max(ways, key=gain)
    return best, ways[best]


def way_back(name: str, way: str, size: Sequence[int]) -> Undo | None:
    """The way back from an operator that :func:`best_inversion` has named.

    Args:
        name: of the operator.
        way: in its words.
        size: (height, width) of the images.

    Returns:
        None where there is no such way.
    """
    return _ways(name, size).get(way) if name in OPERATORS else None


def _ways(name: str, size: Sequence[int]) -> dict[str, Undo]:
    ways: dict[str, Undo] = {}
    if name == "blur":
        kernel = _kernel(size)
        for balance in BALANCES:
            ways[f"Wiener, balance {balance}"] = partial(_deconvolved, _wiener(kernel, balance))
        for count in ITERATIONS:
            ways[f"Richardson-Lucy, {count} iterations"] = partial(
                _deconvolved, _richardson_lucy(kernel, count)
            )
    for weight in SMOOTHNESS:
        ways[f"optimisation, total variation {weight}"] = partial(_optimised, name, weight)
    return ways


def _kernel(size: Sequence[int]) -> np.ndarray:
    """What the blur makes of one point, cut off where it is next to nothing: odd sides, sum 1."""
    height, width = size
    point = torch.zeros(1, 3, 2 * height + 1, 2 * width + 1)
    point[..., height, width] = 1
    # a desensitizer scales with the height of what it gets: this one is twice as high, so half as strong
    spread = Desensitizer("blur", blur_sigma=12.0 * height / (2 * height + 1))(point)[0, 0].double().numpy()
    rows, columns = np.flatnonzero(spread[:, width] > 1e-6), np.flatnonzero(spread[height] > 1e-6)
    kernel = spread[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return kernel / kernel.sum()


def _wiener(kernel: np.ndarray, balance: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda plane: restoration.wiener(plane, kernel, balance, clip=False)


def _richardson_lucy(kernel: np.ndarray, count: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda plane: restoration.richardson_lucy(plane, kernel, num_iter=count, clip=False)


def _deconvolved(undo: Callable[[np.ndarray], np.ndarray], images: Tensor) -> Tensor:
    """Every channel by itself; mirrored at its edges first, as the blur does, so that they do not ring."""
    planes = images.double().numpy() / 255
    height, width = planes.shape[2:]
    edges = ((0, 0), (0, 0), (height // 2, height // 2), (width // 2, width // 2))
    mirrored = np.pad(planes, edges, mode="reflect")
    undone = np.stack([[undo(plane) for plane in image] for image in mirrored])
    inside = undone[..., height // 2 : height // 2 + height, width // 2 : width // 2 + width]
    return torch.from_numpy(np.nan_to_num(inside) * 255).float()


def _optimised(name: str, weight: float, images: Tensor) -> Tensor:
    """The smooth images that the operator makes the given ones of, but for its noise."""
    operate = (lambda candidate: candidate) if name == "noise" else Desensitizer(name)
    seen = images / 255
    candidate = seen.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([candidate], lr=LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(STEPS):
            misfit = (operate(candidate) - seen).square().mean()
            down, right = candidate.diff(dim=2), candidate.diff(dim=3)
            loss = misfit + weight * (down.abs().mean() + right.abs().mean())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return candidate.detach() * 255
