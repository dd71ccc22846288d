"""What can be found wrong before training is found here, in the parent process, the cheapest check first.

In order: config (``config.load_config``), processes, names, files of other runs, data, the model with its
weights (``model_checks``), and the folder to write to. Nothing is written before all of it has passed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.layers import any_softmax, pooling
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from .. import data
from ..checkpoints.reading import load_matching_weights, read_checkpoint
from ..checkpoints.rebuilding import check_complete, classes_of
from ..config import load_config
from ..core.errors import UserError
from ..core.registry import lookup
from ..desensitize import DESENSITIZER_REGISTRY, Desensitizer
from ..desensitize.regions import regions_of
from ..evaluation.lpips import check_lpips
from ..model.meta_arch import PrivacyStages
from ..networks import DISCRIMINATOR_REGISTRY, GENERATOR_REGISTRY
from .evaluate_only import checkpoint_to_evaluate, compared_results
from .model_checks import build_on_cpu, check_model
from .request import TrainingRequest
from .siblings import check_outputs

# fastreid has one more, SetReWeightSampler, which waits for a batch of a size that it has ruled out
# (triplet_sampler.py:127, 179).
SAMPLERS = ("NaiveIdentitySampler", "BalancedIdentitySampler", "TrainingSampler", "ImbalancedDatasetSampler")
LOSSES = ("CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface")
# optimizers that need a closure, matrices only, or sparse gradients
NOT_FOR_US = ("LBFGS", "Muon", "SparseAdam")


def preflight(request: TrainingRequest) -> CfgNode:
    """Check a training or a test as far as it can be checked without making it.

    Returns:
        The config, frozen.

    Raises:
        UserError: naming what is missing, unknown or contradicting, and the fix.
    """
    cfg = load_config(request.config_file, request.overrides)
    check_processes(cfg, request)
    check_names(cfg)
    check_regions(cfg, training=not request.eval_only)
    check_lpips(cfg)
    if request.eval_only:
        path, checkpoint = checkpoint_to_evaluate(cfg)
        compared_results(cfg, checkpoint)
        weights = checkpoint["model"]
        data.check_datasets(cfg, cfg.DATASETS.TESTS)
        check_regions_of_images(cfg, training=False)
        model = build_on_cpu(cfg, classes_of(weights))
        load_matching_weights(model, weights, str(path))
        check_complete(model, weights, path)
    else:
        check_outputs(cfg, request.resume)
        weights = read_checkpoint(cfg.MODEL.WEIGHTS)["model"] if cfg.MODEL.WEIGHTS else None
        data.check_datasets(cfg, (*cfg.DATASETS.NAMES, *cfg.DATASETS.TESTS))
        check_regions_of_images(cfg, training=True)
        check_model(cfg, data.check_training(cfg), weights)
    check_writable(Path(cfg.OUTPUT_DIR))
    return cfg


def check_processes(cfg: CfgNode, request: TrainingRequest) -> None:
    """Whether there are devices for all processes, and batches that they can share.

    Raises:
        UserError: naming the option or the config key.
    """
    here = request.processes
    for flag, number in (("--num-gpus", here), ("--num-machines", request.machines)):
        if number < 1:
            raise UserError(
                f"{flag} is {number}; give at least 1 (--num-gpus counts processes where MODEL.DEVICE is cpu)"
            )
    if cfg.MODEL.DEVICE.startswith("cuda") and here > torch.cuda.device_count():
        raise UserError(f"--num-gpus {here}, but torch sees {torch.cuda.device_count()} GPUs here")
    if here > 1 and ":" in cfg.MODEL.DEVICE:
        raise UserError(
            f"MODEL.DEVICE {cfg.MODEL.DEVICE} is one GPU; with --num-gpus {here} give cuda, and choose GPUs "
            "with the environment variable CUDA_VISIBLE_DEVICES"
        )
    processes = here * request.machines
    training, testing = cfg.SOLVER.IMS_PER_BATCH, cfg.TEST.IMS_PER_BATCH
    for key, size in (("SOLVER.IMS_PER_BATCH", training), ("TEST.IMS_PER_BATCH", testing)):
        if size % processes:
            raise UserError(f"{key} {size} cannot be shared by {processes} processes; make it a multiple")
    share, instances = training // processes, cfg.DATALOADER.NUM_INSTANCE
    if share % instances and "Identity" in cfg.DATALOADER.SAMPLER_TRAIN:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH {training} on {processes} processes leaves {share} images each, no "
            f"multiple of DATALOADER.NUM_INSTANCE {instances}"
        )


def check_names(cfg: CfgNode) -> None:
    """Whether every name in the config means something.

    fastreid and torch answer an unknown one with a bare KeyError, or not at all.

    Raises:
        UserError: naming the key, its value and what is known.
    """
    model, heads, privacy = cfg.MODEL, cfg.MODEL.HEADS, cfg.PRIVACY
    meta_arch = lookup(META_ARCH_REGISTRY, model.META_ARCHITECTURE, "MODEL.META_ARCHITECTURE")
    if not _has_stages(meta_arch):
        ours = [name for name, found in META_ARCH_REGISTRY._obj_map.items() if _has_stages(found)]
        raise UserError(
            f"MODEL.META_ARCHITECTURE {model.META_ARCHITECTURE} has no anonymizer; with one: "
            f"{', '.join(ours)} (plain fastreid trains the others)"
        )
    lookup(BACKBONE_REGISTRY, model.BACKBONE.NAME, "MODEL.BACKBONE.NAME")
    lookup(REID_HEADS_REGISTRY, heads.NAME, "MODEL.HEADS.NAME")
    if heads.NAME == "EmbeddingHead":
        _check_known("MODEL.HEADS.POOL_LAYER", heads.POOL_LAYER, pooling.__all__)
        _check_known("MODEL.HEADS.CLS_LAYER", heads.CLS_LAYER, any_softmax.__all__)
        _check_known("MODEL.HEADS.NECK_FEAT", heads.NECK_FEAT, ("before", "after"))
    if meta_arch.losses is PrivacyStages.losses:  # and not losses of its own
        for name in model.LOSSES.NAME:
            _check_known("MODEL.LOSSES.NAME", name, LOSSES)
    _check_known("DATALOADER.SAMPLER_TRAIN", cfg.DATALOADER.SAMPLER_TRAIN, SAMPLERS)
    _check_known("SOLVER.OPT", cfg.SOLVER.OPT, _optimizers())
    lookup(DESENSITIZER_REGISTRY, privacy.DESENSITIZER.NAME, "PRIVACY.DESENSITIZER.NAME")
    if privacy.PROTECTION == "learned":
        lookup(GENERATOR_REGISTRY, privacy.ANONYMIZER.NAME, "PRIVACY.ANONYMIZER.NAME")
        if privacy.LAMBDA_REC or privacy.ATTACKER.WEIGHT:
            lookup(GENERATOR_REGISTRY, privacy.RECOVERY.NAME, "PRIVACY.RECOVERY.NAME")
        lookup(DISCRIMINATOR_REGISTRY, privacy.DISCRIMINATOR.NAME, "PRIVACY.DISCRIMINATOR.NAME")


def check_regions(cfg: CfgNode, *, training: bool) -> None:
    """Whether an operator that changes a part of each image is told where that is.

    Raises:
        UserError: when it is not, or augmentation would move the images away from their regions.
    """
    operator = Desensitizer.from_config(cfg)
    if operator.finder is None or cfg.PRIVACY.PROTECTION == "none" or not training:
        return
    if not cfg.PRIVACY.DESENSITIZE_BEFORE_CROP:
        raise UserError(
            f"PRIVACY.DESENSITIZER.NAME {operator.name} changes a part of each image, which must be cropped "
            "and mirrored with it: give PRIVACY.DESENSITIZE_BEFORE_CROP True"
        )


def check_regions_of_images(cfg: CfgNode, *, training: bool) -> None:
    """Whether ``DATASETS.REGIONS`` tells of every image that will be asked for.

    Raises:
        UserError: naming the first of which it does not.
    """
    operator = Desensitizer.from_config(cfg)
    if operator.finder is None or not operator.regions_file:
        return  # an upper bound is asked for OI→DI, too
    for path in data.image_paths(cfg, training=training):
        regions_of(operator.finder, [path], (1, 1))


def _check_known(key: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise UserError(f"{key} is {name!r}, which is not known; known: {', '.join(sorted(known))}")


def _has_stages(meta_arch: object) -> bool:
    return isinstance(meta_arch, type) and issubclass(meta_arch, PrivacyStages)


def _optimizers() -> list[str]:
    """torch's optimizers that a step of this package can use."""
    classes = [name for name in torch.optim.__all__ if isinstance(getattr(torch.optim, name), type)]
    return [name for name in classes if name not in (*NOT_FOR_US, "Optimizer")]


def check_writable(folder: Path) -> None:
    """Make the folder, and write a file to it that is gone again at once.

    Raises:
        UserError: when that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"OUTPUT_DIR {folder} cannot be written to: {error.strerror or error}") from None
