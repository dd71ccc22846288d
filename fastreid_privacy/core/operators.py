"""Registered operators, and the config keys that they read.

The keys of the package's own operators stand in ``config.keys``. An option of somebody else's operator that
has a default is a key, too, ``PRIVACY.DESENSITIZER.<OPTION>``: in the configs that name this operator, and in
no others, so that a run with blur does not depend on which projects were loaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from fastreid.config import CfgNode
from fastreid.utils.registry import Registry

DESENSITIZER_REGISTRY = Registry("DESENSITIZER")

NODE = "PRIVACY.DESENSITIZER"
NAME = f"{NODE}.NAME"
CONVENTIONAL = ("blur", "pixelate", "noise", "mask")  # the paper's
PER_BATCH = ("scale", "seeds", "people", "regions")  # what an operator may want that no config knows
KINDS = (bool, int, float, str, list, tuple)  # of a key's value


def parameters(operator: Callable) -> dict[str, bool]:
    """The names of an operator's parameters besides the images, and whether each must be given."""
    _, *found = inspect.signature(operator).parameters.values()
    return {parameter.name: parameter.default is inspect.Parameter.empty for parameter in found}


def operator_keys(name: object) -> dict[str, object]:
    """What the registered operator of a name reads that has a default: its keys, whole, and the defaults.

    Args:
        name: of the operator; {} where there is none of this name.
    """
    operator = DESENSITIZER_REGISTRY._obj_map.get(name)
    if operator is None:
        return {}
    return {
        f"{NODE}.{parameter.name.upper()}": parameter.default
        for parameter in inspect.signature(operator).parameters.values()
        if parameter.name not in PER_BATCH and isinstance(parameter.default, KINDS)
    }


def added_keys(name: object, package: Mapping[str, object]) -> dict[str, object]:
    """The keys that the registered operator of a name reads and the package does not have, and the defaults.

    Args:
        name: of the operator; {} where there is none of this name.
        package: the keys that the package has in ``PRIVACY.DESENSITIZER``.

    Returns:
        By their names in that node.
    """
    own = {key.rpartition(".")[2]: default for key, default in operator_keys(name).items()}
    return {key: default for key, default in own.items() if key not in package}


def fit_operator(node: CfgNode, package: Mapping[str, object]) -> None:
    """Give the node of the operator the keys that its operator reads, and no other's, in place.

    Keys that are there keep their values. Of an operator that is not registered all keys stay.

    Args:
        node: ``PRIVACY.DESENSITIZER``, with its name.
        package: the keys that the package has there.
    """
    if node.NAME not in DESENSITIZER_REGISTRY._obj_map:
        return
    added = added_keys(node.NAME, package)
    for key in [key for key in node if key not in package and key not in added]:
        del node[key]
    for key, value in added.items():
        node.setdefault(key, value)
