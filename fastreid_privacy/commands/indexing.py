"""``retrieve build``: an index of a folder of pictures, or of their templates."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from ..cluster.galleries import RayFeatures
from ..core.errors import UserError, say
from ..retrieval.build import build_index
from ..retrieval.extract import Extractor, load_extractor
from ..retrieval.features import Engine, Threads
from ..retrieval.index import GalleryIndex
from ..retrieval.index_file import write_index
from ..retrieval.measure import describe, megabytes
from .engines import loading_device, on_cluster, refuse_cluster
from .options import refuse_idle_passphrase
from .templates import build_templates
from .written import check_target, say_some


def build(options: argparse.Namespace) -> None:
    """Write an index of a folder, and say what is in it and what is not."""
    check_target(options.index, options.force)
    refuse_idle_passphrase(options, "search_key")
    if options.search_key:
        refuse_cluster(options, "templates")
    start = time.perf_counter()
    index = (build_templates if options.search_key else _build_pictures)(options)
    write_index(index, options.index)
    folders = [reason for path, reason in index.left_out.items() if path.endswith("/")]
    unread = [reason for path, reason in index.left_out.items() if not path.endswith("/")]
    seconds, files = time.perf_counter() - start, len(index.paths) + len(unread)
    say(
        f"{len(index.paths):,} of {files:,} images of {index.root} indexed in {seconds:.1f} s "
        f"({files / seconds:.0f} images/s): {index.kind}, {index.metric}"
        f"{', protected first' if index.protected else ''}, {index.searched.d} dimensions, "
        f"{megabytes(index.searched):.1f} MiB",
        sys.stdout,
    )
    if unread:
        why = "they have no template that can be used" if options.search_key else "they cannot be read"
        say(f"warning: {len(unread):,} of {files:,} images are not in the index, for {why}:")
        say_some(unread)
    if folders:
        say(f"warning: {len(folders):,} folders were not searched, and their images are not in the index:")
        say_some(folders)
    if index.measured:
        say(describe(index.measured, index.kind, index.settings), sys.stdout)
    say(f"index: {options.index}", sys.stdout)
    if unread and options.search_key:
        raise UserError(
            f"{len(unread):,} images have no template that can be used: this index cannot find them"
        )


def extractor_of(weights: Path | None, device: str, anonymizes: bool) -> Extractor:
    """The model of ``--weights``.

    Args:
        weights: the option.
        device: likewise.
        anonymizes: whether it has to hold an anonymizer.

    Raises:
        UserError: when it is missing, or holds none.
    """
    if weights is None:
        raise UserError("--weights is missing: name a checkpoint, or the key of templates with --search-key")
    extract = load_extractor(weights, device)
    if anonymizes and not extract.anonymizes:
        raise UserError(
            f"{weights} holds no anonymizer, as one trained without protected images, or reid.pth: leave out "
            "--protect"
        )
    return extract


def _build_pictures(options: argparse.Namespace) -> GalleryIndex:
    """An index of what the model sees."""
    engine: Engine = Threads(options.workers)
    if on_cluster(options):
        engine = RayFeatures(options.address, options.workers or 1, options.device)
    extract = extractor_of(options.weights, loading_device(options), options.protect)
    return build_index(
        options.gallery,
        extract,
        options.kind,
        options.metric,
        protect=options.protect,
        batch_size=options.batch_size,
        engine=engine,
    )
