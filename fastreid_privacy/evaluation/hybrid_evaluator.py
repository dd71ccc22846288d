"""fastreid's evaluator over several domains at once: one extraction pass serves every pair of query and
gallery domain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm
from torch import Tensor
from torch.nn.functional import normalize

from ..core.domains import PAIRS, QUALITY_DOMAINS
from ..core.errors import UserError
from ..core.images import to_pictures
from .image_quality import ImageQuality
from .protocol import Labels, TrueMatches
from .ranking import Ranking, rank
from .ranking_options import RankingOptions

SHOWN_QUERIES, SHOWN_IMAGES = 4, 10  # of the rank lists that a report shows
SHOWN_PEOPLE, IMAGES_OF_EACH = 10, 20  # of the features that a report shows


class HybridEvaluator(DatasetEvaluator):
    """Retrieval for pairs of domains, image quality against the raw images, and what a report shows of both.

    fastreid's ``inference_on_dataset`` calls ``reset``, ``process`` for each batch, then ``evaluate``. With
    several processes each sees a contiguous part of the data set in rank order (fastreid's
    ``InferenceSampler``), queries before gallery.

    Args:
        num_query: the first ``num_query`` images are the queries, all others the gallery.
        pairs: "query-gallery" domains that must be evaluated; by default those of ``PAIRS`` whose two domains
            the model extracts.
        options: metric, and what comes on top of it; cosine distances alone by default.
        samples: how many identities ``sample_images`` shows, at most.
        device: where distances are computed, as of :func:`evaluate_retrieval`.
        features: how features are kept until they are ranked: torch.float32, or torch.float16 for half the
            memory.
        lpips: gives the N distances of a batch to its originals, where image quality is to include it.

    After :meth:`evaluate`, on rank 0:

    Attributes:
        rankings: the ranking of each pair.
        shown_queries: indices of a few queries, which the rankings' ``best`` belong to.
        embedding: "pids" n and domain → float16 n×D: the features, at length 1, of the first people of the
            test set.

    Raises:
        UserError: for a pair that is not of the form "OI-PI".
    """

    def __init__(
        self,
        num_query: int,
        pairs: Sequence[str] | None = None,
        options: RankingOptions | None = None,
        samples: int = 8,
        device: str = "auto",
        features: torch.dtype = torch.float32,
        lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
    ):
        for pair in pairs or ():
            if pair.count("-") != 1 or not all(pair.split("-")):
                raise UserError(
                    f"retrieval pair {pair!r} is not of the form query-gallery, as in {', '.join(PAIRS)}"
                )
        self.num_query, self.pairs, self.samples, self.device, self.kept_as = (
            num_query,
            pairs,
            samples,
            device,
            features,
        )
        self.options, self.lpips = options or RankingOptions(), lpips
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new evaluation starts."""
        self._features: dict[str, list[Tensor]] = defaultdict(list)
        self._pids: list[Tensor] = []
        self._camids: list[Tensor] = []
        self._quality: dict[str, ImageQuality] = defaultdict(self._new_quality)
        self._samples: dict[str, list[np.ndarray]] = defaultdict(list)
        self._sample_pids: set[int] = set()
        self.rankings: dict[str, Ranking] = {}
        self.shown_queries: list[int] = []
        self.embedding: dict[str, np.ndarray] = {}

    def _new_quality(self) -> ImageQuality:
        return ImageQuality(lpips=self.lpips)

    def process(self, inputs: dict, outputs: dict[str, dict[str, Tensor]]) -> None:
        """Add a batch.

        Args:
            inputs: fastreid's batch: "targets" and "camids", N each.
            outputs: "features": {domain: N×D}; "images": {domain: N×3×H×W RGB, 0–255}, raw images under "OI",
                or no images at all.
        """
        for domain, features in outputs["features"].items():
            self._features[domain].append(features.detach().to("cpu", self.kept_as))
        self._pids.append(inputs["targets"].cpu())
        self._camids.append(inputs["camids"].cpu())
        images = outputs.get("images", {})
        measured: dict[int, ImageQuality] = {}
        for name, domain in QUALITY_DOMAINS.items():
            if domain in images and "OI" in images:
                of_batch = measured.get(
                    id(images[domain])
                )  # Base's protected images are its desensitized ones
                if of_batch is None:
                    of_batch = measured[id(images[domain])] = self._new_quality()
                    of_batch.update(images[domain], images["OI"])
                self._quality[name].merge(of_batch)
        self._keep_samples(inputs["targets"].tolist(), images)

    def _keep_samples(self, pids: list[int], images: dict[str, Tensor]) -> None:
        for index, pid in enumerate(pids):
            if len(self._sample_pids) < self.samples and pid not in self._sample_pids:
                self._sample_pids.add(pid)
                for domain, batch in images.items():
                    self._samples[domain].append(to_pictures(batch[index : index + 1])[0])

    @property
    def sample_images(self) -> dict[str, np.ndarray]:
        """Domain → RGB uint8 n×H×W×3: the first image of each of the first identities that this process saw,
        the same in every domain."""
        return {domain: np.stack(images) for domain, images in self._samples.items()}

    def evaluate(self) -> dict[str, dict[str, dict]]:
        """Gather what all processes saw and measure it.

        Returns:
            On rank 0 {"retrieval": {pair: figures of :func:`evaluate_retrieval`}, "image_quality":
            {"protected", "desensitized", "recovered": figures of :class:`ImageQuality`}}, each as far as the
            model gives the domain; {} on other ranks.

        Raises:
            UserError: on rank 0, when no image was processed, a domain of a required pair was not extracted,
                or ranking is impossible.
        """
        labels = (torch.cat(self._pids), torch.cat(self._camids)) if self._pids else None
        comm.synchronize()
        everyone = comm.all_gather((list(self._features), labels, dict(self._quality)))
        parts = [
            part for part in everyone if part[1] is not None
        ]  # a small data set leaves the last processes nothing
        features = {domain: self._gathered(domain) for domain in (parts[0][0] if parts else ())}
        if not comm.is_main_process():
            return {}
        if not parts:
            raise UserError("no image was evaluated: the test set is empty")
        pids, camids = (torch.cat([part[1][column] for part in parts]).numpy() for column in (0, 1))
        return {
            "retrieval": self._retrieval(features, pids, camids),
            "image_quality": _merged_quality([part[2] for part in parts]),
        }

    def _gathered(self, domain: str) -> Tensor | None:
        """The features of one domain from all processes, on rank 0: one domain at a time, so that no more
        than one is sent at once."""
        if self._features[domain]:
            self._features[domain] = [
                torch.cat(self._features[domain])
            ]  # the batches are freed domain by domain
        parts = comm.gather(self._features[domain], dst=0)
        own = [rows for part in parts for rows in part]
        return None if not own else own[0] if len(own) == 1 else torch.cat(own)

    def _retrieval(
        self, features: dict[str, Tensor], pids: np.ndarray, camids: np.ndarray
    ) -> dict[str, dict]:
        pairs = {pair: pair.split("-") for pair in (PAIRS if self.pairs is None else self.pairs)}
        if self.pairs is None:
            pairs = {pair: domains for pair, domains in pairs.items() if features.keys() >= set(domains)}
        missing = sorted({domain for domains in pairs.values() for domain in domains} - features.keys())
        if missing:
            raise UserError(
                f"retrieval over {', '.join(pairs)} needs features of {', '.join(missing)}, which the "
                "model does not extract: "
                f"it gives {', '.join(sorted(features))}"
            )
        n = self.num_query
        query, gallery = (pids[:n], camids[:n]), (pids[n:], camids[n:])
        self.embedding = _features_of_some(features, pids)
        self.shown_queries = _some_queries(query, gallery) if n and len(pids) > n else []
        for gallery_domain in dict.fromkeys(
            domains[1] for domains in pairs.values()
        ):  # one gallery serves all its query domains
            same = [pair for pair, domains in pairs.items() if domains[1] == gallery_domain]
            queries = [features[pairs[pair][0]][:n] for pair in same]
            rankings = rank(
                queries,
                features[gallery_domain][n:],
                query,
                gallery,
                self.options,
                best_of=self.shown_queries,
                best=SHOWN_IMAGES,
                device=self.device,
            )
            self.rankings.update(zip(same, rankings, strict=True))
        self.rankings = {pair: self.rankings[pair] for pair in pairs}
        return {pair: ranking.figures for pair, ranking in self.rankings.items()}


def _some_queries(query: tuple[np.ndarray, np.ndarray], gallery: tuple[np.ndarray, np.ndarray]) -> list[int]:
    """A few queries that count, of different people, spread over the test set."""
    counting = np.flatnonzero(TrueMatches(Labels(*query), Labels(*gallery)).counts)
    first_of_each = counting[np.sort(np.unique(query[0][counting], return_index=True)[1])]
    return first_of_each[
        np.unique(np.linspace(0, len(first_of_each) - 1, SHOWN_QUERIES).astype(int))
    ].tolist()


def _features_of_some(features: dict[str, Tensor], pids: np.ndarray) -> dict[str, np.ndarray]:
    """Features of length 1 in every domain, of the first people who have more than one image, distractors not
    among them."""
    people, counts = np.unique(pids, return_counts=True)
    chosen = people[(counts > 1) & (people > 0)][:SHOWN_PEOPLE]
    rows = np.concatenate(
        [np.flatnonzero(pids == person)[:IMAGES_OF_EACH] for person in chosen] or [np.zeros(0, dtype=int)]
    )
    return {
        "pids": pids[rows],
        **{domain: normalize(values[rows].float()).half().numpy() for domain, values in features.items()},
    }


def _merged_quality(parts: list[dict[str, ImageQuality]]) -> dict[str, dict]:
    """The figures of each domain over the accumulators of all processes."""
    merged = {name: replace(quality) for name, quality in parts[0].items()}
    for part in parts[1:]:
        for name, quality in part.items():
            merged[name].merge(quality)
    return {name: quality.compute() for name, quality in merged.items()}
