"""fastreid's evaluator over several domains: one pass over a test set serves every pair of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm
from torch import Tensor
from torch.nn.functional import normalize

from ..core.domains import PAIRS, QUALITY_DOMAINS
from ..core.errors import UserError
from ..core.images import to_pictures
from .exposure import Exposure, figures_of
from .image_quality import ImageQuality
from .protocol import Labels, TrueMatches
from .ranking import Ranking, rank
from .ranking_options import RankingOptions

SAMPLES = 8  # identities whose images a report shows
SHOWN_QUERIES, SHOWN_IMAGES = 4, 10  # of the rank lists that a report shows
SHOWN_PEOPLE, IMAGES_OF_EACH = 10, 20  # of the features that a report shows


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation on one test set found.

    Attributes:
        rankings: the ranking of each pair of domains, "OI-PI" and so on.
        query_pids: Q identities of the queries, in the order of the rankings.
        image_quality: "protected", "desensitized", "recovered" → figures of :class:`ImageQuality`, as far as
            the model gives the domain; "protected" with those of :class:`Exposure` too, where it is learned.
        shown_queries: indices of a few queries, which the rankings' ``best`` belong to.
        embedding: "pids" n and domain → float16 n×D: the features, at length 1, of the first people of the
            test set.
        sample_images: domain → RGB uint8 n×H×W×3: the first image of each of the first identities that rank 0
            saw, the same in every domain.
        rank_lists: pictures of the rankings' ``best``, as :func:`picture_rank_lists` makes them from the data
            set.
    """

    rankings: dict[str, Ranking]
    query_pids: np.ndarray
    image_quality: dict[str, dict]
    shown_queries: list[int]
    embedding: dict[str, np.ndarray]
    sample_images: dict[str, np.ndarray]
    rank_lists: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, dict[str, dict]]:
        """{"retrieval": {pair: figures of :func:`evaluate_retrieval`}, "image_quality": …}, plain numbers."""
        retrieval = {pair: ranking.figures for pair, ranking in self.rankings.items()}
        return {"retrieval": retrieval, "image_quality": self.image_quality}


class _Part(NamedTuple):
    """What one process saw, but for the features."""

    domains: list[str]
    pids: Tensor
    camids: Tensor
    quality: dict[str, ImageQuality]  # by domain
    exposure: Exposure | None
    same_images: dict[str, str]


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
        limits: ε_psnr (dB) and ε_ssim: protected images beyond them are counted; None: they are not.

    Raises:
        UserError: for a pair that is not of the form "OI-PI".
    """

    def __init__(
        self,
        num_query: int,
        pairs: Sequence[str] | None = None,
        options: RankingOptions | None = None,
        samples: int = SAMPLES,
        device: str = "auto",
        features: torch.dtype = torch.float32,
        lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
        limits: tuple[float, float] | None = None,
    ):
        for pair in pairs or ():
            if pair.count("-") != 1 or not all(pair.split("-")):
                raise UserError(
                    f"retrieval pair {pair!r} is not of the form query-gallery, as in {', '.join(PAIRS)}"
                )
        self.num_query, self.pairs, self.samples = num_query, pairs, samples
        self.options, self.lpips = options or RankingOptions(), lpips
        self.device, self.kept_as, self.limits = device, features, limits
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new evaluation starts."""
        self._features: dict[str, list[Tensor]] = defaultdict(list)
        self._pids: list[Tensor] = []
        self._camids: list[Tensor] = []
        self._quality: dict[str, ImageQuality] = {}
        self._exposure = None if self.limits is None else Exposure(*self.limits)
        self._same_images: dict[str, str] = {}
        self._samples: dict[str, list[np.ndarray]] = defaultdict(list)
        self._sample_pids: set[int] = set()

    def process(self, inputs: dict, outputs: dict[str, dict]) -> None:
        """Add a batch.

        Args:
            inputs: fastreid's batch: "targets" and "camids", N each.
            outputs: "features": {domain: N×D, or fewer: of the queries or of the gallery alone, where no
                pair needs the domain on the other side}; "images": {domain: N×3×H×W RGB, 0–255}, raw images
                under "OI", or no images at all; "same_images": {domain: the domain whose images it shares},
                which are measured once, the same for all batches; or none at all.
        """
        for domain, features in outputs["features"].items():
            self._features[domain].append(features.detach().to("cpu", self.kept_as))
        self._pids.append(inputs["targets"].cpu())
        self._camids.append(inputs["camids"].cpu())
        images = outputs.get("images", {})
        self._same_images = outputs.get("same_images", {})
        if "OI" in images:
            shown = {}
            for domain in QUALITY_DOMAINS.values():
                if domain in images and domain not in self._same_images:
                    quality = self._quality.setdefault(domain, ImageQuality(lpips=self.lpips))
                    shown[domain] = quality.update(images[domain], images["OI"])
            if self._exposure is not None and {"PI", "DI"} <= shown.keys():
                self._exposure.update(shown["PI"], shown["DI"])
        self._keep_samples(inputs["targets"].tolist(), images)

    def _keep_samples(self, pids: list[int], images: dict[str, Tensor]) -> None:
        for index, pid in enumerate(pids):
            if len(self._sample_pids) < self.samples and pid not in self._sample_pids:
                self._sample_pids.add(pid)
                for domain, batch in images.items():
                    self._samples[domain].append(to_pictures(batch[index : index + 1])[0])

    def evaluate(self) -> Evaluation | None:
        """Gather what all processes saw and measure it.

        Returns:
            On rank 0 the evaluation; None on other ranks.

        Raises:
            UserError: on rank 0, when no image was processed, a domain of a required pair was not extracted,
                or ranking is impossible.
        """
        own = None  # a small data set leaves the last processes nothing
        if self._pids:
            own = _Part(
                list(self._features),
                torch.cat(self._pids),
                torch.cat(self._camids),
                self._quality,
                self._exposure,
                self._same_images,
            )
        comm.synchronize()
        parts: list[_Part] = [part for part in comm.all_gather(own) if part is not None]
        features: dict[str, Tensor] = {}
        for domain in parts[0].domains if parts else ():
            rows = self._gathered(domain)
            if rows:
                features[domain] = rows[0] if len(rows) == 1 else torch.cat(rows)
        if not comm.is_main_process():
            return None
        if not parts:
            raise UserError("no image was evaluated: the test set is empty")
        pairs = self._pairs(features.keys())
        pids = torch.cat([part.pids for part in parts]).numpy()
        camids = torch.cat([part.camids for part in parts]).numpy()
        n = self.num_query
        query, gallery = (pids[:n], camids[:n]), (pids[n:], camids[n:])
        shown = _some_queries(query, gallery) if n and len(pids) > n else []
        return Evaluation(
            rankings=self._rankings(pairs, features, query, gallery, shown),
            query_pids=query[0],
            image_quality=_merged_quality(parts),
            shown_queries=shown,
            embedding=_features_of_some(features, pids),
            sample_images={domain: np.stack(images) for domain, images in self._samples.items()},
        )

    def _gathered(self, domain: str) -> list[Tensor]:
        """The features of one domain from all processes, on rank 0; one domain is sent at a time."""
        if self._features[domain]:
            # the batches are freed domain by domain
            self._features[domain] = [torch.cat(self._features[domain])]
        return [rows for part in comm.gather(self._features[domain], dst=0) for rows in part]

    def _pairs(self, domains: Collection[str]) -> dict[str, list[str]]:
        """Pair → [query domain, gallery domain] of what is to be evaluated.

        Raises:
            UserError: when it needs a domain that is not among these.
        """
        pairs = {pair: pair.split("-") for pair in (PAIRS if self.pairs is None else self.pairs)}
        if self.pairs is None:
            return {pair: both for pair, both in pairs.items() if set(both) <= set(domains)}
        missing = sorted({domain for both in pairs.values() for domain in both} - set(domains))
        if missing:
            raise UserError(
                f"retrieval over {', '.join(pairs)} needs features of {', '.join(missing)}, which the "
                f"model does not extract: it gives {', '.join(sorted(domains))}"
            )
        return pairs

    def _rankings(
        self,
        pairs: Mapping[str, Sequence[str]],
        features: Mapping[str, Tensor],
        query: tuple[np.ndarray, np.ndarray],
        gallery: tuple[np.ndarray, np.ndarray],
        shown: Sequence[int],
    ) -> dict[str, Ranking]:
        """Each pair's ranking; one gallery serves all its queries. Labels are (identities, cameras)."""
        rankings: dict[str, Ranking] = {}
        for searched in dict.fromkeys(both[1] for both in pairs.values()):
            of_gallery = [pair for pair, both in pairs.items() if both[1] == searched]
            ranked = rank(
                [features[pairs[pair][0]][: len(query[0])] for pair in of_gallery],
                features[searched][len(features[searched]) - len(gallery[0]) :],
                query,
                gallery,
                self.options,
                best_of=shown,
                best=SHOWN_IMAGES,
                device=self.device,
            )
            rankings.update(zip(of_gallery, ranked, strict=True))
        return {pair: rankings[pair] for pair in pairs}


def _some_queries(query: tuple[np.ndarray, np.ndarray], gallery: tuple[np.ndarray, np.ndarray]) -> list[int]:
    """A few queries that count, of different people, spread over the test set."""
    counting = np.flatnonzero(TrueMatches(Labels(*query), Labels(*gallery)).counts)
    first_of_each = counting[np.sort(np.unique(query[0][counting], return_index=True)[1])]
    spread = np.linspace(0, len(first_of_each) - 1, SHOWN_QUERIES).astype(int)
    return first_of_each[np.unique(spread)].tolist()


def _features_of_some(features: Mapping[str, Tensor], pids: np.ndarray) -> dict[str, np.ndarray]:
    """Features of length 1 of the first people with several images, distractors left out.

    In every domain of which there are features of all images.
    """
    people, counts = np.unique(pids, return_counts=True)
    chosen = people[(counts > 1) & (people > 0)][:SHOWN_PEOPLE]
    images = [np.flatnonzero(pids == person)[:IMAGES_OF_EACH] for person in chosen]
    rows = np.concatenate(images or [np.zeros(0, dtype=int)])
    return {
        "pids": pids[rows],
        **{
            domain: normalize(values[rows].float()).half().numpy()
            for domain, values in features.items()
            if len(values) == len(pids)
        },
    }


def _merged_quality(parts: Sequence[_Part]) -> dict[str, dict]:
    """The figures of each domain over the accumulators of all processes."""
    merged = {domain: replace(quality) for domain, quality in parts[0].quality.items()}
    for part in parts[1:]:
        for domain, quality in part.quality.items():
            merged[domain].merge(quality)
    of = {name: parts[0].same_images.get(domain, domain) for name, domain in QUALITY_DOMAINS.items()}
    figures = {name: merged[domain].compute() for name, domain in of.items() if domain in merged}
    exposures = [part.exposure for part in parts if part.exposure is not None]
    if "protected" in figures and exposures:
        figures["protected"].update(figures_of(exposures))
    return figures
