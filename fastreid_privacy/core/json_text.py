"""JSON that somebody else may have written."""

from __future__ import annotations

import json
from typing import Any

DEEPEST = 100  # containers in containers; what this package writes has a tenth of it


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: when it is none, or nested so deep that whoever walks through it runs out of stack.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError("it is nested too deep")
        level = [item for part in level for item in (part.values() if isinstance(part, dict) else part)]
    return value
