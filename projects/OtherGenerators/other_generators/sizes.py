"""What a generator here refuses: sizes of images that it cannot take, and sizes of itself."""

from __future__ import annotations

from typing import Any

from fastreid_privacy import UserError

MAX_WIDTH, MAX_DEPTH = 512, 32  # 2.4 thousand million weights; a file's config may ask for all memory


def check_options(network: str, options: Any) -> None:
    """Refuse a config node whose WIDTH or DEPTH is out of bounds.

    Args:
        network: what messages call it.
        options: the node ``PRIVACY.ANONYMIZER`` or ``PRIVACY.RECOVERY``.

    Raises:
        UserError: naming both keys, their values and the bounds.
    """
    if not (1 <= options.WIDTH <= MAX_WIDTH and 0 <= options.DEPTH <= MAX_DEPTH):
        raise UserError(
            f"the {network}'s depth is {options.DEPTH} and its width {options.WIDTH}: PRIVACY.ANONYMIZER and "
            f"PRIVACY.RECOVERY take a DEPTH from 0 (the network's own) to {MAX_DEPTH} and a WIDTH from 1 to "
            f"{MAX_WIDTH}"
        )


def check_size(network: str, size: tuple[int, int], step: int, smallest: int) -> None:
    """Refuse images whose sides are no multiples of ``step``, or under ``smallest``.

    Args:
        network: what messages call it.
        size: (height, width) of the images, pixels.
        step: by which both sides are divided.
        smallest: of each side, a multiple of ``step``.

    Raises:
        UserError: naming the nearest sizes that the network takes.
    """
    if all(side % step == 0 and side >= smallest for side in size):
        return
    smaller, larger = (
        "×".join(str(max(-(sign * side // step) * -sign * step, smallest)) for side in size)
        for sign in (1, -1)
    )
    raise UserError(
        f"images of {size[0]}×{size[1]} do not fit the {network}, whose sides are multiples of {step} and at "
        f"least {smallest}: set INPUT.SIZE_TRAIN and INPUT.SIZE_TEST to "
        f"{' or '.join(dict.fromkeys([smaller, larger]))}"
    )
