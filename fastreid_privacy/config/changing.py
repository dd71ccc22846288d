"""A changed copy of a config: nobody changes the config that somebody else holds."""

from __future__ import annotations

from collections.abc import Mapping

from fastreid.config import CfgNode


def changed(cfg: CfgNode, values: Mapping[str, object]) -> CfgNode:
    """A frozen copy with other values of some keys.

    Args:
        cfg: left as it is.
        values: "A.B.C" → value; the keys exist, and the values are taken as they are.

    Raises:
        KeyError: for a key that the config does not have.

    Example:
        >>> from fastreid_privacy.config import default_config
        >>> changed(default_config(), {"SEED": 7, "TEST.METRIC": "euclidean"}).TEST.METRIC
        'euclidean'
    """
    copy = cfg.clone()
    copy.defrost()
    for key, value in values.items():
        *path, leaf = key.split(".")
        node = copy
        for name in path:
            node = node[name]
        if leaf not in node:
            raise KeyError(key)
        node[leaf] = value
    copy.freeze()
    return copy
