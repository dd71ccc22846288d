"""The places of true matches in a ranking, without ranking anything else.

The place of a match is the number of gallery images before it. So each query's distances are sorted by
themselves, which costs a fraction of sorting indices along, and the matches are looked up in them; gallery
indices are compared only where distances are equal.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

# Of distances sorted at a time: on the CPU by each thread, in its cache.
TILE_BYTES = {"cpu": 2**20, "cuda": 2**26}


def places_of_matches(distances: Tensor, matches: Tensor) -> Tensor:
    """Places from 1 of each query's true matches: nearest first, equal distances in gallery order.

    Args:
        distances: Q×G float32, not NaN; infinite for images that take no place. Left as they are.
        matches: Q×M int64, gallery indices of true matches at finite distances, filled up with −1.

    Returns:
        Q×M int64 in the order of ``matches``, on the same device; 0 for those filled up.
    """
    rows = max(1, TILE_BYTES[distances.device.type] // (4 * distances.shape[1]))
    tiles = distances.split(rows), matches.split(rows)
    if distances.is_cuda:
        return torch.cat(list(map(_places, *tiles)))
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        return torch.cat(list(threads.map(_places, *tiles)))


def _in_order(values: Tensor) -> Tensor:
    """Each row in ascending order."""
    if values.is_cuda:
        return values.sort(dim=1).values
    # numpy uses the processor's vector instructions; torch sorts indices along
    return torch.from_numpy(np.sort(values.numpy(), axis=1))


def _places(distances: Tensor, matches: Tensor) -> Tensor:
    """:func:`places_of_matches` of one tile."""
    used = matches >= 0
    own = distances.gather(1, matches.clamp(min=0))
    in_order = _in_order(distances)
    nearer = torch.searchsorted(in_order, own)
    equal = torch.searchsorted(in_order, own, right=True) - nearer
    places = nearer + 1
    for row, column in ((equal > 1) & used).nonzero().tolist():
        places[row, column] += (distances[row, : matches[row, column]] == own[row, column]).sum()
    return places.masked_fill_(~used, 0)
