"""``fastreid-privacy anonymize``: a folder of images, a data set or a video to protected files."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..checkpoints.image_maps import ImageMap
from ..collection.elsewhere import source_elsewhere
from ..collection.protect import ProtectionOptions, protect_collection
from ..collection.review import WITHHELD, read_review
from ..collection.source import Source, dataset_source, folder_source, is_dataset, read_pseudonym_key
from ..core.errors import NAMED, UserError, one_line, say, some_of
from ..core.remote import RemotePath, place_of
from ..desensitize import DESENSITIZER_REGISTRY
from ..desensitize.regions import REGION
from ..manifest import KEPT, MANIFEST
from ..model.storage import ImageStorage
from ..video.live_input import is_live, is_video, refuse_other_streams
from .anonymizer import EMBEDDED, config_of, guard_of, image_map_of, refuse_unread_keys, refuse_unread_regions
from .engines import add_engine_options, engine_of, refuse_cluster
from .live import add_live_options, anonymize_live
from .options import (
    add_not_private_option,
    add_project_option,
    add_run_options,
    add_tars_option,
    refuse_tars,
    say_accounted,
    say_guarded,
)
from .parsers import command_parser, place, refuse_stores
from .running import run_command
from .sealing import add_sealing_options, refuse_sealing_options, say_carried, sealing
from .video import FORMATS, add_video_options, anonymize_video, refuse_video_options
from .written import report_failed, say_some


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    interrupted = "interrupted; the same command continues"
    return run_command(build_parser(), argv, _anonymize, interrupted, intermixed=True)


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        "anonymize",
        "Protect a folder of images, a data set or a video. A killed run continues.",
        "--weights release/anonymizer.safetensors --input RAW --output PROTECTED",
        "--method blur --input RAW --output PROTECTED PRIVACY.DESENSITIZER.BLUR_SIGMA 8",
        "--method blur --input RAW --output PROTECTED --seal keys/identity.pub --carry pixels",
        "--method blur --input RAW --output PROTECTED --search keys/search.pub --reid release/reid.pth",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="anonymizer.safetensors or .onnx of tools/export.py, or a checkpoint (model_best.pth)",
    )
    parser.add_argument(
        "--input",
        required=True,
        help="folder of images, at any depth, or s3://… and what else fsspec opens; tar files, of a folder "
        "or as shards-{000..009}.tar; name of a data set under FASTREID_DATASETS; a video; or a live input "
        "(camera:0, rtsp://…)",
    )
    parser.add_argument(
        "--output",
        type=place,
        required=True,
        help="folder for the protected files and manifest.jsonl: new, empty or continued; or s3://… and what "
        "else fsspec opens",
    )
    parser.add_argument(
        "--method",
        help="learned (default), or a conventional operator, which needs no --weights: "
        + ", ".join(sorted(DESENSITIZER_REGISTRY._obj_map)),
    )
    parser.add_argument(
        "--format",
        choices=("png", "jpg", *FORMATS),
        help="of the files: png (default) or jpg; of a video: mkv (default) or mp4",
    )
    parser.add_argument("--quality", type=int, help="of jpg files, 1 to 100 (default 90)")
    parser.add_argument(
        "--pseudonymize",
        type=Path,
        metavar="KEYFILE",
        help="rename files by a hash keyed with this file's content",
    )
    add_sealing_options(parser)
    parser.add_argument(
        "--renew",
        action="store_true",
        help="protect raw files anew that were replaced under their old name; what was written of them is "
        "replaced, sealed originals too",
    )
    parser.add_argument(
        "--guard",
        action=argparse.BooleanOptionalAction,
        help="of trained anonymizers (default: on): an image that shows more of the raw one, in PSNR or "
        "SSIM, than its desensitized image and the model's thresholds allow is blended towards that one",
    )
    parser.add_argument(
        "--review",
        type=Path,
        metavar="FILE",
        help="decisions of the app: images of which a person said no are withheld: removed where they are "
        "there, and named in the manifest",
    )
    add_not_private_option(parser)
    add_tars_option(parser)
    add_run_options(parser)
    add_engine_options(parser)
    add_project_option(parser)
    add_video_options(parser)
    add_live_options(parser)
    parser.add_argument(
        "opts",
        nargs="*",
        metavar="KEY VALUE",
        help="of the operator of --method, or of the data set of --input: PRIVACY.DESENSITIZER.BLUR_SIGMA 8; "
        "others are refused",
    )
    return parser


def _anonymize(options: argparse.Namespace) -> None:
    refuse_other_streams(options.input)
    refuse_unread_keys(options)
    refuse_sealing_options(options)
    image_map, method = image_map_of(options)
    guard = guard_of(options, image_map)
    refuse_unread_regions(options, image_map, guard)
    protection = ProtectionOptions(
        method=method,
        batch_size=options.batch_size,
        workers=options.workers,
        pseudonym_key=read_pseudonym_key(options.pseudonymize) if options.pseudonymize else None,
        **sealing(options),
        renew=options.renew,
        guard=guard,
        tar_images=options.tars,
    )
    review = read_review(options.review) if options.review else None
    if is_video(options.input):
        refuse_cluster(options, "a video")
        refuse_stores(options, "a video")
        refuse_tars(options, "a video")
        if review:
            raise UserError("--review is of images, and --input is a video: leave it out")
        _warn_of_origin(options, image_map)
        (anonymize_live if is_live(options.input) else anonymize_video)(options, image_map, protection)
        return
    refuse_video_options(options)
    if is_dataset(options.input) and not Path(options.input).is_dir():
        refuse_tars(options, "a data set by its name, which is read as single files again")
    source = _source(options)
    storage = _storage(options)
    _warn(options, image_map, source, storage)
    engine = engine_of(options)
    done, failed, unmade = protect_collection(
        source, options.output, image_map, storage, protection, engine, review
    )
    withheld = [path for path, reason in failed.items() if reason == WITHHELD]
    say(
        f"{len(done.entries):,} of {len(source.paths):,} images protected: {options.output / MANIFEST}",
        sys.stdout,
    )
    found = Counter(entry[REGION] for entry in done.entries.values() if REGION in entry)
    if found:
        told = ", ".join(f"{source} {count:,}" for source, count in sorted(found.items()))
        say(f"what told their regions: {told}", sys.stdout)
    say_guarded(protection.guard, [entry[KEPT] for entry in done.entries.values() if KEPT in entry])
    say_carried(options, done.entries.values())
    say_accounted(done)
    if withheld:
        say(f"{len(withheld):,} images withheld, as {options.review} says:")
        say_some(sorted(withheld))
    if unmade:
        say(f"{options.review} also decides about images that --input does not have; a no stays withheld:")
        say_some(unmade)
    others = {path: reason for path, reason in failed.items() if reason != WITHHELD}
    report_failed({**source.unread, **others}, "protected")


def _source(options: argparse.Namespace) -> Source:
    known = is_dataset(options.input)
    if not known and (found := source_elsewhere(options.input)):
        return found
    root = place_of(options.input)
    assert isinstance(root, Path)  # stores are elsewhere
    here = None if isinstance(options.output, RemotePath) else options.output
    if known and not root.is_dir():
        return dataset_source(config_of(options), options.input, here)
    return folder_source(root, output=here)


def _storage(options: argparse.Namespace) -> ImageStorage:
    if options.format in (None, "png"):
        if options.quality is not None:
            raise UserError("--quality is for --format jpg; png is lossless")
        return ImageStorage("png")
    return ImageStorage(f"jpeg{90 if options.quality is None else options.quality}")


def _warn(options: argparse.Namespace, image_map: ImageMap, source: Source, storage: ImageStorage) -> None:
    trained_for = image_map.storage.name
    if image_map.network is not None and trained_for not in (storage.name, "none"):
        say(
            f"warning: this model was trained for {trained_for} files; recovery and Re-ID on {storage.name} "
            "files are worse than they could be"
        )
    _warn_of_origin(options, image_map)
    if source.others:
        names = some_of(list(map(one_line, source.others)), NAMED)
        say(f"left out, for they are no images: {names}")


def _warn_of_origin(options: argparse.Namespace, image_map: ImageMap) -> None:
    embedded = options.input == EMBEDDED or any(
        part.startswith(f"{EMBEDDED}-v") for part in Path(options.input).absolute().parts
    )
    if image_map.trained_on == (EMBEDDED,) and not embedded:
        say(
            "warning: this model was trained on rendered people only: on photographs it neither protects "
            "nor recovers as measured; train it on photographs first"
        )
