"""The config: its keys, reading it strictly, refusing contradictions before anything is trained.

``keys`` (every key with default, unit and choices), ``values`` (keys that have to be understood), ``checks``
(what is refused), ``loading`` (from files, command lines and checkpoints), ``older`` (what older
versions' configs mean), ``comparing`` (whether two runs may be compared), ``changing`` (a changed copy).
"""

from fastreid.config import CfgNode

from ..core.dotted import value_of
from .changing import changed
from .comparing import METHOD_KEYS, RESUMABLE_KEYS, RUN_KEYS, comparable, differing, flat_keys
from .keys import add_privacy_config, default_config
from .loading import load_config, parse_config
from .older import CUHK03_LABELED, older_values
from .values import (
    DETERMINISTIC,
    RAW,
    RAW_AND_DESENSITIZED,
    given_rank1,
    image_device,
    paper_results,
    resolve_device,
)

__all__ = [
    "CUHK03_LABELED",
    "DETERMINISTIC",
    "METHOD_KEYS",
    "RAW",
    "RAW_AND_DESENSITIZED",
    "RESUMABLE_KEYS",
    "RUN_KEYS",
    "CfgNode",
    "add_privacy_config",
    "changed",
    "comparable",
    "default_config",
    "differing",
    "flat_keys",
    "given_rank1",
    "image_device",
    "load_config",
    "older_values",
    "paper_results",
    "parse_config",
    "resolve_device",
    "value_of",
]
