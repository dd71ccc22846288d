"""``fastreid-privacy retrieve``: ``build`` an index of a folder, ``query`` it with pictures, ``measure``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..evaluation.distances import METRICS
from ..retrieval.index import KINDS
from ..retrieval.index_file import LARGEST_SETTING
from .engines import add_engine_options
from .indexing import build
from .options import (
    add_batch_option,
    add_device_option,
    add_project_option,
    add_workers_option,
    at_most,
    positive,
)
from .parsers import command_parser
from .querying import query
from .running import chosen, run_command
from .templates import add_search_key_options, measure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(
        build_parser(),
        argv,
        chosen,
        "interrupted; what was not finished was not written",
    )


def build_parser() -> argparse.ArgumentParser:
    """The options of ``build``, ``query`` and ``measure``."""
    parser = command_parser(
        "retrieve",
        "Find people in a folder of pictures, raw or protected.",
        "build --weights output/demo/model_best.pth --gallery FOLDER --output my.index",
        "query --weights output/demo/model_best.pth --index my.index IMAGE --output strip.png",
    )
    commands = parser.add_subparsers(required=True, metavar="build | query | measure")
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
    build_command = command_parser(
        "retrieve build",
        "Index a folder of pictures.",
        "--weights output/demo/model_best.pth --gallery FOLDER --output my.index",
        "--search-key keys/search.key --gallery PROTECTED --output my.index",
        "--engine ray --address auto --weights release/reid.pth --gallery s3://crops/raw --output my.index",
        parser=commands.add_parser("build", parents=[shared, key], help="index a folder of pictures"),
    )
    build_command.add_argument(
        "--output", "--index", dest="index", metavar="INDEX", type=Path, required=True, help="the index file"
    )
    build_command.add_argument(
        "--gallery",
        required=True,
        help="folder of images, at any depth, or s3://… and what else fsspec opens; tar files, of a folder "
        "or as shards-{000..009}.tar",
    )
    build_command.add_argument(
        "--kind", choices=KINDS, default="flat", help="flat: exact (default); ivfpq: small; hnsw: fast"
    )
    build_command.add_argument(
        "--metric",
        choices=METRICS,
        default="",
        help="default: the one the model was evaluated with (TEST.METRIC); cosine where --weights is missing",
    )
    add_batch_option(build_command, 64)
    add_workers_option(build_command)
    add_engine_options(build_command, "--gallery")
    build_command.set_defaults(action=build)
    query_command = command_parser(
        "retrieve query",
        "Rank the gallery for pictures.",
        "--weights output/demo/model_best.pth --index my.index IMAGE --output strip.png",
        parser=commands.add_parser("query", parents=[shared], help="rank the gallery for pictures"),
    )
    query_command.add_argument("--index", type=Path, required=True, help="the index file")
    query_command.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE", help="pictures to search with, raw or protected"
    )
    query_command.add_argument(
        "--top", type=positive, default=10, help="how many of the gallery to give for each (default 10)"
    )
    query_command.add_argument(
        "--output", type=Path, help="write queries and ranked pictures as one picture, .png or .jpg"
    )
    query_command.add_argument("--json", type=Path, help="write the rankings as JSON")
    query_command.add_argument(
        "--gallery", help="where the gallery is, if it was moved since the index was built"
    )
    query_command.add_argument(
        "--nprobe",
        type=at_most(LARGEST_SETTING),
        help="ivfpq: cells to look through (default: chosen at build)",
    )
    query_command.add_argument(
        "--ef", type=at_most(LARGEST_SETTING), help="hnsw: candidates to keep (default: chosen at build)"
    )
    query_command.set_defaults(action=query)
    measure_command = command_parser(
        "retrieve measure",
        "Rank-1 and mAP of raw and protected images against each other, without and with the search key.",
        "--weights release/reid.pth --raw RAW --protected PROTECTED --search-key keys/search.key",
        parser=commands.add_parser("measure", parents=[key], help="measure the four settings"),
    )
    measure_command.add_argument("--weights", type=Path, required=True, help="reid.pth, or a checkpoint")
    sides = "folder in Market-1501 naming, or a data set that fastreid knows"
    measure_command.add_argument("--raw", required=True, help=f"raw images: a {sides}")
    measure_command.add_argument(
        "--protected", required=True, help="their protected files, of the same names"
    )
    add_device_option(measure_command)
    add_project_option(measure_command)
    measure_command.add_argument("--json", type=Path, help="write the figures as JSON")
    measure_command.add_argument("--force", action="store_true", help="replace a JSON file that exists")
    measure_command.set_defaults(action=measure)
    return parser
