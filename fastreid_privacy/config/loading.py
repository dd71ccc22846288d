"""Configs from files, command lines and checkpoints, read strictly."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from fastreid.config import CfgNode

from ..core.errors import UserError, named
from ..core.operators import DESENSITIZER_REGISTRY, KINDS, NAME, NODE, fit_operator, operator_keys
from ..core.registry import lookup
from .checks import check_bounds, check_privacy_config
from .comparing import flat_keys
from .keys import default_config
from .older import older_values

LONGEST_CONFIG = 1_000_000  # characters of one that a checkpoint carries
# Of what a list is that is empty by default.
ELEMENTS = {"MODEL.FREEZE_LAYERS": str, "PRIVACY.DESENSITIZER.MASK_REGION": float}


def load_config(config_file: str | Path = "", opts: Sequence[str] = ()) -> CfgNode:
    """Read a config file and command-line overrides strictly, resolve the device, check, and freeze.

    Args:
        config_file: a YAML file in fastreid's format (``_BASE_`` names the file it extends); empty: the
            defaults.
        opts: trailing ``KEY VALUE`` pairs of the command line.

    Raises:
        UserError: for a missing or malformed file, an unknown key (with the nearest known one), a value of
            another type, or settings that contradict each other.
    """
    cfg = default_config()
    if config_file:
        path = Path(config_file)
        if not path.is_file():
            raise UserError(f"config file {path} does not exist")
        try:
            loaded = CfgNode.load_yaml_with_base(str(path))
        except FileNotFoundError as error:
            raise UserError(f"{path} extends a config file that does not exist: {error.filename}") from None
        except Exception as error:  # YAML errors are of many types
            raise UserError(f"{path} is not a config file: {' '.join(str(error).split())}") from None
        if not isinstance(loaded, dict):
            raise UserError(f"{path} is not a config file: it holds no KEY: value lines")
        _assign(cfg, flat_keys(loaded), str(path))
    opts = list(opts)
    if len(opts) % 2:
        raise UserError(f"the overrides must be KEY VALUE pairs; {opts[-1]} has no value")
    _assign(cfg, dict(zip(opts[0::2], opts[1::2], strict=True)), "the command line")
    _fit_operator(cfg)
    check_privacy_config(cfg, default_config())
    cfg.freeze()
    return cfg


def parse_config(text: str, source: str) -> CfgNode:
    """A config from its YAML dump, as a checkpoint carries it.

    It is read as strictly as a file, and its sizes are bounded; it is not frozen. Where an older version
    wrote it, keys that it lacks have that version's values.

    Args:
        text: what ``cfg.dump()`` gave. (fastreid's ``merge_from_other_cfg`` cannot read it back: it takes the
            text "50" for a number.)
        source: where it comes from, for messages.

    Raises:
        UserError: when it is no such text, or has a key or a value that no config of this version has or
            allows.
    """
    cfg = default_config()
    try:
        # cfg.dump() gives neither so much text nor aliases, which could fill the memory when they are nested
        if len(text) > LONGEST_CONFIG:
            raise ValueError
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ValueError
        keys = flat_keys(CfgNode.load_cfg(text))
    except Exception as error:  # of yaml or yacs: a part of a checkpoint has no checksum of its own
        raise UserError(f"the config that {source} carries is damaged ({type(error).__name__})") from None
    if keys.get(NAME) not in DESENSITIZER_REGISTRY._obj_map:  # of a project that is not named: as they are
        for key in keys.keys() - flat_keys(cfg).keys():
            if key.rpartition(".")[0] == NODE and isinstance(keys[key], KINDS):
                cfg.PRIVACY.DESENSITIZER[key.rpartition(".")[2]] = keys[key]
    _assign(cfg, {**older_values(keys), **keys}, source)
    _fit_operator(cfg)
    with named(f"the config that {source} carries"):
        check_bounds(cfg)
    return cfg


def _assign(cfg: CfgNode, values: dict[str, object], source: str) -> None:
    """Set leaves by name, refusing unknown keys and values of another type.

    Whole numbers may stand for floats, lists for tuples.
    """
    operator = values.get(NAME, cfg.PRIVACY.DESENSITIZER.NAME)
    for key, default in operator_keys(operator).items():
        cfg.PRIVACY.DESENSITIZER.setdefault(key.rpartition(".")[2], default)
    known = flat_keys(cfg)
    for key, value in values.items():
        if key not in known:
            if key.rpartition(".")[0] == NODE:
                lookup(DESENSITIZER_REGISTRY, str(operator), NAME)  # its keys come with it
            near = difflib.get_close_matches(key.upper(), list(known), n=1, cutoff=0.0)[0]
            raise UserError(f"unknown config key {key} in {source}; the nearest known key is {near}")
        old, value = known[key], CfgNode._decode_cfg_value(value)
        if isinstance(old, list | tuple) and isinstance(value, list | tuple):
            _check_elements(key, value, old, source)
            value = type(old)(value)
        elif isinstance(old, float) and type(value) is int and abs(value) <= sys.float_info.max:
            value = float(value)
        elif key == "PRIVACY.UPGRADE.BASELINE_RANK1":  # a word, a path or a number
            value = str(value)
        elif type(value) is not type(old):
            raise UserError(
                f"{key} is {value!r} in {source}; it must be of type {type(old).__name__}, as its default "
                f"{old!r}"
            )
        *path, leaf = key.split(".")
        node = cfg
        for name in path:
            node = node[name]
        node[leaf] = value


def _fit_operator(cfg: CfgNode) -> None:
    fit_operator(cfg.PRIVACY.DESENSITIZER, default_config().PRIVACY.DESENSITIZER)


def _check_elements(key: str, value: Sequence, default: Sequence, source: str) -> None:
    """Refuse elements of another type than the default's, where these are of one type."""
    kinds = {ELEMENTS[key]} if key in ELEMENTS else {type(element) for element in default}
    if len(kinds) != 1:
        return
    (kind,) = kinds
    allowed = (float, int) if kind is float else (kind,)
    for element in value:
        if type(element) not in allowed:
            raise UserError(
                f"{key} is {value!r} in {source}; its elements must be of type {kind.__name__}, which "
                f"{element!r} is not"
            )
