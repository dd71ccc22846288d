"""Names in names by dotted keys, as a config has them: ``TEST.METRIC``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MISSING = object()


def value_of(config: Mapping, key: str, default: Any = _MISSING) -> Any:
    """The value of a dotted key.

    Args:
        config: a config, or what a file keeps of one.
        key: such as "TEST.METRIC".
        default: what a config without the key gives.

    Raises:
        KeyError: for a key that the config does not have, where there is no default.
    """
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, Mapping) or name not in node:
            if default is _MISSING:
                raise KeyError(key)
            return default
        node = node[name]
    return node
