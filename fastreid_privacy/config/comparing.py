"""Which keys two configs share, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence

from fastreid.config import CfgNode

from ..core.operators import NAME, operator_keys
from .keys import default_config
from .older import older_values

# What may differ in one comparison: of the upper bound, Base, the method with and without upgradation,
# recovery or an attacker.
METHOD_KEYS = (
    "PRIVACY.PROTECTION",
    "PRIVACY.LAMBDA_REC",
    "PRIVACY.ATTACKER",
    "PRIVACY.UPGRADE",
    "PRIVACY.UPPER_BOUND",
    "PRIVACY.DESENSITIZER",
    "PRIVACY.ANONYMIZER.INPUT",
    "DATASETS.REGIONS",  # of the operator
    "TEST.PAPER_RESULTS",
)
# What says where and how a run happens, not what it learns.
RUN_KEYS = (
    "OUTPUT_DIR",
    "MODEL.DEVICE",
    "MODEL.HEADS.NUM_CLASSES",
    "MODEL.BACKBONE.PRETRAIN_PATH",
    "DATALOADER.NUM_WORKERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.KEEP_CHECKPOINTS",
    "TEST.IMS_PER_BATCH",
    "TEST.FEATURES",
    "TEST.ROC.ENABLED",
    "TEST.LPIPS_WEIGHTS",
)

# What may change when a run is continued: the machine, which checkpoint is tested, what it is compared with.
RESUMABLE_KEYS = (*RUN_KEYS, "TEST.CHECKPOINT", "TEST.PAPER_RESULTS", "PRIVACY.UPPER_BOUND")


def flat_keys(node: CfgNode | dict, prefix: str = "") -> dict[str, object]:
    """All leaves of a config as ``{"A.B.C": value}``."""
    leaves: dict[str, object] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        leaves.update(flat_keys(value, f"{name}.") if isinstance(value, dict) and value else {name: value})
    return leaves


def comparable(cfg: CfgNode | dict, skip: Sequence[str] = METHOD_KEYS + RUN_KEYS) -> dict[str, object]:
    """The part of a config that two runs must share to be compared: data, networks, budget and seed.

    Args:
        cfg: a config, or what a file keeps of one.
        skip: keys, and nodes, that may differ.

    Returns:
        As :func:`flat_keys`; tuples become lists, as in files.
    """
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in flat_keys(cfg).items()
        if not any(key == name or key.startswith(f"{name}.") for name in skip)
    }


def differing(theirs: dict[str, object], ours: dict[str, object], sign: str = "≠") -> list[str]:
    """Where two parts of configs, as :func:`comparable` gives them, differ: "KEY theirs ≠ ours".

    A key that one of them does not know, because another version wrote it, has that version's value there:
    its default, as far as :func:`.older.older_values` has no other.
    """
    defaults = comparable(default_config(), ()) | operator_keys(ours.get(NAME))
    theirs, ours = ({**older_values(side), **side} for side in (theirs, ours))
    values = {
        key: [side.get(key, defaults.get(key)) for side in (theirs, ours)]
        for key in sorted(theirs.keys() | ours.keys())
    }
    return [f"{key} {first} {sign} {second}" for key, (first, second) in values.items() if first != second]
