"""The training command: read the config, check everything that can be checked, then start one process per device."""

from __future__ import annotations

import argparse
import logging
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.engine import default_argument_parser
from fastreid.utils import comm
from fastreid.utils.logger import setup_logger

from . import __version__, compat, data
from .checkpoint import read_checkpoint
from .config import load_config
from .errors import UserError
from .experiment import evaluate_only, run_experiment
from .trainer import without_user_error_tracebacks


def run(argv: Sequence[str] | None = None) -> int:
    """Run the training command and return its exit code: 0, or 2 after a message on standard error when the user has to mend something."""
    args = default_argument_parser().parse_args(argv)
    try:
        cfg = preflight(args)
        compat.launch(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, (args,), device=cfg.MODEL.DEVICE)
    except UserError as error:
        print(f"error: {user_message(error)}", file=sys.stderr)
        return 2
    except torch.multiprocessing.ProcessRaisedException as error:
        if "UserError" not in str(error) and "TrainingDiverged" not in str(error):
            raise
        print(f"error: {user_message(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; --resume continues from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def preflight(args: argparse.Namespace) -> CfgNode:
    """Everything that can be found wrong before training, found in the parent process.

    Raises:
        UserError: naming what is missing or contradicting.
    """
    cfg = load_config(args.config_file, args.opts)
    if args.num_gpus < 1:
        raise UserError(f"--num-gpus is {args.num_gpus}; give at least 1 (on a CPU: the number of processes)")
    if cfg.MODEL.DEVICE.startswith("cuda") and args.num_gpus > torch.cuda.device_count():
        raise UserError(f"--num-gpus {args.num_gpus}, but torch sees {torch.cuda.device_count()} GPUs here")
    processes = args.num_gpus * args.num_machines
    for key, size in (("SOLVER.IMS_PER_BATCH", cfg.SOLVER.IMS_PER_BATCH), ("TEST.IMS_PER_BATCH", cfg.TEST.IMS_PER_BATCH)):
        if size % processes:
            raise UserError(f"{key} {size} cannot be shared by {processes} processes; make it a multiple")
    if cfg.SOLVER.IMS_PER_BATCH // processes % cfg.DATALOADER.NUM_INSTANCE and "Identity" in cfg.DATALOADER.SAMPLER_TRAIN:
        raise UserError(f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} on {processes} processes leaves "
                        f"{cfg.SOLVER.IMS_PER_BATCH // processes} images each, no multiple of DATALOADER.NUM_INSTANCE "
                        f"{cfg.DATALOADER.NUM_INSTANCE}")  # fmt: skip
    if cfg.MODEL.WEIGHTS:
        read_checkpoint(cfg.MODEL.WEIGHTS)
    try:
        Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"OUTPUT_DIR {cfg.OUTPUT_DIR} cannot be made: {error.strerror}") from None
    data.check_datasets(cfg)
    return cfg


def main(args: argparse.Namespace) -> None:
    """What each process does."""
    cfg = load_config(args.config_file, args.opts)
    for name in ("fastreid", "fastreid_privacy"):
        setup_logger(cfg.OUTPUT_DIR, comm.get_rank(), name=name)
    logging.getLogger("fastreid.engine.train_loop").addFilter(without_user_error_tracebacks)
    logging.getLogger(__name__).info("fastreid_privacy %s on %s, %s; arguments: %s", __version__, cfg.MODEL.DEVICE, _versions(), args)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    if cfg.SOLVER.AMP.ENABLED and not cfg.MODEL.DEVICE.startswith("cuda"):
        logging.getLogger(__name__).info("SOLVER.AMP.ENABLED has no effect on %s: training in float32", cfg.MODEL.DEVICE)
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SOLVER.AMP.ENABLED = False
        cfg.freeze()
    compat.loader_device = cfg.MODEL.DEVICE
    if args.eval_only:
        evaluate_only(cfg)
    else:
        run_experiment(cfg, args.resume)


def _versions() -> str:
    return f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}, faiss {faiss.__version__}"


def user_message(error: Exception) -> str:
    """The message of a user error, also when it comes out of a loader's worker or a spawned process wrapped in their tracebacks."""
    return re.split(r"(?:UserError|TrainingDiverged): ", str(error))[-1].strip()
