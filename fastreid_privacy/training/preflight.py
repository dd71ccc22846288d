"""What can be found wrong before training is found here, in the parent process, from the cheapest check to
the dearest.

In order: config (``config.load_config``), processes, names, files of other runs, data, the model with its
weights, and the folder to write to. Nothing is written before all of it has passed.
"""

from __future__ import annotations

import argparse
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.layers import any_softmax, pooling
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline
from torch import nn

from .. import data
from ..checkpoints.reading import load_matching_weights, read_checkpoint
from ..checkpoints.rebuilding import check_complete, classes_of
from ..compat.checkpoints import load_safely
from ..config import load_config
from ..core.errors import UserError
from ..core.registry import lookup
from ..desensitize.desensitizer import DESENSITIZER_REGISTRY
from ..evaluation.lpips import check_lpips
from ..model.meta_arch import PrivacyStages
from ..networks import DISCRIMINATOR_REGISTRY, GENERATOR_REGISTRY
from . import solver
from .evaluate_only import checkpoint_to_evaluate, compared_results
from .siblings import check_outputs
from .trainer import PrivacyTrainer

# fastreid has one more, SetReWeightSampler, which waits for a batch of a size that it has ruled out
# (triplet_sampler.py:127, 179).
SAMPLERS = ("NaiveIdentitySampler", "BalancedIdentitySampler", "TrainingSampler", "ImbalancedDatasetSampler")
LOSSES = ("CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface")
NOT_FOR_US = (
    "LBFGS",
    "Muon",
    "SparseAdam",
)  # optimizers that need a closure, matrices only, or sparse gradients


def preflight(args: argparse.Namespace) -> CfgNode:
    """Check a command line as far as it can be checked without training.

    Args:
        args: of fastreid's argument parser.

    Returns:
        the config, frozen.

    Raises:
        UserError: naming what is missing, unknown or contradicting, and the fix.
    """
    cfg = load_config(args.config_file, args.opts)
    check_processes(cfg, args)
    check_names(cfg)
    check_lpips(cfg)
    if args.eval_only:
        path, checkpoint = checkpoint_to_evaluate(cfg)
        compared_results(cfg)
        weights = checkpoint["model"]
        data.check_datasets(cfg, cfg.DATASETS.TESTS)
        model = build_on_cpu(cfg, classes_of(weights))
        load_matching_weights(model, weights, str(path))
        check_complete(model, weights, path)
    else:
        check_outputs(cfg, args.resume)
        weights = read_checkpoint(cfg.MODEL.WEIGHTS)["model"] if cfg.MODEL.WEIGHTS else None
        data.check_datasets(cfg, (*cfg.DATASETS.NAMES, *cfg.DATASETS.TESTS))
        check_model(cfg, data.check_training(cfg), weights)
    check_writable(Path(cfg.OUTPUT_DIR))
    return cfg


def check_processes(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Whether there are devices for all processes, and batches that they can share."""
    for flag, number in (("--num-gpus", args.num_gpus), ("--num-machines", args.num_machines)):
        if number < 1:
            raise UserError(
                f"{flag} is {number}; give at least 1 (--num-gpus counts processes where MODEL.DEVICE is cpu)"
            )
    if cfg.MODEL.DEVICE.startswith("cuda") and args.num_gpus > torch.cuda.device_count():
        raise UserError(f"--num-gpus {args.num_gpus}, but torch sees {torch.cuda.device_count()} GPUs here")
    if args.num_gpus > 1 and ":" in cfg.MODEL.DEVICE:
        raise UserError(
            f"MODEL.DEVICE {cfg.MODEL.DEVICE} is one GPU; with --num-gpus {args.num_gpus} give cuda, and "
            "choose GPUs with the "
            "environment variable CUDA_VISIBLE_DEVICES"
        )
    processes = args.num_gpus * args.num_machines
    for key, size in (
        ("SOLVER.IMS_PER_BATCH", cfg.SOLVER.IMS_PER_BATCH),
        ("TEST.IMS_PER_BATCH", cfg.TEST.IMS_PER_BATCH),
    ):
        if size % processes:
            raise UserError(f"{key} {size} cannot be shared by {processes} processes; make it a multiple")
    share = cfg.SOLVER.IMS_PER_BATCH // processes
    if share % cfg.DATALOADER.NUM_INSTANCE and "Identity" in cfg.DATALOADER.SAMPLER_TRAIN:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} on {processes} processes leaves {share} "
            "images each, no multiple "
            f"of DATALOADER.NUM_INSTANCE {cfg.DATALOADER.NUM_INSTANCE}"
        )


def check_names(cfg: CfgNode) -> None:
    """Whether every name in the config means something: fastreid and torch answer an unknown one with a bare
    KeyError, or not at all."""

    def known(key: str, name: str, names: Iterable[str]) -> None:
        if name not in names:
            raise UserError(f"{key} is {name!r}, which is not known; known: {', '.join(sorted(names))}")

    meta_arch = lookup(META_ARCH_REGISTRY, cfg.MODEL.META_ARCHITECTURE, "MODEL.META_ARCHITECTURE")
    ours = [
        name
        for name, item in META_ARCH_REGISTRY._obj_map.items()
        if isinstance(item, type) and issubclass(item, PrivacyStages)
    ]
    if meta_arch.__name__ not in ours:
        raise UserError(
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} has no anonymizer; with one: "
            f"{', '.join(ours)} "
            "(plain fastreid trains the others)"
        )
    lookup(BACKBONE_REGISTRY, cfg.MODEL.BACKBONE.NAME, "MODEL.BACKBONE.NAME")
    heads = cfg.MODEL.HEADS
    lookup(REID_HEADS_REGISTRY, heads.NAME, "MODEL.HEADS.NAME")
    if heads.NAME == "EmbeddingHead":
        known("MODEL.HEADS.POOL_LAYER", heads.POOL_LAYER, pooling.__all__)
        known("MODEL.HEADS.CLS_LAYER", heads.CLS_LAYER, any_softmax.__all__)
        known("MODEL.HEADS.NECK_FEAT", heads.NECK_FEAT, ("before", "after"))
    if meta_arch.losses is PrivacyStages.losses:
        for name in cfg.MODEL.LOSSES.NAME:
            known("MODEL.LOSSES.NAME", name, LOSSES)  # fastreid passes over a loss that it does not know
    known("DATALOADER.SAMPLER_TRAIN", cfg.DATALOADER.SAMPLER_TRAIN, SAMPLERS)
    optimizers = [
        name
        for name in torch.optim.__all__
        if isinstance(getattr(torch.optim, name), type) and name not in NOT_FOR_US
    ]
    known("SOLVER.OPT", cfg.SOLVER.OPT, set(optimizers) - {"Optimizer"})
    privacy = cfg.PRIVACY
    lookup(DESENSITIZER_REGISTRY, privacy.DESENSITIZER.NAME, "PRIVACY.DESENSITIZER.NAME")
    if privacy.PROTECTION == "learned":
        lookup(GENERATOR_REGISTRY, privacy.ANONYMIZER.NAME, "PRIVACY.ANONYMIZER.NAME")
        if privacy.LAMBDA_REC:
            lookup(GENERATOR_REGISTRY, privacy.RECOVERY.NAME, "PRIVACY.RECOVERY.NAME")
        lookup(DISCRIMINATOR_REGISTRY, privacy.DISCRIMINATOR.NAME, "PRIVACY.DISCRIMINATOR.NAME")


def check_model(cfg: CfgNode, identities: int, weights: dict[str, torch.Tensor] | None = None) -> None:
    """Build the model as training will, on the CPU, and its optimizer; load what is to be loaded; nothing of
    it is kept.

    Args:
        cfg: of the run.
        identities: in the training part.
        weights: of ``MODEL.WEIGHTS``.
    """
    classes = cfg.MODEL.HEADS.NUM_CLASSES
    if 0 < classes < identities:
        raise UserError(
            f"MODEL.HEADS.NUM_CLASSES is {classes}, but the training part has {identities} identities; 0 "
            "counts them"
        )
    model = build_on_cpu(cfg, classes or identities)
    if weights:
        load_matching_weights(model, weights, cfg.MODEL.WEIGHTS)
    try:
        solver.build_optimizer(cfg, model)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"SOLVER.OPT {cfg.SOLVER.OPT} cannot be built from the SOLVER keys: {error}"
        ) from error
    if cfg.MODEL.BACKBONE.PRETRAIN:
        check_pretrained(cfg, classes or identities)


def build_on_cpu(cfg: CfgNode, classes: int) -> nn.Module:
    """The model of a config with its initial weights, and whether its backbone gives the features that its
    head expects."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE, cfg.MODEL.HEADS.NUM_CLASSES, cfg.MODEL.BACKBONE.PRETRAIN = "cpu", classes, False
    torch.manual_seed(cfg.SEED)
    try:
        model = PrivacyTrainer.build_model(cfg).eval()
    except UserError:
        raise
    except (KeyError, ValueError, TypeError, AssertionError, RuntimeError) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}, {frame.line}"
        backbone = cfg.MODEL.BACKBONE
        raise UserError(
            f"no model can be built from this config: {type(error).__name__} {error} ({where}). "
            "MODEL.BACKBONE.NAME is "
            f"{backbone.NAME}, MODEL.BACKBONE.DEPTH {backbone.DEPTH}, INPUT.SIZE_TRAIN {cfg.INPUT.SIZE_TRAIN}"
        ) from error
    if isinstance(model, Baseline):
        try:
            with torch.no_grad():
                channels = model.backbone(torch.zeros(1, 3, *cfg.INPUT.SIZE_TRAIN)).shape[1]
        except RuntimeError:
            return model  # a backbone of the user's own may run on a GPU only
        if channels != cfg.MODEL.BACKBONE.FEAT_DIM:
            raise UserError(
                f"MODEL.BACKBONE.FEAT_DIM is {cfg.MODEL.BACKBONE.FEAT_DIM}, but {cfg.MODEL.BACKBONE.NAME} of "
                f"MODEL.BACKBONE.DEPTH {cfg.MODEL.BACKBONE.DEPTH} gives {channels} features"
            )
    return model


def check_pretrained(cfg: CfgNode, classes: int) -> None:
    """Fetch ImageNet weights now, and find out whether they are the backbone's: fastreid loads what fits, be
    it nothing."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE, cfg.MODEL.HEADS.NUM_CLASSES = "cpu", classes
    path = cfg.MODEL.BACKBONE.PRETRAIN_PATH
    fix = (
        "Give the backbone's own file with MODEL.BACKBONE.PRETRAIN_PATH, or train from scratch with "
        "MODEL.BACKBONE.PRETRAIN False"
    )
    if path and Path(path).is_file():
        try:
            load_safely(path)
        except Exception as error:  # a damaged file can end in any exception of zipfile, pickle and torch
            raise UserError(
                f"{path} holds no weights that can be read ({type(error).__name__}). {fix}"
            ) from error
    models = []
    for pretrain in (False, True):
        cfg.MODEL.BACKBONE.PRETRAIN = pretrain
        torch.manual_seed(cfg.SEED)
        models.append(dict(PrivacyTrainer.build_model(cfg).backbone.named_parameters()))
    matrices = [name for name, value in models[0].items() if value.ndim > 1]
    loaded = sum(not torch.equal(models[0][name], models[1][name]) for name in matrices)
    if 2 * loaded < len(matrices):
        raise UserError(
            f"{path or 'the downloaded file'} is of another backbone than {cfg.MODEL.BACKBONE.NAME}: it "
            f"sets {loaded} of "
            f"{len(matrices)} weights. {fix}"
        )


def check_writable(folder: Path) -> None:
    """Make the folder, and write a file to it that is gone again at once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"OUTPUT_DIR {folder} cannot be written to: {error.strerror or error}") from None
