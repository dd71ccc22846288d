"""Which anonymizer a command line asks for, a trained one or a conventional operator, and what it reads."""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase
from pathlib import Path

from ..checkpoints.fingerprints import anonymizer_fingerprint
from ..checkpoints.image_maps import ImageMap
from ..checkpoints.not_private import check_private
from ..checkpoints.opening import load_anonymizer
from ..collection.guard import Guard
from ..config import CfgNode, changed, image_device, load_config
from ..core.errors import UserError
from ..core.operators import NAME
from ..core.remote import shown
from ..desensitize import Desensitizer
from ..desensitize.desensitizer import REGIONS_KEY, option_keys
from ..model.storage import ImageStorage
from .engines import loading_device

EMBEDDED = "SyntheticPedestrians"
DATASET_KEYS = {  # that a data set of --input reads
    EMBEDDED: "DATASETS.SYNTHETIC.*",
    "MarketFolder": "DATASETS.FOLDER.*",
    "ProtectedCollection": "DATASETS.PROTECTED",
    "CUHK03": "DATASETS.CUHK03.LABELED",
}


def refuse_unread_keys(options: argparse.Namespace) -> None:
    """Refuse KEY VALUE pairs that nothing reads: who gives them believes that they change what is written.

    Raises:
        UserError: naming the key.
    """
    conventional = options.method not in (None, "learned")
    read = option_keys(options.method) if conventional else [REGIONS_KEY]
    if not Path(options.input).exists() and options.input in DATASET_KEYS:
        read.append(DATASET_KEYS[options.input])
    given = f"--method {options.method}" if conventional else "--weights, which have their own options,"
    known = f"read are {', '.join(read)}" if read else "leave it out"
    for key in options.opts[::2]:
        if conventional and key == NAME:
            raise UserError(f"{key} is what --method {options.method} says already: leave it out")
        if not any(fnmatchcase(key, pattern) for pattern in read):
            where = shown(options.input)
            raise UserError(f"{key} would change nothing with {given} and --input {where}: {known}")


def config_of(options: argparse.Namespace) -> CfgNode:
    """The config of a command line: its KEY VALUE pairs, and the operator whose keys they may be."""
    conventional = options.method not in (None, "learned")
    return load_config("", [*([NAME, options.method] if conventional else []), *options.opts])


def image_map_of(options: argparse.Namespace) -> tuple[ImageMap, str]:
    """The anonymizer, and the name of its method: a checkpoint of Base holds a conventional operator."""
    method = options.method or "learned"
    if method == "learned":
        if not options.weights:
            raise UserError(
                "--weights is missing: name the anonymizer, or a conventional operator with --method"
            )
        image_map = load_anonymizer(
            options.weights,
            loading_device(options),
            runtime=options.runtime,
            precision=options.precision,
            regions=_regions(options),
        )
        check_private(image_map, options.weights, options.not_private)
        operator = image_map.operator
        return image_map, operator.name if isinstance(operator, Desensitizer) else "learned"
    if options.weights:
        raise UserError(f"--method {method} uses no weights: leave out --weights, or --method")
    if options.runtime or options.precision != "float32":
        raise UserError(f"--method {method} uses no network: leave out --runtime and --precision")
    if options.not_private:
        raise UserError(f"--method {method} uses no model: leave out --not-private")
    cfg = config_of(options)
    operator = Desensitizer.from_config(cfg)
    size = operator.description.size if operator.description else None  # None: images keep their own
    about = changed(cfg, {"PRIVACY.PROTECTION": "conventional", "INPUT.SIZE_TEST": list(size or ())})
    image_map = ImageMap(
        None, operator, ImageStorage("png"), size, fingerprint=anonymizer_fingerprint({}, about)
    )
    return image_map.to(image_device(loading_device(options), "--device")), method


def _regions(options: argparse.Namespace) -> str | None:
    """DATASETS.REGIONS, where the command line has it."""
    return config_of(options).DATASETS.REGIONS if REGIONS_KEY in options.opts[::2] else None


def guard_of(options: argparse.Namespace, image_map: ImageMap) -> Guard | None:
    """What holds each image to the thresholds; None where nothing is to.

    Raises:
        UserError: when it is asked for, or to be left out, where there is none.
    """
    learned = image_map.network is not None
    if options.guard is not None and not learned:
        raise UserError(
            f"--{'' if options.guard else 'no-'}guard is for trained anonymizers: a conventional operator's "
            "images are what others are held against; leave it out"
        )
    return Guard() if learned and options.guard is not False else None


def refuse_unread_regions(options: argparse.Namespace, image_map: ImageMap, guard: Guard | None) -> None:
    """Refuse regions for a trained anonymizer that nothing asks for them.

    Raises:
        UserError: naming the key.
    """
    if image_map.network is None or image_map.of_regions is not None or _regions(options) is None:
        return
    if guard is None or image_map.constraint is None or not image_map.constraint.desensitizer().needs_regions:
        raise UserError(
            f"{REGIONS_KEY} would change nothing with --weights {options.weights}, whose images need no "
            "regions: leave it out"
        )
