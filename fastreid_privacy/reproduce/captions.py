"""What the captions of the tables say of a reproduction: its data, seeds, protocol and schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..config import CUHK03_LABELED, older_values
from . import paper
from .protocols import protocol_of

UNITS = {3: "PSNR in dB (of the mean squared error over the set), SSIM from 0 to 1."}
PERCENT = "Percent; share: rank-1 in percent of the own upper bound's rank-1 OI→OI."
WITH_OTHER_MODELS = (1, 4, 5)  # tables that show more than the full method


def caption(table: int, plan: Mapping, compared: str, counts: Sequence[int]) -> str:
    """The text under the title of a table.

    Args:
        table: its number.
        plan: plan.json.
        compared: the data set of the paper's figures.
        counts: of each cell, how many seeds have it.
    """
    parts = [f"Ours on {plan['dataset']}, the paper's on {paper.TITLES[compared]}"]
    if compared != plan["dataset"]:
        parts[0] += f" (the paper has no {plan['dataset']})"
    if plan["dataset"] == "CUHK03" and is_labeled(plan):
        parts.append("labelled boxes here, detected ones in the paper")
    by_count, most = Counter(counts), max(counts, default=0)
    missing = by_count.pop(0, 0)
    if most > 1:
        parts.append(f"mean ± sample standard deviation (n − 1) over n = {most} seeds")
        if len(by_count) > 1:
            parts.append("cells of fewer seeds say their n")
    elif most:
        parts.append("one seed")
    parts += [note for note in (protocol_note(plan), schedule_note(plan)) if note]
    if missing:
        parts.append(f"{missing} of {len(counts)} cells are still missing (–)")
    sentences = [UNITS.get(table, PERCENT), f"{'; '.join(parts)}."]
    if table in WITH_OTHER_MODELS:
        sentences.append(split_note(plan))
    return " ".join(sentences)


def schedule_note(plan: Mapping) -> str:
    """What plan.json says of a shortened schedule; "" for a whole one."""
    if plan["budget"] == 1:
        return ""
    epochs = f"{plan['epochs']} of {plan['epochs_of_config']} epochs"
    return f"schedule scaled to {epochs} (--budget {plan['budget']:g})"


def protocol_note(plan: Mapping) -> str:
    """The protocol, and what it set, as plan.json has it."""
    settings = plan.get("settings") or {}
    details = []
    if "PRIVACY.JOINT_BATCH" in settings:
        how = "one batch" if settings["PRIVACY.JOINT_BATCH"] else "two passes"
        details.append(f"raw and protected images in {how} through Re-ID")
    if settings.get("PRIVACY.DESENSITIZE_BEFORE_CROP"):
        details.append("desensitized before padding and cropping")
    if "pixelate" in plan["operators"] and "PRIVACY.DESENSITIZER.PIXEL_REDUCE" in settings:
        details.append(f"pixelation by the {settings['PRIVACY.DESENSITIZER.PIXEL_REDUCE']} of a block")
    if settings.get("SOLVER.SCHED") == "MultiStepLR" and settings.get("SOLVER.STEPS"):
        epochs = " and ".join(str(step + 1) for step in settings["SOLVER.STEPS"])
        details.append(f"learning rate divided at the start of epoch {epochs}")
    about = f" ({', '.join(details)})" if details else ""
    return f"--protocol {protocol_of(plan)}{about}"


def split_note(plan: Mapping) -> str:
    """How much each model was trained on, here and in the reference implementation."""
    fraction = (plan.get("settings") or {}).get("DATASETS.VALIDATION.FRACTION", 0.2)
    return (
        f"Every model here trains on {100 * (1 - fraction):g} % of the training images; in the reference "
        "implementation the upper bound, Base and the model without upgradation trained on all of them."
    )


def is_labeled(plan: Mapping) -> bool:
    """Whether a reproduction on CUHK03 is of labelled boxes; the paper's is of detected ones."""
    settings = plan.get("settings") or {}
    return bool({**older_values(settings), **settings}.get(CUHK03_LABELED))
