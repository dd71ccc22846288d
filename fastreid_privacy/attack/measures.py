"""The columns of the grid: what an attack brings, in figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..core.errors import UserError
from ..evaluation.bootstrap import mean_over_people
from ..evaluation.distances import Features, Gallery
from ..evaluation.image_quality import ImageQuality
from ..evaluation.query_ranks import summarize
from ..evaluation.ranking import RankingOptions, rank
from ..evaluation.similarity import SimilarityTo
from .subjects import Subject, Subjects, can_be_asked
from .views import View, batches

DRAWS = 2_000  # of the bootstrap
EXPOSED = 0.05  # the share of images that are called the most exposed ones
FINE_RANGE = 25.5  # levels
FALSE_ALARMS = 0.01  # at which the share of recognised members is told


class Hits(NamedTuple):
    """Whether each query finds its person first: of queries that can, with their identities.

    Attributes:
        first: Q, 0 or 1.
        pids: Q.
    """

    first: np.ndarray
    pids: np.ndarray


def quality(view: View, raw: View, subjects: Sequence[Subject]) -> dict[str, float | None]:
    """PSNR over the whole set (dB; None: nothing differs) and SSIM of images against the raw ones."""
    gathered = ImageQuality()
    for some in batches(subjects):
        gathered.update(view(some), raw(some))
    figures = gathered.compute()
    return {"PSNR": figures["PSNR"], "SSIM": figures["SSIM"]}


def found(
    query: np.ndarray, gallery: np.ndarray, subjects: Subjects, metric: str
) -> tuple[dict[str, float], Hits]:
    """Rank-1 and mAP, in percent, of query features in gallery features; and whether each query is a hit.

    Args:
        query: Q×D.
        gallery: G×D.
        subjects: whose features they are.
        metric: that of the model, "cosine" or "euclidean".
    """
    asked, sought = _labels(subjects.query), _labels(subjects.gallery)
    (ranking,) = rank([query], gallery, asked, sought, RankingOptions(metric), device="cpu")
    figures = summarize(ranking.queries)
    counts = ranking.queries.first_places > 0
    hits = Hits((ranking.queries.first_places[counts] == 1).astype(int), asked[0][counts])
    return {"rank1": float(figures["Rank-1"]), "mAP": float(figures["mAP"])}, hits


def _labels(side: Sequence[Subject]) -> tuple[np.ndarray, np.ndarray]:
    """Identities and cameras."""
    return np.array([each.pid for each in side]), np.array([each.camid for each in side])


def chance(subjects: Subjects) -> float:
    """Rank-1 of guessing, in percent: the mean over queries of the share of true matches in their gallery."""
    pids, camids = _labels(subjects.gallery)
    shares = []
    for each in subjects.query:
        same = pids == each.pid
        kept = ~(same & (camids == each.camid))
        if (same & kept).any():
            shares.append((same & kept).sum() / kept.sum())
    return 100 * float(np.mean(shares))


def difference(ours: Hits, theirs: Hits) -> dict[str, float]:
    """Rank-1 minus another attack's on the same queries, with the 95 % interval over drawn identities.

    Returns:
        "difference", "low", "high", in points.
    """
    if not np.array_equal(ours.pids, theirs.pids):
        raise UserError("the two attacks were measured on different queries: nothing to compare")
    return mean_over_people(ours.first - theirs.first, ours.pids, draws=DRAWS)


def membership(
    query: np.ndarray, gallery: np.ndarray, subjects: Subjects, metric: str
) -> dict[str, float | None]:
    """Whether a raw image tells that its person is in a protected set: the nearest protected image decides.

    The people who can be asked for are halved. With the images of one half as the set, its queries are
    members and those of the other half are not; then the other way round. So members and others are of one
    kind, and nobody has learned from either.

    Args:
        query: Q×D, features of the raw queries.
        gallery: G×D, features of the protected gallery.
        subjects: whose features they are. A query's nearest is sought under other cameras than its own; it is
            asked where another camera saw its person.
        metric: by which the nearest is near, "cosine" or "euclidean".

    Returns:
        "AUC", 0–1, of telling members from others, 0.5 by guessing; "TPR@FPR=1%", percent: the share of
        members found where at most 1 % of the others are. Each is the mean of both directions; None: there
        are not two people to ask for, or one half has nothing that the other could be compared with. The
        second is None, too, where the others are fewer than 100: guessing would find more than 1 %.
    """
    (asked, own), (sought, camids) = _labels(subjects.query), _labels(subjects.gallery)
    counts = np.array(can_be_asked(subjects.query, subjects.gallery), dtype=bool)
    people = np.random.default_rng(0).permutation(np.unique(asked[counts]))
    halves = people[: len(people) // 2], people[len(people) // 2 :]

    def nearest(half: np.ndarray, members: np.ndarray) -> np.ndarray:
        ours, theirs = counts & np.isin(asked, half), np.isin(sought, members)
        scores = _nearness(query[ours], gallery[theirs], metric)
        scores[own[ours][:, None] == camids[theirs][None]] = -np.inf
        best = scores.max(1, initial=-np.inf)
        return best[np.isfinite(best)]

    ways = [(nearest(half, half), nearest(rest, half)) for half, rest in (halves, halves[::-1])]
    if not all(len(side) for way in ways for side in way):
        return {"AUC": None, "TPR@FPR=1%": None}
    areas, shares = zip(*(_told_apart(inside, others) for inside, others in ways), strict=True)
    enough = min(len(others) for _, others in ways) >= 1 / FALSE_ALARMS
    return {"AUC": float(np.mean(areas)), "TPR@FPR=1%": 100 * float(np.mean(shares)) if enough else None}


def _told_apart(inside: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Area under the curve, and the share of members above all but ``FALSE_ALARMS`` of the others."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, inside, "left") + np.searchsorted(ordered, inside, "right")
    threshold = np.quantile(others, 1 - FALSE_ALARMS, method="higher")
    return below.mean() / 2 / len(others), (inside > threshold).mean()


def shining_through(view: View, raw: View, subjects: Sequence[Subject]) -> np.ndarray:
    """How much of each raw image's fine pattern is in the image: N values, 1: all of it, about 0: none.

    SSIM of what is left of both when each pixel loses the mean of its surroundings, 9×9. Its constants are
    those of a tenth of the value range, which such patterns have; else flat images would look alike.
    """
    values = [SimilarityTo(_fine(raw(some)), FINE_RANGE)(_fine(view(some))) for some in batches(subjects)]
    return torch.cat(values).numpy()


def exposure(values: np.ndarray) -> dict[str, float]:
    """The mean of :func:`shining_through`, and that of the twentieth that shows most."""
    worst = np.sort(values)[-max(1, round(EXPOSED * len(values))) :]
    return {"mean": float(values.mean()), "worst": float(worst.mean())}


def _fine(images: Tensor) -> Tensor:
    return images - avg_pool2d(images, 9, stride=1, padding=4, count_include_pad=False)


def _nearness(query: np.ndarray, gallery: np.ndarray, metric: str) -> np.ndarray:
    """How near gallery images are to queries, as :func:`rank` has it: Q×G, the higher the nearer."""
    if not len(query) or not len(gallery):
        return np.empty((len(query), len(gallery)))
    device = torch.device("cpu")
    blocks = Gallery(Features(gallery, "gallery", device), metric).distances(
        [Features(query, "query", device)]
    )
    return np.concatenate([-block.numpy() for _, block in blocks])  # a block is overwritten by the next one
