"""``fastreid-privacy retrieve``: ``build`` an index of a folder, ``query`` it with pictures, ``measure``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import UserError, exit_code, one_line, say
from ..core.projects import load_projects
from ..evaluation.distances import METRICS
from ..retrieval.build import build_index
from ..retrieval.extract import Extractor, load_extractor
from ..retrieval.index import EFFORT, KINDS, GalleryIndex
from ..retrieval.index_file import LARGEST_SETTING, read_index, write_index
from ..retrieval.measure import describe, megabytes
from ..retrieval.query import Answer, answers_strip, ask
from ..retrieval.strip import MOST
from .options import (
    LARGEST_BATCH,
    add_device_option,
    add_project_option,
    at_most,
    positive,
    refuse_idle_passphrase,
)
from .parsers import command_parser
from .templates import add_search_key_options, build_templates
from .templates import measure as measure_templates
from .written import check_target, say_some, write_file

PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code (:func:`fastreid_privacy.core.errors.exit_code`)."""
    options = build_parser().parse_args(arguments)
    action = {"build": _build, "query": _query, "measure": measure_templates}[options.command]

    def run() -> None:
        load_projects(options.project)
        action(options)

    return exit_code(run, "interrupted; what was not finished was not written")


def build_parser() -> argparse.ArgumentParser:
    """The options of ``build``, ``query`` and ``measure``."""
    parser = command_parser(
        "retrieve",
        "Find people in a folder of pictures, raw or protected.",
        "build --weights output/demo/model_best.pth --gallery FOLDER --output my.index",
        "query --weights output/demo/model_best.pth --index my.index IMAGE --output strip.png",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--weights", type=Path, help="checkpoint, such as output/demo/model_best.pth, or reid.pth"
    )
    key = argparse.ArgumentParser(add_help=False)
    add_search_key_options(key)
    shared.add_argument(
        "--protect", action="store_true", help="put the images through the checkpoint's anonymizer first"
    )
    add_device_option(shared)
    shared.add_argument("--force", action="store_true", help="replace files that exist")
    add_project_option(shared)
    build = command_parser(
        "retrieve build",
        "Index a folder of pictures.",
        "--weights output/demo/model_best.pth --gallery FOLDER --output my.index",
        "--search-key keys/search.key --gallery PROTECTED --output my.index",
        parser=commands.add_parser("build", parents=[shared, key], help="index a folder of pictures"),
    )
    build.add_argument(
        "--output", "--index", dest="index", metavar="INDEX", type=Path, required=True, help="the index file"
    )
    build.add_argument("--gallery", type=Path, required=True, help="folder of images, at any depth")
    build.add_argument(
        "--kind", choices=KINDS, default="flat", help="flat: exact (default); ivfpq: small; hnsw: fast"
    )
    build.add_argument(
        "--metric",
        choices=METRICS,
        default="",
        help="default: the one the model was evaluated with (TEST.METRIC); cosine where --weights is missing",
    )
    build.add_argument(
        "--batch-size",
        type=at_most(LARGEST_BATCH),
        default=64,
        help=f"images at a time (default 64, at most {LARGEST_BATCH})",
    )
    query = command_parser(
        "retrieve query",
        "Rank the gallery for pictures.",
        "--weights output/demo/model_best.pth --index my.index IMAGE --output strip.png",
        parser=commands.add_parser("query", parents=[shared], help="rank the gallery for pictures"),
    )
    query.add_argument("--index", type=Path, required=True, help="the index file")
    query.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE", help="pictures to search with, raw or protected"
    )
    query.add_argument(
        "--top", type=positive, default=10, help="how many of the gallery to give for each (default 10)"
    )
    query.add_argument(
        "--output", type=Path, help="write queries and ranked pictures as one picture, .png or .jpg"
    )
    query.add_argument("--json", type=Path, help="write the rankings as JSON")
    query.add_argument(
        "--gallery", type=Path, help="the gallery's folder, if it was moved since the index was built"
    )
    query.add_argument(
        "--nprobe",
        type=at_most(LARGEST_SETTING),
        help="ivfpq: cells to look through (default: chosen at build)",
    )
    query.add_argument(
        "--ef", type=at_most(LARGEST_SETTING), help="hnsw: candidates to keep (default: chosen at build)"
    )
    measure = command_parser(
        "retrieve measure",
        "Rank-1 and mAP of raw and protected images against each other, without and with the search key.",
        "--weights release/reid.pth --raw RAW --protected PROTECTED --search-key keys/search.key",
        parser=commands.add_parser("measure", parents=[key], help="measure the four settings"),
    )
    measure.add_argument("--weights", type=Path, required=True, help="reid.pth, or a checkpoint")
    sides = "folder in Market-1501 naming, or a data set that fastreid knows"
    measure.add_argument("--raw", required=True, help=f"raw images: a {sides}")
    measure.add_argument("--protected", required=True, help="their protected files, of the same names")
    add_device_option(measure)
    add_project_option(measure)
    measure.add_argument("--json", type=Path, help="write the figures as JSON")
    measure.add_argument("--force", action="store_true", help="replace a JSON file that exists")
    return parser


def _build_pictures(options: argparse.Namespace) -> GalleryIndex:
    """An index of what the model sees."""
    extract = _extractor(options.weights, options.device, options.protect)
    return build_index(
        options.gallery,
        extract,
        options.kind,
        options.metric,
        protect=options.protect,
        batch_size=options.batch_size,
    )


def _build(options: argparse.Namespace) -> None:
    check_target(options.index, options.force)
    refuse_idle_passphrase(options, "search_key")
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


def _query(options: argparse.Namespace) -> None:
    if not options.weights:
        raise UserError("--weights is missing: name the Re-ID model that the index was built with")
    for target in filter(None, (options.output, options.json)):
        check_target(target, options.force)
    inputs = {path.resolve() for path in (options.index, options.weights, *map(Path, options.images))}
    targets = [path.resolve() for path in (options.output, options.json) if path]
    if len(set(targets)) < len(targets) or inputs & set(targets):
        raise UserError(
            "--output and --json must be files of their own, and none of the index, the weights and the "
            "queries"
        )
    if options.output and options.output.suffix.lower() not in PICTURES:
        raise UserError(
            f"--output {options.output} is no picture's name; let it end in {', '.join(PICTURES)}"
        )
    index = read_index(options.index)
    root = options.gallery.absolute() if options.gallery else index.root
    if options.gallery and not root.is_dir():
        raise UserError(f"gallery {root} is no folder")
    effort = _effort(index, options)
    extract = _extractor(
        options.weights, options.device, options.protect or (index.protected and options.output is not None)
    )
    answers = ask(index, extract, options.images, top=options.top, protect=options.protect, effort=effort)
    for answer in answers:
        _print_answer(answer, index)
    _say_what_lacks(options.top, answers, index)
    if options.json:
        write_file(options.json, lambda file: file.write(_as_json(answers, index, options.protect)))
        say(f"rankings: {options.json}", sys.stdout)
    if options.output:
        picture, missing = answers_strip(answers, index, extract, root, protect=options.protect)
        write_file(
            options.output,
            lambda file: picture.save(file, PICTURES[options.output.suffix.lower()], quality=95),
        )
        if missing:
            say(
                f"warning: grey in {options.output}, for {root} holds no readable picture of that name "
                "(say with --gallery where the folder is now):"
            )
            say_some(missing)
        if any(len(answer.paths) > MOST for answer in answers):
            say(f"{options.output} shows the first {MOST} of each query", sys.stdout)
        say(f"picture: {options.output}", sys.stdout)


def _extractor(weights: Path | None, device: str, anonymizes: bool) -> Extractor:
    if weights is None:
        raise UserError("--weights is missing: name a checkpoint, or the key of templates with --search-key")
    extract = load_extractor(weights, device)
    if anonymizes and not extract.anonymizes:
        raise UserError(
            f"{weights} holds no anonymizer, as one trained without protected images, or reid.pth: leave out "
            "--protect"
        )
    return extract


def _effort(index: GalleryIndex, options: argparse.Namespace) -> int | None:
    own = EFFORT.get(index.kind)
    for name in EFFORT.values():
        if name != own and getattr(options, name) is not None:
            raise UserError(
                f"--{name} does nothing for {options.index}, an index of kind {index.kind}: leave it out"
            )
    return getattr(options, own) if own else None


def _print_answer(answer: Answer, index: GalleryIndex) -> None:
    score = {"cosine": "cosine", "euclidean": "distance"}[index.metric]
    say(f"\nquery {one_line(answer.query)}\n{'rank':>5} {score:>9}  person     image", sys.stdout)
    for rank, (value, path, same) in enumerate(
        zip(answer.scores, answer.paths, answer.same_person, strict=True), start=1
    ):
        person = {True: "same", False: "different", None: "-"}[same]
        say(f"{rank:5} {value:9.4f}  {person:9}  {one_line(path)}", sys.stdout)


def _say_what_lacks(top: int, answers: Sequence[Answer], index: GalleryIndex) -> None:
    fewest = min(len(answer.paths) for answer in answers)
    if top > len(index.paths):
        say(f"\n--top {top} is more than the gallery's {len(index.paths)} images: all are ranked")
    if fewest < min(top, len(index.paths)):
        say(f"\nonly {fewest} images were found: raise --{EFFORT[index.kind]} to search more of the index")


def _as_json(answers: Sequence[Answer], index: GalleryIndex, protect: bool) -> bytes:
    """The rankings for ``--json``, UTF-8.

    {"gallery", "kind", "metric", "gallery_protected", "query_protected",
    "queries": [{"query", "ranks": [{"rank", "score", "image", "same_person"}, …]}, …]}.
    """
    queries = []
    for answer in answers:
        found = enumerate(zip(answer.scores, answer.paths, answer.same_person, strict=True), start=1)
        ranks = [
            {"rank": rank, "score": score, "image": path, "same_person": same}
            for rank, (score, path, same) in found
        ]
        queries.append({"query": str(answer.query), "ranks": ranks})
    described = {
        "gallery": str(index.root),
        "kind": index.kind,
        "metric": index.metric,
        "gallery_protected": index.protected,
        "query_protected": protect,
        "queries": queries,
    }
    return json.dumps(described, indent=1).encode()
