"""The training command: read the config, check everything that can be checked, then start one process per
device."""

from __future__ import annotations

import argparse
import logging
import platform
from collections.abc import Sequence

import faiss
import numpy as np
import torch
from fastreid.engine import default_argument_parser
from fastreid.utils import comm
from fastreid.utils.logger import setup_logger

from .. import compat
from ..config import load_config
from ..core.errors import exit_code
from ..core.version import __version__
from ..training.evaluate_only import evaluate_only
from ..training.experiment import run_experiment
from ..training.preflight import preflight
from ..training.trainer import without_user_error_tracebacks
from .parsers import command_parser


def build_parser(
    name: str = "train", description: str = "Train a model, test it and write its report."
) -> argparse.ArgumentParser:
    """fastreid's options, and ``--output``; ``test`` has them, too."""
    example = "--config-file configs/Synthetic/privacy_agw.yml --output output/demo MODEL.DEVICE cpu"
    parser = command_parser(name, description, example, parser=default_argument_parser())
    # a free port; fastreid's fixed one lets two runs on a machine collide
    parser.set_defaults(dist_url="auto")
    parser.add_argument("--output", metavar="DIR", help="folder of the run: short for OUTPUT_DIR DIR")
    return parser


def run(argv: Sequence[str] | None = None) -> int:
    """Run the training command and return its exit code: 0, or 2 after a message on standard error when the
    user has to mend something."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.output is not None:
        if "OUTPUT_DIR" in args.opts[::2]:
            parser.error("--output and OUTPUT_DIR name the same folder: leave out one of them")
        args.opts = [*args.opts, "OUTPUT_DIR", args.output]

    def train() -> None:
        cfg = preflight(args)
        compat.launch(
            main,
            args.num_gpus,
            args.num_machines,
            args.machine_rank,
            args.dist_url,
            (args,),
            device=cfg.MODEL.DEVICE,
        )

    return exit_code(train, "interrupted; --resume continues from the last checkpoint", os_errors=False)


def main(args: argparse.Namespace) -> None:
    """What each process does."""
    cfg = load_config(args.config_file, args.opts)
    for name in ("fastreid", "fastreid_privacy"):
        setup_logger(cfg.OUTPUT_DIR, comm.get_rank(), name=name)
    logging.getLogger("fastreid.engine.train_loop").addFilter(without_user_error_tracebacks)
    logging.getLogger(__name__).info(
        "fastreid_privacy %s on %s, %s; arguments: %s", __version__, cfg.MODEL.DEVICE, _versions(), args
    )
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    if cfg.MODEL.DEVICE.startswith("cuda:"):  # one process; of several, each has its GPU from compat.launch
        torch.cuda.set_device(cfg.MODEL.DEVICE)
    if cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cpu":
        logging.getLogger(__name__).info(
            "SOLVER.AMP.ENABLED on the CPU: bfloat16, which is faster only where the CPU has instructions "
            "for it"
        )
    compat.load_batches_onto(cfg.MODEL.DEVICE)
    if args.eval_only:
        evaluate_only(cfg)
    else:
        run_experiment(cfg, args.resume)


def _versions() -> str:
    libraries = ", ".join(f"{library.__name__} {library.__version__}" for library in (torch, np, faiss))
    return f"Python {platform.python_version()}, {libraries}"
