"""results.json as tables: retrieval, verification, image quality, checks of supervision upgradation.

Every figure is shown as it stands in results.json. The only number formed here is the share: rank-1 in
percent of the upper bound's rank-1 OI→OI, the one figure that compares across data sets and training budgets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..config import paper_results
from ..core.domains import DOMAINS, PAIRS, QUALITY_DOMAINS
from ..core.privacy import NOT_PRIVATE, WHY
from ..results.results_json import config_value

RETRIEVAL_METRICS = ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP")
QUALITY_METRICS = ("PSNR", "PSNR_per_image", "SSIM", "LPIPS")
TPR = "TPR@FPR="  # how the figures of verification begin, 1e-04 and so on behind it
NO_LPIPS = "LPIPS: not available; it is measured where AlexNet's weights are at hand (TEST.LPIPS_WEIGHTS)."


@dataclass(frozen=True)
class ModelRow:
    """One model's figures on one query→gallery pair, or the image quality of one domain.

    Attributes:
        where: ``"OI-PI"`` and so on, or ``"protected"``, ``"desensitized"``, ``"recovered"``.
        model: the name shown.
        kind: ``ours``, ``baseline``, ``upper_bound`` or ``paper``.
        values: metric → figure (percent, dB, or SSIM); None where there is none.
        share: rank-1 in percent of the upper bound's rank-1 OI→OI; None without an upper bound.
    """

    where: str
    model: str
    kind: str
    values: Mapping[str, float | None]
    share: float | None = None


def privacy_warning(results: Mapping) -> str:
    """What has to be said first of a model that is NOT PRIVATE; "" of any other."""
    return f"{NOT_PRIVATE}: {WHY}." if results.get("private") is False else ""


def method_name(results: Mapping) -> str:
    """What kind of model the results are of, from its config."""
    protection = config_value(results, "PRIVACY.PROTECTION")
    taught = ", with a teacher" if config_value(results, "PRIVACY.TEACHER.WEIGHT", 0.0) else ""
    taught += ", begun with the upper bound" if config_value(results, "PRIVACY.TEACHER.INIT", False) else ""
    if protection == "learned":
        lacking = [] if config_value(results, "PRIVACY.UPGRADE.ENABLED", True) else ["upgradation"]
        lacking += [] if config_value(results, "PRIVACY.LAMBDA_REC", 1.0) else ["recovery"]
        against = ", against an attacker" if config_value(results, "PRIVACY.ATTACKER.WEIGHT", 0.0) else ""
        if lacking:
            return f"Without {' and '.join(lacking)}{against}{taught}"
    name = {"none": "Upper bound", "conventional": "Base", "learned": "Full method"}.get(protection)
    return f"{name}{taught}" if name else "This model"


def legend(everything: Sequence[Mapping]) -> str:
    """What the domains of these results stand for.

    Where a protected collection was tested on, its files are what the model sees as raw.
    """
    seen = {domain for results in everything for pair in results["retrieval"] for domain in pair.split("-")}
    stored = (
        "as stored in the protected collection"
        if any(item.get("dataset") == "ProtectedCollection" for item in everything)
        else ""
    )
    return ", ".join(
        f"{domain} {stored or name if domain == 'OI' else name}"
        for domain, name in DOMAINS.items()
        if domain in seen
    )


def exposure_note(results: Mapping) -> str:
    """How many protected images show too much by themselves, on the test set; "" where that is not known."""
    found = (results.get("image_quality") or {}).get("protected") or {}
    if found.get("beyond") is None:
        return ""
    psnr = math.inf if found.get("excess_PSNR") is None else found["excess_PSNR"]
    excess = f"{number(psnr, 2)} dB PSNR or {number(found.get('excess_SSIM'), 3)} SSIM"
    return (
        f"{number(found['beyond'], 1)} % of the protected images are beyond ε_psnr or ε_ssim by themselves; "
        f"at most 5 % show more than {excess} above their desensitized images."
    )


def share_of(rank1: float | None, upper_rank1: float | None) -> float | None:
    """Rank-1 in percent of the upper bound's; None where either is missing or the upper bound's is 0."""
    return 100.0 * rank1 / upper_rank1 if rank1 is not None and upper_rank1 else None


def _figures(results: Mapping | None, pair: str) -> Mapping | None:
    return ((results or {}).get("retrieval") or {}).get(pair)


def _models(results: Mapping, pair: str) -> list[tuple[str, str, Mapping]]:
    """Kind, name and figures of ours, Base and the upper bound on a pair, of those that have any.

    The upper bound serves models of every desensitizer: what it says of desensitized images counts only where
    they are of the same one.
    """
    upper = results.get("upper_bound") or {}
    if "DI" in pair.split("-") and config_value(upper, "PRIVACY.DESENSITIZER") != config_value(
        results, "PRIVACY.DESENSITIZER"
    ):
        upper = None
    models = (
        ("ours", method_name(results), results),
        ("baseline", "Base", results.get("baseline")),
        ("upper_bound", "Upper bound", upper),
    )
    return [(kind, name, figures) for kind, name, model in models if (figures := _figures(model, pair))]


def _upper_rank1(results: Mapping) -> float | None:
    return (_figures(results.get("upper_bound"), "OI-OI") or {}).get("Rank-1")


def retrieval_table(results: Mapping) -> list[ModelRow]:
    """Our figures of every pair, each followed by those there are of Base, the upper bound and the paper.

    Args:
        results: a results dict of schema 1; ``baseline`` and ``upper_bound`` are results dicts themselves, or
            missing.
    """
    paper, upper_rank1 = paper_results(results.get("config") or {}), _upper_rank1(results)
    rows = []
    for pair in _pairs(results):
        for kind, name, figures in _models(results, pair):
            values = {metric: figures.get(metric) for metric in RETRIEVAL_METRICS}
            rows.append(ModelRow(pair, name, kind, values, share_of(values["Rank-1"], upper_rank1)))
        values = {metric: paper.get((pair, metric)) for metric in RETRIEVAL_METRICS}
        if any(value is not None for value in values.values()):
            rows.append(
                ModelRow(
                    pair,
                    "Paper",
                    "paper",
                    values,
                    share_of(values["Rank-1"], paper.get(("upper_bound", "Rank-1"))),
                )
            )
    return rows


def quality_table(results: Mapping) -> list[ModelRow]:
    """PSNR over the set, mean PSNR of the images (dB), SSIM and LPIPS of each domain, the paper's beneath."""
    quality, paper = results.get("image_quality") or {}, paper_results(results.get("config") or {})
    rows = []
    for domain in (name for name in QUALITY_DOMAINS if quality.get(name)):
        rows.append(
            ModelRow(
                domain,
                method_name(results),
                "ours",
                {metric: quality[domain].get(metric) for metric in QUALITY_METRICS},
            )
        )
        values = {metric: paper.get((domain, metric)) for metric in QUALITY_METRICS}
        if any(value is not None for value in values.values()):
            rows.append(ModelRow(domain, "Paper", "paper", values))
    return rows


def has_lpips(rows: Sequence[ModelRow]) -> bool:
    """Whether any row of a quality table has LPIPS."""
    return any(row.values["LPIPS"] is not None for row in rows)


def verification_table(results: Mapping) -> list[ModelRow]:
    """TPR at small FPRs (percent) of every pair that has any; each row has the same metrics."""
    everything = [
        (pair, name, kind, figures)
        for pair in _pairs(results)
        for kind, name, figures in _models(results, pair)
    ]
    found = [entry for entry in everything if any(metric.startswith(TPR) for metric in entry[3])]
    metrics = sorted(
        {metric for *_, figures in found for metric in figures if metric.startswith(TPR)},
        key=_false_positive_rate,
    )
    return [
        ModelRow(pair, name, kind, {metric: figures.get(metric) for metric in metrics})
        for pair, name, kind, figures in found
    ]


def _false_positive_rate(metric: str) -> tuple[float, str]:
    try:
        return float(metric.removeprefix(TPR)), metric
    except ValueError:  # a name of another version
        return math.inf, metric


def _pairs(results: Mapping) -> list[str]:
    retrieval = results["retrieval"]
    return [
        *(pair for pair in PAIRS if pair in retrieval),
        *(pair for pair in retrieval if pair not in PAIRS),
    ]


def comparison_title(results: Mapping) -> str:
    """The title of :func:`comparison_rows`, with what is drawn for the interval."""
    drawn = results.get("intervals_over") or "queries"
    return f"Rank-1 minus Base's, points; 95 % interval of the paired bootstrap over {drawn}"


def comparison_rows(results: Mapping) -> list[list[str]]:
    """Pair, rank-1 minus Base's in points, and its 95 % interval, as text."""
    return [
        [arrow(pair), f"{gain['difference']:+.1f}", f"{gain['low']:+.1f} to {gain['high']:+.1f}"]
        for pair, gain in (results.get("versus_baseline") or {}).items()
    ]


def excluded_queries(results: Mapping) -> dict[str, int]:
    """{pair: queries that had no true match under another camera}, pairs without such queries left out."""
    return {
        pair: entry["excluded_queries"]
        for pair, entry in results["retrieval"].items()
        if entry.get("excluded_queries")
    }


def number(value: float | str | None, decimals: int) -> str:
    """A figure as text: ``–`` where there is none, ``∞`` for the PSNR of equal images; words pass through."""
    if value is None or isinstance(value, str):
        return value or "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return "nan" if math.isnan(value) else f"{value:.{decimals}f}"


def retrieval_cells(row: ModelRow) -> list[str]:
    """The metrics of a retrieval row (percent, one decimal), then its share of the upper bound."""
    return [*(number(row.values[metric], 1) for metric in RETRIEVAL_METRICS), number(row.share, 1)]


def quality_cells(row: ModelRow, lpips: bool = False) -> list[str]:
    """PSNR and PSNR per image (dB, two decimals), SSIM and, where it is asked for, LPIPS (three)."""
    return [
        number(row.values[metric], 2 if metric.startswith("PSNR") else 3) for metric in quality_metrics(lpips)
    ]


def quality_metrics(lpips: bool) -> tuple[str, ...]:
    """The metrics of ``quality_cells``, in their order."""
    return QUALITY_METRICS if lpips else QUALITY_METRICS[:-1]


def arrow(where: str) -> str:
    """``OI-PI`` as ``OI→PI``."""
    return where.replace("-", "→")
