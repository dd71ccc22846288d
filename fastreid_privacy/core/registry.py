"""Looking a name up in a fastreid registry, with a message that helps."""

from __future__ import annotations

from typing import Any

from fastreid.utils.registry import Registry

from .errors import UserError

REGISTERING = "A part of a project is registered by --project FOLDER, or by importing its package"
"""What to do about a name that is not registered."""


def lookup(registry: Registry, name: str, key: str) -> Any:
    """The entry registered under a name.

    Args:
        registry: A fastreid registry.
        name: The name asked for.
        key: The config key that holds the name, for the message.

    Raises:
        UserError: Nothing is registered under the name; the message lists what is, and says how more is.
    """
    # fastreid's Registry cannot be iterated; its mapping is the only list of the names that there is.
    known = registry._obj_map
    if name not in known:
        raise UserError(
            f"{key} is {name!r}, which is not registered; known: {', '.join(sorted(known))}. {REGISTERING}"
        )
    return known[name]
