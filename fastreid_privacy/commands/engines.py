"""The options that say where images are worked on: in this process, or on a cluster."""

from __future__ import annotations

import argparse

from ..cluster import RayEngine
from ..collection.shards import engine_here
from ..collection.work import Engine
from ..core.errors import UserError

THREADS, RAY = "threads", "ray"


def add_engine_options(parser: argparse.ArgumentParser, seen: str = "--input and --output") -> None:
    """``--engine`` and ``--address``.

    Args:
        parser: of the command.
        seen: the options whose places all machines of a cluster have to see.
    """
    parser.add_argument(
        "--engine",
        choices=(THREADS, RAY),
        default=THREADS,
        help=f"threads of this process (default), or ray: the machines of a cluster, which all see {seen}",
    )
    parser.add_argument(
        "--address",
        help="of --engine ray: HOST:PORT of a cluster that runs, or auto on one of its machines (default: "
        "one is started on this machine, and ended again)",
    )


def on_cluster(options: argparse.Namespace) -> bool:
    """Whether a cluster does the work; networks are then loaded on the CPU here.

    Raises:
        UserError: when options of a cluster are given without one, or a GPU is named that Ray is to choose.
    """
    if options.engine != RAY and options.address:
        raise UserError("--address goes with --engine ray: leave it out")
    if options.engine == RAY and options.device.startswith("cuda:"):
        raise UserError(
            f"--engine ray chooses the GPU of each task: give --device cuda, not {options.device}"
        )
    return options.engine == RAY


def loading_device(options: argparse.Namespace) -> str:
    """Where this process has networks: those of a cluster's tasks are elsewhere."""
    return "cpu" if on_cluster(options) else options.device


def engine_of(options: argparse.Namespace) -> Engine:
    """What does the work."""
    if on_cluster(options):
        return RayEngine(options.address, options.workers or 1, options.device)
    return engine_here(options.output, options.workers, in_tars=options.tars > 0)


def refuse_cluster(options: argparse.Namespace, what: str) -> None:
    """Refuse a cluster for what one process does.

    Args:
        options: parsed.
        what: this is.

    Raises:
        UserError: naming it.
    """
    if on_cluster(options):
        raise UserError(
            f"--engine ray does whole collections and galleries of images, not {what}: leave it out"
        )
