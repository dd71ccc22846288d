"""The checks of a run on its validation split, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..results.results_json import config_value
from .tables import number

# key in results.json, heading, decimals
CHECK_COLUMNS = (
    ("epoch", "epoch", 0),
    ("rank1", "rank-1", 1),
    ("best", "to beat", 1),
    ("psnr_protected", "PSNR protected", 2),
    ("psnr_desensitized", "PSNR desensitized", 2),
    ("ssim_protected", "SSIM protected", 3),
    ("ssim_desensitized", "SSIM desensitized", 3),
    ("beyond", "beyond, %", 1),
    ("excess_psnr", "excess PSNR", 2),
    ("excess_ssim", "excess SSIM", 3),
    ("decision", "decision", 0),
)


def check_columns(checks: Sequence[Mapping]) -> list[tuple[str, str, int]]:
    """The ``CHECK_COLUMNS`` that have a figure in any check; a model without protected images has few."""
    return [column for column in CHECK_COLUMNS if any(check.get(column[0]) is not None for check in checks)]


def check_cells(check: Mapping, columns: Sequence[tuple[str, str, int]] = CHECK_COLUMNS) -> list[str]:
    """One check in the order of the columns."""
    return [number(check.get(key), decimals) for key, _, decimals in columns]


def checks_note(results: Mapping) -> str:
    """What the columns of single images mean, where the checks have them."""
    if not any(check.get("beyond") is not None for check in results.get("checks") or []):
        return ""
    counts = config_value(results, "PRIVACY.UPGRADE.PRIVACY") == "worst"
    rule = "; the upgrades ask for these to be under ε" if counts else ""
    return (
        "beyond: images beyond ε_psnr or ε_ssim by themselves; excess: at most 5 % of the images show more "
        f"above their desensitized ones{rule}."
    )


def validation_matches(results: Mapping) -> str:
    """What counts as a match on the validation split, where that is more than images of other cameras."""
    same = config_value(results, "DATASETS.VALIDATION.SAME_CAMERA")
    return "images of the same camera count as matches" if same else ""
