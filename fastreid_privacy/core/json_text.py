"""JSON as this package writes it, and as somebody else may have written it."""

from __future__ import annotations

import json
import sys
from typing import Any

LONGEST_WHOLE = sys.float_info.max_10_exp  # digits of a whole number; each of these has a float
DEEPEST = 100  # containers in containers; what this package writes has a tenth of it


def json_bytes(value: Any, allow_nan: bool = True) -> bytes:
    """The content of a JSON file.

    Raises:
        ValueError: for numbers that are not finite, unless they are allowed.
    """
    return json.dumps(value, indent=1, allow_nan=allow_nan).encode() + b"\n"


def json_value(value: Any) -> Any:
    """A value as a JSON file gives it back, with lists for tuples."""
    return json.loads(json.dumps(value))


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_WHOLE:
        raise ValueError(f"a number of it has {len(digits)} digits")
    return int(digits)


_DECODER = json.JSONDecoder(parse_int=_whole)


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: when it is none, nested so deep that whoever walks through it runs out of stack, or has a
            whole number that is larger than any float.
    """
    if not isinstance(text, str):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError("it is nested too deep")
        level = [item for part in level for item in (part.values() if isinstance(part, dict) else part)]
    return value
