"""What a whole config means where it lacks a key, because a version before that key wrote it.

Checkpoints, results.json and plan.json carry whole configs. A key that they lack has its default, unless the
version that wrote them did otherwise; that is said here.
"""

from __future__ import annotations

from collections.abc import Mapping

from .values import DETERMINISTIC, RAW

CUHK03_LABELED = "DATASETS.CUHK03.LABELED"
ANONYMIZER_INPUT = "PRIVACY.ANONYMIZER.INPUT"


def older_values(keys: Mapping[str, object]) -> dict[str, object]:
    """The keys that an older version's config lacks and that had another value than today's default there.

    Args:
        keys: all leaves of a whole config, as :func:`.comparing.flat_keys` gives them; values of a foreign
            file may be anything.

    Returns:
        {key: value}; empty for a config of this version.
    """
    values: dict[str, object] = {}
    names = [keys.get("DATASETS.NAMES"), keys.get("DATASETS.TESTS")]
    on_cuhk03 = any("CUHK03" in each for each in names if isinstance(each, list | tuple))
    if on_cuhk03 and CUHK03_LABELED not in keys:
        values[CUHK03_LABELED] = True  # fastreid's default, which 0.1.0 left as it was
    operator = keys.get("PRIVACY.DESENSITIZER.NAME")
    if isinstance(operator, str) and operator not in DETERMINISTIC and ANONYMIZER_INPUT not in keys:
        values[ANONYMIZER_INPUT] = RAW  # before this key every anonymizer saw raw images alone
    return values
