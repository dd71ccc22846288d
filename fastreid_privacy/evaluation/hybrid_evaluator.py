"""fastreid's evaluator over several domains at once: one extraction pass serves every pair of query and gallery domain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm
from torch import Tensor

from ..errors import UserError
from .image_quality import ImageQuality
from .ranking import QueryRanks, rank_queries, summarize
from .results import PAIRS, QUALITY_DOMAINS


class HybridEvaluator(DatasetEvaluator):
    """Retrieval for pairs of domains, image quality against the raw images, and a few images to look at.

    fastreid's ``inference_on_dataset`` calls ``reset``, ``process`` for each batch, then ``evaluate``. With several processes each sees a
    contiguous part of the data set in rank order (fastreid's ``InferenceSampler``), queries before gallery.

    Args:
        num_query: the first ``num_query`` images are the queries, all others the gallery.
        pairs: "query-gallery" domains that must be evaluated; by default those of ``PAIRS`` whose two domains the model extracts.
        metric: "cosine" or "euclidean".
        samples: how many identities ``sample_images`` shows, at most.
        device: where distances are computed, as of :func:`evaluate_retrieval`.

    Raises:
        UserError: for a pair that is not of the form "OI-PI".
    """

    def __init__(self, num_query: int, pairs: Sequence[str] | None = None, metric: str = "cosine", samples: int = 8, device: str = "auto"):
        for pair in pairs or ():
            if pair.count("-") != 1 or not all(pair.split("-")):
                raise UserError(f"retrieval pair {pair!r} is not of the form query-gallery, as in {', '.join(PAIRS)}")
        self.num_query, self.pairs, self.metric, self.samples, self.device = num_query, pairs, metric, samples, device
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new evaluation starts."""
        self._features: dict[str, list[Tensor]] = defaultdict(list)
        self._pids: list[Tensor] = []
        self._camids: list[Tensor] = []
        self._quality: dict[str, ImageQuality] = defaultdict(ImageQuality)
        self._samples: dict[str, list[np.ndarray]] = defaultdict(list)
        self._sample_pids: set[int] = set()
        self.query_ranks: dict[str, QueryRanks] = {}  # of each pair, after evaluate() on rank 0

    def process(self, inputs: dict, outputs: dict[str, dict[str, Tensor]]) -> None:
        """Add a batch.

        Args:
            inputs: fastreid's batch: "targets" and "camids", N each.
            outputs: "features": {domain: N×D}; "images": {domain: N×3×H×W RGB, 0–255}, raw images under "OI", or no images at all.
        """
        for domain, features in outputs["features"].items():
            self._features[domain].append(features.detach().to("cpu", torch.float32))
        self._pids.append(inputs["targets"].cpu())
        self._camids.append(inputs["camids"].cpu())
        images = outputs.get("images", {})
        for name, domain in QUALITY_DOMAINS.items():
            if domain in images and "OI" in images:
                self._quality[name].update(images[domain], images["OI"])
        self._keep_samples(inputs["targets"].tolist(), images)

    def _keep_samples(self, pids: list[int], images: dict[str, Tensor]) -> None:
        for index, pid in enumerate(pids):
            if len(self._sample_pids) < self.samples and pid not in self._sample_pids:
                self._sample_pids.add(pid)
                for domain, batch in images.items():
                    levels = batch[index].detach().float().round().clamp(0, 255).to("cpu", torch.uint8)
                    self._samples[domain].append(levels.permute(1, 2, 0).numpy())

    @property
    def sample_images(self) -> dict[str, np.ndarray]:
        """Domain → RGB uint8 n×H×W×3: the first image of each of the first identities that this process saw, the same in every domain."""
        return {domain: np.stack(images) for domain, images in self._samples.items()}

    def evaluate(self) -> dict[str, dict[str, dict]]:
        """Gather what all processes saw and measure it.

        Returns:
            On rank 0 {"retrieval": {pair: figures of :func:`evaluate_retrieval`}, "image_quality": {"protected", "desensitized",
            "recovered": figures of :class:`ImageQuality`}}, each as far as the model gives the domain; {} on other ranks.

        Raises:
            UserError: on rank 0, when no image was processed, a domain of a required pair was not extracted, or ranking is impossible.
        """
        features = {domain: torch.cat(batches) for domain, batches in self._features.items()}
        labels = (torch.cat(self._pids), torch.cat(self._camids)) if self._pids else None
        comm.synchronize()
        parts = comm.gather((features, labels, dict(self._quality)), dst=0)
        if not comm.is_main_process():
            return {}
        parts = [part for part in parts if part[1] is not None]  # a small data set leaves the last processes nothing
        if not parts:
            raise UserError("no image was evaluated: the test set is empty")
        pids, camids = (torch.cat([part[1][column] for part in parts]).numpy() for column in (0, 1))
        features = {domain: torch.cat([part[0][domain] for part in parts]) for domain in parts[0][0]}
        return {"retrieval": self._retrieval(features, pids, camids), "image_quality": _merged_quality([part[2] for part in parts])}

    def _retrieval(self, features: dict[str, Tensor], pids: np.ndarray, camids: np.ndarray) -> dict[str, dict]:
        pairs = {pair: pair.split("-") for pair in (PAIRS if self.pairs is None else self.pairs)}
        if self.pairs is None:
            pairs = {pair: domains for pair, domains in pairs.items() if features.keys() >= set(domains)}
        missing = sorted({domain for domains in pairs.values() for domain in domains} - features.keys())
        if missing:
            raise UserError(
                f"retrieval over {', '.join(pairs)} needs features of {', '.join(missing)}, which the model does not extract: "
                f"it gives {', '.join(sorted(features))}"
            )
        n = self.num_query
        self.query_ranks = {
            pair: rank_queries(
                features[query][:n], features[gallery][n:], pids[:n], pids[n:], camids[:n], camids[n:], self.metric, device=self.device
            )
            for pair, (query, gallery) in pairs.items()
        }
        return {pair: summarize(ranks) for pair, ranks in self.query_ranks.items()}


def _merged_quality(parts: list[dict[str, ImageQuality]]) -> dict[str, dict]:
    """The figures of each domain over the accumulators of all processes."""
    merged: dict[str, ImageQuality] = defaultdict(ImageQuality)
    for part in parts:
        for name, quality in part.items():
            merged[name].merge(quality)
    return {name: quality.compute() for name, quality in merged.items()}
