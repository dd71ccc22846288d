"""The templates of protected files for ``retrieve``: an index of them, and what the search key is worth."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..attack.learned_people import model_learned_from_others
from ..attack.subjects import read_subjects, say_unread
from ..core.errors import UserError, say
from ..keys.sealing import SEARCH
from ..retrieval.build import build_from_templates
from ..retrieval.extract import load_extractor
from ..retrieval.index import GalleryIndex
from ..retrieval.settings import measure_settings, settings_table
from .options import add_passphrase_options, refuse_idle_passphrase
from .private_key import read_private_key
from .written import check_target, write_file


def add_search_key_options(parser: argparse.ArgumentParser) -> None:
    """``--search-key``, and where its passphrase comes from."""
    parser.add_argument(
        "--search-key",
        type=Path,
        metavar="PRIVATE_KEY",
        help="search.key of tools/export.py: take the templates that protected files carry",
    )
    add_passphrase_options(parser)


def build_templates(options: argparse.Namespace) -> GalleryIndex:
    """An index of templates; ``--weights`` says of which model they have to be."""
    if options.protect:
        raise UserError(
            "--protect puts images through a network, and --search-key reads templates: leave one out"
        )
    if options.workers:
        raise UserError("--workers are threads of a network, and --search-key runs none: leave one out")
    key = read_private_key(options.search_key, options, SEARCH)
    extract = load_extractor(options.weights, options.device) if options.weights else None
    return build_from_templates(
        options.gallery,
        key,
        options.kind,
        options.metric or (extract.metric if extract else ""),
        model=extract.fingerprint if extract else None,
    )


def measure(options: argparse.Namespace) -> None:
    """Print the four settings, without the key and with it."""
    refuse_idle_passphrase(options, "search_key")
    if options.json:
        check_target(options.json, options.force)
    key = read_private_key(options.search_key, options, SEARCH) if options.search_key else None
    extract = load_extractor(options.weights, options.device)
    subjects = read_subjects(options.raw, options.protected)
    say_unread(subjects)
    if subjects.halved:
        say(
            f"warning: --protected {options.protected} has no bounding_box_train beside its test images: "
            "half of the people count as known to who trained the model, and the others are measured"
        )
    model_learned_from_others(options.weights, subjects.measured, "--weights")
    found = measure_settings(subjects.query, subjects.gallery, extract, key)
    say(settings_table(found), sys.stdout)
    if options.json:
        write_file(options.json, lambda file: file.write(json.dumps(found, indent=1).encode()))
        say(f"figures: {options.json}", sys.stdout)
