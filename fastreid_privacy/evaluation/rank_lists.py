"""The pictures of a few rankings: what a report shows of retrieval, one list for each pair of domains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset, default_collate

from ..core.images import to_pictures
from .ranking import Ranking

LARGEST_HEIGHT = 128  # pixels; larger pictures are stored smaller
BATCH = 32


def picture_rank_lists(
    rankings: Mapping[str, Ranking],
    shown: Sequence[int],
    dataset: Dataset,
    num_query: int,
    images_of: Callable[[dict], dict[str, Tensor]],
) -> dict[str, np.ndarray]:
    """Make the images of the rankings' ``best`` once more; an evaluation keeps features only.

    Args:
        rankings: of each pair of domains, "OI-PI" and so on.
        shown: indices of the queries that ``best`` belongs to.
        dataset: of the test: items with images 3×H×W 0–255, targets, camids and img_paths; queries in front.
        num_query: how many those are.
        images_of: a batch of items to {domain: N×3×H×W, 0–255}.

    Returns:
        For each pair, "OI-PI": RGB uint8 n×(1+k)×H×W×3, each query and its k best gallery images, black where
        the gallery has fewer; and "OI-PI.matches": int8 n×k, 1 for a true match, 0 for another person, −1
        where there is no image.
    """
    if not len(shown):
        return {}
    queries = np.array(shown)[:, None]
    lists = {
        pair: np.hstack([queries, np.where(ranking.best < 0, -1, ranking.best + num_query)])
        for pair, ranking in rankings.items()
    }
    needed = np.unique(np.concatenate([indices.ravel() for indices in lists.values()]))
    needed = needed[needed >= 0].tolist()
    pictures, people = _pictures(needed, dataset, images_of)
    place = np.zeros(max(needed) + 1, dtype=int)
    place[needed] = np.arange(len(needed))
    result = {}
    for pair, indices in lists.items():
        query, gallery = pair.split("-")
        places = place[indices]
        images = pictures[gallery][places]
        images[:, 0] = pictures[query][places[:, 0]]
        images[indices < 0] = 0
        same = people[places[:, 1:]] == people[places[:, :1]]
        result[pair] = images
        result[f"{pair}.matches"] = np.where(indices[:, 1:] < 0, -1, same).astype(np.int8)
    return result


def _pictures(
    indices: Sequence[int], dataset: Dataset, images_of: Callable[[dict], dict[str, Tensor]]
) -> tuple[dict, np.ndarray]:
    """The images of these items in every domain, uint8 N×H×W×3, and their identities."""
    made: dict[str, list[np.ndarray]] = {}
    people = []
    for start in range(0, len(indices), BATCH):
        batch = default_collate([dataset[index] for index in indices[start : start + BATCH]])
        people.append(np.asarray(batch["targets"]))
        for domain, images in images_of(batch).items():
            made.setdefault(domain, []).append(_stored(images))
    return {domain: np.concatenate(parts) for domain, parts in made.items()}, np.concatenate(people)


@torch.no_grad()
def _stored(images: Tensor) -> np.ndarray:
    if images.shape[2] > LARGEST_HEIGHT:
        size = LARGEST_HEIGHT, round(images.shape[3] * LARGEST_HEIGHT / images.shape[2])
        images = interpolate(images.float(), size, mode="area")
    return to_pictures(images)
