"""The two protocols of a reproduction: the paper's own, and this project's."""

from __future__ import annotations

from collections.abc import Mapping

from fastreid.config import CfgNode

from ..config import DETERMINISTIC, RAW

PAPER, JOINT = "paper", "joint"
PROTOCOLS = (PAPER, JOINT)
OWN_KEYS = (
    "PRIVACY.JOINT_BATCH",
    "PRIVACY.DESENSITIZE_BEFORE_CROP",
)  # what the command line cannot give beside a protocol


def protocol_values(cfg: CfgNode, protocol: str) -> dict[str, object]:
    """The config keys that a protocol sets.

    "paper": raw and protected images in two passes through Re-ID (the sum of eq. 7), desensitizing before
    padding and cropping, pixelation by the corner of a block as in the reference implementation, and the
    learning rate divided at the start of the epochs
    that ``SOLVER.STEPS`` names, counted from 1: the 40th and the 80th (section 4.2). "joint": both kinds of
    images in one batch; the rest is the config's, whose steps count epochs from 0.

    Args:
        cfg: of the runs, before a budget scales its schedule.
        protocol: of ``PROTOCOLS``.

    Returns:
        {key: value}.
    """
    if protocol == JOINT:
        return {"PRIVACY.JOINT_BATCH": True}
    return {
        "PRIVACY.JOINT_BATCH": False,
        "PRIVACY.DESENSITIZE_BEFORE_CROP": True,
        "PRIVACY.DESENSITIZER.PIXEL_REDUCE": "corner",
        # a division at the start of the first epoch would be another BASE_LR
        "SOLVER.STEPS": [step - 1 for step in cfg.SOLVER.STEPS if step > 1],
    }


def operator_values(cfg: CfgNode, protocol: str, operator: str) -> dict[str, object]:
    """The config keys that a protocol sets for the runs of one operator.

    "paper": the anonymizer of a random operator sees raw images alone, unless the config says otherwise.

    Args:
        cfg: of the reproduction.
        protocol: of ``PROTOCOLS``.
        operator: the conventional operator.

    Returns:
        {key: value}.
    """
    values: dict[str, object] = {"PRIVACY.DESENSITIZER.NAME": operator}
    if protocol == PAPER and operator not in DETERMINISTIC and cfg.PRIVACY.ANONYMIZER.INPUT == "auto":
        values["PRIVACY.ANONYMIZER.INPUT"] = RAW
    return values


def protocol_of(plan: Mapping) -> str:
    """The protocol of a plan.json; one of 0.1.0 names none and is "joint"."""
    return plan.get("protocol", JOINT)
