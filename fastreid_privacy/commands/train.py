"""``fastreid-privacy train``: check all that can be checked, then start one process per device."""

from __future__ import annotations

import argparse
import logging
import platform
import sys
from collections.abc import Sequence

import faiss
import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.engine import default_argument_parser
from fastreid.utils import comm
from fastreid.utils.logger import setup_logger

from .. import compat
from ..config import load_config
from ..core.errors import exit_code
from ..core.projects import load_projects
from ..core.version import __version__
from ..training.evaluate_only import evaluate_only
from ..training.experiment import hold_folder, run_experiment
from ..training.preflight import preflight
from ..training.request import TrainingRequest
from ..training.trainer import without_user_error_tracebacks
from .options import add_project_option
from .parsers import command_parser
from .running import check_pairs

logger = logging.getLogger(__name__)


def build_parser(
    name: str = "train", description: str = "Train a model, test it and write its report."
) -> argparse.ArgumentParser:
    """fastreid's options, and ``--output``; ``test`` has them, too."""
    example = "--config-file configs/Synthetic/privacy_agw.yml --output output/demo MODEL.DEVICE cpu"
    parser = command_parser(name, description, example, parser=default_argument_parser())
    # a free port; fastreid's fixed one lets two runs on a machine collide
    parser.set_defaults(dist_url="auto")
    parser.add_argument("--output", metavar="DIR", help="folder of the run: short for OUTPUT_DIR DIR")
    add_project_option(parser)
    return parser


def run(argv: Sequence[str] | None = None) -> int:
    """Run the training command.

    Returns:
        The exit code: 0, 2 after a message on standard error when the user has to mend something, or 130
        after Ctrl-C.
    """
    parser, words = build_parser(), sys.argv[1:] if argv is None else argv
    options = parser.parse_args(words)
    pairs = options.opts
    if options.output is not None:
        if "OUTPUT_DIR" in options.opts[::2]:
            parser.error("--output and OUTPUT_DIR name the same folder: leave out one of them")
        options.opts = [*options.opts, "OUTPUT_DIR", options.output]
    request = request_of(options)

    def train() -> None:
        check_pairs(parser, pairs, words)
        load_projects(request.projects)
        cfg = preflight(request)
        compat.launch(
            main,
            request.processes,
            request.machines,
            request.machine_rank,
            request.dist_url,
            (request,),
            device=cfg.MODEL.DEVICE,
        )

    return exit_code(train, "interrupted; --resume continues from the last checkpoint", os_errors=False)


def request_of(options: argparse.Namespace) -> TrainingRequest:
    """What the options of fastreid's parser ask for."""
    return TrainingRequest(
        config_file=options.config_file,
        overrides=tuple(options.opts),
        eval_only=options.eval_only,
        resume=options.resume,
        processes=options.num_gpus,
        machines=options.num_machines,
        machine_rank=options.machine_rank,
        dist_url=options.dist_url,
        projects=tuple(str(folder.absolute()) for folder in getattr(options, "project", ())),
    )


def main(request: TrainingRequest) -> None:
    """What each process does."""
    load_projects(request.projects)
    cfg = load_config(request.config_file, request.overrides)
    with hold_folder(cfg):
        _run(cfg, request)


def _run(cfg: CfgNode, request: TrainingRequest) -> None:
    for name in ("fastreid", "fastreid_privacy"):
        setup_logger(cfg.OUTPUT_DIR, comm.get_rank(), name=name)
    logging.getLogger("fastreid.engine.train_loop").addFilter(without_user_error_tracebacks)
    logger.info("fastreid_privacy %s on %s, %s; %s", __version__, cfg.MODEL.DEVICE, _versions(), request)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    if cfg.MODEL.DEVICE.startswith("cuda:"):  # one process; of several, each has its GPU from compat.launch
        torch.cuda.set_device(cfg.MODEL.DEVICE)
    if cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cpu":
        logger.info(
            "SOLVER.AMP.ENABLED on the CPU: bfloat16, which is faster only where the CPU has instructions "
            "for it"
        )
    compat.load_batches_onto(cfg.MODEL.DEVICE)
    if request.eval_only:
        evaluate_only(cfg)
    else:
        run_experiment(cfg, request.resume)


def _versions() -> str:
    libraries = ", ".join(f"{library.__name__} {library.__version__}" for library in (torch, np, faiss))
    return f"Python {platform.python_version()}, {libraries}"
