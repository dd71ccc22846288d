"""``retrieve query``: the gallery ranked for pictures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import UserError, one_line, say
from ..retrieval.gallery import check_root, gallery_root, refuse_unnamed
from ..retrieval.index import EFFORT, GalleryIndex
from ..retrieval.index_file import read_index
from ..retrieval.query import Answer, answers_strip, ask
from ..retrieval.strip import MOST
from .indexing import extractor_of
from .written import check_target, say_some, write_file

PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def query(options: argparse.Namespace) -> None:
    """Rank the gallery for pictures; as text, as JSON, as a picture."""
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
    root = gallery_root(options.gallery) if options.gallery else index.root
    if options.gallery:
        check_root(root)
    elif options.output:
        refuse_unnamed(root)
    effort = _effort(index, options)
    extract = extractor_of(
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
                "(say with --gallery where they are now):"
            )
            say_some(missing)
        if any(len(answer.paths) > MOST for answer in answers):
            say(f"{options.output} shows the first {MOST} of each query", sys.stdout)
        say(f"picture: {options.output}", sys.stdout)


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
