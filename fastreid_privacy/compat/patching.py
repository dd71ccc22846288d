"""Replacing an attribute of fastreid once, and remembering what was there."""

from __future__ import annotations

from typing import Any

ORIGINALS: dict[str, Any] = {}
"""``"owner.attribute"`` → fastreid's own object: what a replacement calls, and what the tests run to show
that it is needed."""


def original_of(owner: Any, name: str) -> Any:
    """What ``owner.name`` was before it was replaced."""
    return ORIGINALS[_key(owner, name)]


def replace(owner: Any, name: str, new: Any) -> None:
    """Set ``owner.name``, of a module or a class, to ``new``; ORIGINALS keeps what was there at first."""
    ORIGINALS.setdefault(_key(owner, name), vars(owner).get(name))
    setattr(owner, name, new)


def _key(owner: Any, name: str) -> str:
    where = f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else owner.__name__
    return f"{where}.{name}"
