"""Supervision upgradation (section 3.4, Fig. 4): the anonymizer's target, and the rule that changes it.

The rule is a pure function of one check's figures; :class:`Supervision` is the target in force, whose state
travels with the model; :class:`UpgradeRecord` is the list of checks, whose state travels with the checkpoint.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

KEEP, UPGRADE, FALL_BACK, RESTORE = "keep", "upgrade", "fall back", "restore"


class Thresholds(NamedTuple):
    """How much more protected images may show than desensitized ones, and how that is measured.

    Attributes:
        psnr: ε_psnr, dB.
        ssim: ε_ssim.
        rank1: ε_r1, points of rank-1.
        worst: whether the images count one by one, so that 95 % of them must be under ε, instead of the mean
            over the set, as in the paper.
    """

    psnr: float = 1.0
    ssim: float = 0.05
    rank1: float = 5.0
    worst: bool = False


_PAPERS_THRESHOLDS = Thresholds()


def is_private(check: dict, thresholds: Thresholds) -> bool:
    """Whether protected images are hidden about as well as the desensitized ones: both differences under ε.

    The reference is always the desensitized images; it does not move with upgrades.

    Args:
        check: with psnr_protected, ssim_protected, psnr_desensitized, ssim_desensitized, each against the raw
            images; where the worst images count, with excess_psnr and excess_ssim instead.
    """
    if thresholds.worst:
        return check["excess_psnr"] < thresholds.psnr and check["excess_ssim"] < thresholds.ssim
    return (
        check["psnr_protected"] < check["psnr_desensitized"] + thresholds.psnr
        and check["ssim_protected"] < check["ssim_desensitized"] + thresholds.ssim
    )


def decide(check: dict, best: float, upgraded: bool, thresholds: Thresholds, start: float | None) -> str:
    """The rule of Fig. 4 and the reference implementation.

    The target is G*, the anonymizer as it was at the last upgrade, as long as privacy holds and rank-1 is
    above what it started from; else it is the desensitized images. G* itself changes with a new best rank-1.

    Args:
        check: as for :func:`is_private`, and rank1, the OI→PI rank-1 in percent.
        best: the rank-1 to beat: ``start`` at first, then that of the last upgrade.
        upgraded: whether the target in force is G*.
        thresholds: ε_psnr and ε_ssim are read.
        start: Base's OI→DI rank-1 − ε_r1. None: the older rule, by which only lost privacy ends an upgrade,
            and only a new best rank-1 ends a fall back.

    Returns:
        "upgrade" when privacy holds and rank-1 is above ``best``; "restore" when the stored G* comes back
        into force, "fall back" when it goes out of force; "keep" otherwise.
    """
    private, rank1 = is_private(check, thresholds), check["rank1"]
    if private and rank1 > best:
        return UPGRADE
    if start is None:
        return FALL_BACK if upgraded and not private else KEEP
    stored = best > start  # an upgrade is what raises it
    if private and rank1 > start and stored:
        return KEEP if upgraded else RESTORE
    return FALL_BACK if upgraded else KEEP


class Supervision(nn.Module):
    """The target in force: desensitized images, or G*(x), the anonymizer as it was at the last upgrade.

    G* is allocated from the start, so that every checkpoint has the same keys and shapes, and always runs in
    evaluation mode.

    Args:
        anonymizer: the network G_X, copied.
    """

    upgraded: Tensor

    def __init__(self, anonymizer: nn.Module):
        super().__init__()
        self.frozen_anonymizer = copy.deepcopy(anonymizer).requires_grad_(False).eval()
        self.register_buffer("upgraded", torch.zeros((), dtype=torch.bool))

    def train(self, mode: bool = True) -> Supervision:
        return super().train(False)

    def upgrade(self, anonymizer: nn.Module) -> None:
        """Take the anonymizer as it is now as the target."""
        self.frozen_anonymizer.load_state_dict(anonymizer.state_dict())
        self.upgraded.fill_(True)

    def fall_back(self) -> None:
        """Take the desensitized images as the target again; G* stays stored."""
        self.upgraded.fill_(False)

    def restore(self) -> None:
        """Take the stored G* as the target again."""
        self.upgraded.fill_(True)

    @torch.no_grad()
    def forward(self, seen: Tensor, desensitized: Tensor) -> Tensor:
        """The target of each image.

        Args:
            seen: what the anonymizer sees of the images (``anonymizer.seen``); G* sees the same noise.
            desensitized: N×3×H×W in [−1, 1].

        Returns:
            N×3×H×W in [−1, 1].
        """
        return self.frozen_anonymizer(seen) if self.upgraded else desensitized


class UpgradeRecord:
    """Every check with its figures, the rank-1 to beat, and the best private check; saved in checkpoints.

    Args:
        baseline_rank1: Base's OI→DI rank-1 on the validation split, percent; None where nothing is upgraded.
        thresholds: ε_psnr, ε_ssim, ε_r1; None where no constraint applies, for nothing is learned: then
            every check may be selected.
    """

    def __init__(
        self, baseline_rank1: float | None = None, thresholds: Thresholds | None = _PAPERS_THRESHOLDS
    ):
        self.thresholds = thresholds
        self.start = None
        if baseline_rank1 is not None and thresholds is not None:
            self.start = baseline_rank1 - thresholds.rank1
        self.best = self.start
        self.selected: float | None = None  # the rank-1 of model_best
        self.checks: list[dict] = []
        # "best" and "final" → retrieval figures of that model on the validation split
        self.validation: dict[str, dict] = {}

    def add(self, check: dict, upgraded: bool) -> tuple[dict, bool]:
        """Decide on a check, note it, and say whether it is the best private model so far.

        Args:
            check: epoch and the figures for :func:`decide`; of a model without a constraint, rank1 is read.
            upgraded: whether the target in force was upgraded.

        Returns:
            The entry with "best" (the rank-1 that was to be beaten) and "decision"; whether this is the model
            to select.
        """
        private = self.thresholds is None or is_private(check, self.thresholds)
        decision = KEEP
        if self.thresholds is not None and self.best is not None:
            decision = decide(check, self.best, upgraded, self.thresholds, self.start)
        entry = {**check, "best": self.best, "decision": decision}
        self.checks.append(entry)
        if decision == UPGRADE:
            self.best = check["rank1"]
        select = private and (self.selected is None or check["rank1"] > self.selected)
        if select:
            self.selected = check["rank1"]
        return entry, select

    def take_over_selected(self, later: dict) -> None:
        """Know of a model_best that is of a later check; ``later`` is the state that it was saved with."""
        self.selected = later["selected"]
        self.validation["best"] = later["validation"]["best"]

    def state_dict(self) -> dict:
        return {
            "start": self.start,
            "best": self.best,
            "selected": self.selected,
            "checks": [dict(check) for check in self.checks],
            "validation": dict(self.validation),
        }

    def load_state_dict(self, state: dict) -> None:
        self.start = state.get("start")  # a run that 0.1.0 began has none, and goes on by the older rule
        self.best, self.selected = state["best"], state["selected"]
        self.checks = [dict(check) for check in state["checks"]]
        self.validation = dict(state["validation"])
