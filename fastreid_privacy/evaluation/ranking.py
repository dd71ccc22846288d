"""Retrieval figures under Market-1501's protocol: CMC, mAP and mINP, exact, without a full distance matrix.

FAISS computes the distances of a block of queries to the whole gallery. Of a ranking only the places of the true matches are needed, and
the place of a match is the number of gallery images before it: so they are counted, and nothing but the few matches is sorted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import faiss
import numpy as np
import torch
from numpy.typing import ArrayLike

from ..errors import UserError

METRICS = ("cosine", "euclidean")
CMC_RANKS = (1, 5, 10)
CPU_BLOCK, GPU_BLOCK = 64 * 2**20, 2**30  # bytes of distances
_LEFT_OUT = np.iinfo(np.int64).max  # the order key of an image that is before nothing


def evaluate_retrieval(
    query_features: np.ndarray | torch.Tensor,
    gallery_features: np.ndarray | torch.Tensor,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
    metric: str = "cosine",
    *,
    device: str = "auto",
    block_bytes: int | None = None,
) -> dict[str, float | int]:
    """Rank the gallery for every query and measure where its true matches are.

    Gallery images of the query's identity under the query's camera are left out; every other identity, distractors included, is wrong.
    Images at an equal distance rank in gallery order, and equal gallery features are at an equal distance. A query without a true match
    under another camera is left out and counted.

    Args:
        query_features: Q×D, any float type and device; compared in float32.
        gallery_features: G×D.
        query_pids: Q identities, compared as they are.
        gallery_pids: G identities.
        query_camids: Q cameras.
        gallery_camids: G cameras.
        metric: "cosine" (of the angle; features need no normalisation) or "euclidean".
        device: where FAISS computes the distances: "cpu", "cuda" (the current GPU) or "cuda:N"; "auto": a GPU where there is one. A FAISS
            built without GPUs computes on the CPU.
        block_bytes: memory for the distances of one block of queries; by default 64 MiB, on a GPU, to which the gallery is copied anew for
            each block, 1 GiB.

    Returns:
        "Rank-1", "Rank-5", "Rank-10", "mAP", "mINP" in percent (0–100), and "excluded_queries", a count. With fewer than 10 gallery
        images Rank-10 is the share of queries that have a match anywhere.

    Raises:
        UserError: for an unknown metric, empty or mismatched inputs, features that are not finite, or no query with a true match under
            another camera.

    Example:
        >>> features = np.eye(2, dtype=np.float32)
        >>> evaluate_retrieval(features, features, [1, 2], [1, 2], [0, 0], [1, 1])["Rank-1"]
        100.0

    Reference:
        Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015, section 4. mINP: Ye et al., Deep Learning for Person
        Re-identification: A Survey and Outlook, section 3.4.
    """
    return summarize(
        rank_queries(
            query_features,
            gallery_features,
            query_pids,
            gallery_pids,
            query_camids,
            gallery_camids,
            metric,
            device=device,
            block_bytes=block_bytes,
        )
    )


class QueryRanks(NamedTuple):
    """What each query's ranking says; 0 in all three for a query without a true match under another camera. Q values each."""

    first_places: np.ndarray  # place of the first true match, from 1
    average_precisions: np.ndarray  # 0–1
    inverse_penalties: np.ndarray  # 0–1


def summarize(ranks: QueryRanks) -> dict[str, float | int]:
    """The figures of :func:`evaluate_retrieval` from those of each query; at least one query must count."""
    counts = ranks.first_places > 0
    cmc = {f"Rank-{rank}": 100 * float(np.mean(ranks.first_places[counts] <= rank)) for rank in CMC_RANKS}
    means = {"mAP": ranks.average_precisions, "mINP": ranks.inverse_penalties}
    means = {name: 100 * float(np.mean(values[counts])) for name, values in means.items()}
    return {**cmc, **means, "excluded_queries": int((~counts).sum())}


def rank_queries(
    query_features: np.ndarray | torch.Tensor,
    gallery_features: np.ndarray | torch.Tensor,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
    metric: str = "cosine",
    *,
    device: str = "auto",
    block_bytes: int | None = None,
) -> QueryRanks:
    """What :func:`evaluate_retrieval` averages, for each query; arguments and errors as there."""
    if metric not in METRICS:
        raise UserError(f"unknown retrieval metric {metric!r}: choose {' or '.join(METRICS)}")
    gpu = _gpu_of(device)
    query = _checked_features(query_features, "query")
    gallery = _checked_features(gallery_features, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise UserError(f"query features have dimension {query.shape[1]}, gallery features {gallery.shape[1]}: take both from one model")
    query_pids, query_camids = _checked_labels(query_pids, query_camids, len(query), "query")
    gallery_pids, gallery_camids = _checked_labels(gallery_pids, gallery_camids, len(gallery), "gallery")

    by_pid = np.argsort(gallery_pids, kind="stable")
    starts, ends = (np.searchsorted(gallery_pids, query_pids, side, sorter=by_pid) for side in ("left", "right"))
    ranks = QueryRanks(np.zeros(len(query), dtype=np.int64), np.zeros(len(query)), np.zeros(len(query)))
    for index, distances in enumerate(_distance_rows(query, gallery, metric, gpu, block_bytes)):
        same_pid = by_pid[starts[index] : ends[index]]
        same_camera = gallery_camids[same_pid] == query_camids[index]
        matches = same_pid[~same_camera]
        if len(matches):
            places = places_of_matches(distances, matches, same_pid[same_camera])
            ranks.first_places[index] = places[0]
            ranks.average_precisions[index] = np.mean(np.arange(1, len(places) + 1) / places)
            ranks.inverse_penalties[index] = len(places) / places[-1]
    if not ranks.first_places.any():
        raise _nothing_to_rank(query_camids, gallery_camids)
    return ranks


def places_of_matches(distances: np.ndarray, matches: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """The places (from 1, ascending) of true matches in one query's ranking: nearest first, equal distances in gallery order.

    Args:
        distances: G, float32, not NaN.
        matches: gallery indices of the true matches, at least one.
        left_out: gallery indices that take no place; none of the matches.
    """
    keys = _order_keys(distances)
    keys[left_out] = _LEFT_OUT
    match_keys = np.sort(keys[matches])
    # Good matches are near the top: what lies behind the last of them needs no search.
    before = keys[keys <= match_keys[-1]]
    return np.cumsum(np.bincount(np.searchsorted(match_keys, before), minlength=len(match_keys)))


def _order_keys(distances: np.ndarray) -> np.ndarray:
    """One whole number per gallery image, int64, that sorts by distance and then by gallery index: a stable order without a sort.

    The bits of a float32, read as a whole number, sort as the floats do once those below zero are mirrored.
    """
    bits = (distances + np.float32(0)).view(np.int32)  # adding 0 turns −0 into 0: their bits differ
    bits ^= (bits >> 31) & np.int32(0x7FFFFFFF)
    return (bits.astype(np.int64) << 32) + np.arange(len(bits))


def _gpu_of(device: str) -> int | None:
    """The number of the GPU that FAISS computes on, −1 for the current one; None: on the CPU."""
    try:
        chosen = torch.device("cuda" if device == "auto" else device)
    except RuntimeError:
        raise UserError(f"device {device} is no torch device; give auto, cpu, cuda or cuda:N") from None
    if chosen.type != "cuda" or faiss.get_num_gpus() == 0:
        return None
    return -1 if chosen.index is None else chosen.index


def _distance_rows(query: np.ndarray, gallery: np.ndarray, metric: str, gpu: int | None, block_bytes: int | None) -> Iterator[np.ndarray]:
    """For each query its distances to the gallery, G float32: squared Euclidean, or the negative cosine."""
    # A matrix product rounds equal columns differently, depending on where they stand: equal features are computed once.
    distinct, position = _distinct_rows(gallery)
    if len(distinct) < len(gallery):
        gallery = gallery[distinct]
    else:
        position = None
    if metric == "cosine":
        query, gallery = _normalised(query), _normalised(gallery)
    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    resources = None if gpu is None else faiss.StandardGpuResources()
    if block_bytes is None:
        block_bytes = CPU_BLOCK if gpu is None else GPU_BLOCK
    rows = max(1, block_bytes // (len(gallery) * gallery.itemsize))
    for start in range(0, len(query), rows):
        block = query[start : start + rows]
        if gpu is None:
            scores = faiss.pairwise_distances(block, gallery, kind)
        else:
            scores = faiss.pairwise_distance_gpu(resources, block, gallery, metric=kind, device=gpu)
        if metric == "cosine":
            np.negative(scores, out=scores)
        yield from scores if position is None else (row[position] for row in scores)


def _distinct_rows(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the distinct rows in order of first appearance, and for each row its position among them."""
    positions: dict[bytes, int] = {}
    position = [positions.setdefault(hashlib.blake2b(row, digest_size=16).digest(), len(positions)) for row in features]
    return np.unique(position, return_index=True)[1], np.array(position)


def _normalised(features: np.ndarray) -> np.ndarray:
    """Rows of length 1, as a new array; rows of zeros stay."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _checked_features(features: np.ndarray | torch.Tensor, side: str) -> np.ndarray:
    """Features as a contiguous float32 array N×D on the CPU."""
    if isinstance(features, torch.Tensor):
        features = features.detach().to("cpu", torch.float32).numpy()
    features = np.asarray(features)
    if features.ndim != 2 or not features.size:
        raise UserError(f"{side} features have shape {features.shape}: at least one row of at least one dimension is needed, N×D")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is named below
        features = np.ascontiguousarray(features, dtype=np.float32)
        squared_lengths = np.einsum("ij,ij->i", features, features)
    bad = np.flatnonzero(~np.isfinite(squared_lengths))  # one pass that needs no second array of this size
    if len(bad):
        raise UserError(
            f"{len(bad)} of {len(features)} {side} features hold NaN, infinite or overflowing values, the first at index {bad[0]}: "
            "look at the weights and at that image"
        )
    return features


def _checked_labels(pids: ArrayLike, camids: ArrayLike, count: int, side: str) -> tuple[np.ndarray, np.ndarray]:
    pids, camids = np.asarray(pids), np.asarray(camids)
    for name, labels in (("pids", pids), ("camids", camids)):
        if labels.shape != (count,):
            raise UserError(f"{side}_{name} has shape {labels.shape} beside {count} {side} features: one value per feature is needed")
    return pids, camids


def _nothing_to_rank(query_camids: np.ndarray, gallery_camids: np.ndarray) -> UserError:
    rule = "matches under the query's own camera do not count"
    cameras = np.union1d(query_camids, gallery_camids)
    if len(cameras) == 1:
        return UserError(f"all query and gallery images are from one camera ({cameras[0]}) and {rule}: add images of another camera")
    return UserError(f"none of the {len(query_camids)} queries has its identity in the gallery under another camera, and {rule}")
