"""The places of true matches in a ranking, without ranking anything else.

The place of a match is the number of gallery images before it. So each query's distances are sorted by
themselves, which costs a fraction of sorting indices along, and the matches are looked up in them; gallery
indices are compared only where distances are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

TILE_BYTES = {
    "cpu": 2**20,
    "cuda": 2**26,
}  # of distances sorted at a time: on the CPU by each thread, in its cache


def places_of_matches(distances: Tensor, matches: Tensor) -> Tensor:
    """Places from 1 of each query's true matches: nearest first, equal distances in gallery order.

    Args:
        distances: Q×G float32, not NaN; infinite for images that take no place. Left as they are.
        matches: Q×M int64, gallery indices of true matches at finite distances, filled up with −1.

    Returns:
        Q×M int64 in the order of ``matches``, on the same device; 0 for those filled up.
    """
    rows = max(1, TILE_BYTES[distances.device.type] // (4 * distances.shape[1]))
    tiles = list(zip(distances.split(rows), matches.split(rows), strict=True))
    if distances.is_cuda:
        return torch.cat([_places(*tile, lambda values: values.sort(dim=1).values) for tile in tiles])
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        return torch.cat(list(threads.map(lambda tile: _places(*tile, _sorted_by_numpy), tiles)))


def _sorted_by_numpy(values: Tensor) -> Tensor:
    """Each row in ascending order; numpy uses the processor's vector instructions, torch sorts indices
    along."""
    return torch.from_numpy(np.sort(values.numpy(), axis=1))


def _places(distances: Tensor, matches: Tensor, sort: Callable[[Tensor], Tensor]) -> Tensor:
    used = matches >= 0
    own = distances.gather(1, matches.clamp(min=0))
    in_order = sort(distances)
    nearer = torch.searchsorted(in_order, own)
    equal = torch.searchsorted(in_order, own, right=True) - nearer
    places = nearer + 1
    for row, column in ((equal > 1) & used).nonzero().tolist():
        places[row, column] += (distances[row, : matches[row, column]] == own[row, column]).sum()
    return places.masked_fill_(~used, 0)
