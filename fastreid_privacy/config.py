"""The config keys of the method, loading a config strictly, and refusing contradictions before anything is trained.

fastreid's own keys keep their meaning. What is added lives under ``PRIVACY`` (the method), ``DATASETS`` (validation split, embedded and
folder data sets), ``SOLVER`` (warm-up in epochs, betas of the generators), ``TEST`` and ``SEED``.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import torch
from fastreid.config import CfgNode, get_cfg

from .errors import UserError
from .report.tables import paper_results

PROTECTIONS = ("none", "conventional", "learned")

# What may differ between the configs of one comparison: the upper bound, Base, the method with and without upgradation.
METHOD_KEYS = ("PRIVACY.PROTECTION", "PRIVACY.UPGRADE", "PRIVACY.UPPER_BOUND", "PRIVACY.DESENSITIZER", "TEST.PAPER_RESULTS")
# What says where and how a run happens, not what it learns.
RUN_KEYS = (
    "OUTPUT_DIR", "MODEL.DEVICE", "MODEL.WEIGHTS", "MODEL.HEADS.NUM_CLASSES", "MODEL.BACKBONE.PRETRAIN_PATH", "DATALOADER.NUM_WORKERS",
    "SOLVER.CHECKPOINT_PERIOD", "SOLVER.KEEP_CHECKPOINTS", "TEST.IMS_PER_BATCH",
)  # fmt: skip


def add_privacy_config(cfg: CfgNode) -> None:
    """Add the project's keys with their defaults (the paper's values, section 4.2) to a fastreid config, in place."""
    cfg.SEED = 0  # every random choice of a run derives from it; two runs of one seed on one machine are equal on the CPU
    cfg.MODEL.DEVICE = resolve_device("auto")  # cuda where there is a GPU, else cpu; resolved here, for fastreid's own trainer too

    cfg.PRIVACY = privacy = CfgNode()
    # What the second half of the Re-ID batch and the PI domain are: none (AGW on raw images: the upper bound),
    # conventional (raw + desensitized images: Base), learned (raw + the anonymizer's output: the method).
    privacy.PROTECTION = "learned"
    privacy.STORAGE = "png"  # what a stored image keeps: none | png (8 bit) | jpegNN (quality 1–100)
    privacy.LAMBDA_L1 = 100.0  # λ_L1 of eqs. 3 and 6, for images in [−1, 1]
    privacy.JOINT_BATCH = True  # raw and protected images in one Re-ID batch; False: two passes, as the reference implementation
    privacy.CENTER_LOSS = CfgNode({"WEIGHT": 0.0005, "LR": 0.5})  # AGW's center loss; WEIGHT 0 turns it off

    privacy.DESENSITIZER = CfgNode()
    privacy.DESENSITIZER.NAME = "blur"  # blur | pixelate | noise | mask, or a name of your own in DESENSITIZER_REGISTRY
    privacy.DESENSITIZER.BLUR_SIGMA = 12.0  # pixels on an image 256 high; scales with the height
    privacy.DESENSITIZER.PIXEL_BLOCK = 24  # pixels on an image 256 high; scales with the height
    privacy.DESENSITIZER.PIXEL_REDUCE = "mean"  # mean of a block | corner: its top-left pixel, as the reference implementation
    privacy.DESENSITIZER.NOISE_STD = 0.5  # fraction of the value range
    privacy.DESENSITIZER.MASK_REGION = []  # (top, left, height, width) as fractions of the sides; empty: everything

    # DEPTH: down-samplings of the U-Net; 0: as often as both sides can be halved (7 at 256×128, 6 at 128×64)
    privacy.ANONYMIZER = CfgNode({"NAME": "UNetGenerator", "WIDTH": 64, "DEPTH": 0})  # G_X
    privacy.RECOVERY = CfgNode({"NAME": "UNetGenerator", "WIDTH": 64, "DEPTH": 0})  # G_Y
    privacy.DISCRIMINATOR = CfgNode({"NAME": "PatchDiscriminator", "WIDTH": 64})  # D_Y and D_X

    privacy.UPGRADE = CfgNode()  # supervision upgradation, section 3.4
    privacy.UPGRADE.ENABLED = True
    privacy.UPGRADE.EPS_PSNR = 1.0  # ε_psnr, dB: protected images may be this much closer to the raw ones than desensitized images are
    privacy.UPGRADE.EPS_SSIM = 0.05  # ε_ssim
    privacy.UPGRADE.EPS_RANK1 = 5.0  # ε_r1, points of rank-1: the first best is Base's OI→DI rank-1 minus this
    # Base's rank-1 OI→DI on the validation split, percent. auto: train Base first, into OUTPUT_DIR/baseline, or reuse a finished one of
    # the same data, budget and seed; a number, or the path of Base's results.json, is taken as given.
    privacy.UPGRADE.BASELINE_RANK1 = "auto"
    privacy.UPPER_BOUND = ""  # auto: train the upper bound too, into OUTPUT_DIR/upper_bound; or the path of its results.json; "": none

    cfg.SOLVER.WARMUP_EPOCHS = 10  # the lr rises linearly from WARMUP_FACTOR·BASE_LR in the first epoch to BASE_LR in the last of these
    cfg.SOLVER.WARMUP_ITERS = 0  # fastreid's warm-up in iterations is not used: WARMUP_EPOCHS says it
    cfg.SOLVER.GAN_BETAS = (0.5, 0.999)  # Adam's betas of generators and discriminators; Re-ID has torch's default
    cfg.SOLVER.KEEP_CHECKPOINTS = 2  # periodic checkpoints kept besides the best and the last

    cfg.DATASETS.VALIDATION = CfgNode()  # identity-disjoint split of the training set; nothing is selected on the test set
    cfg.DATASETS.VALIDATION.FRACTION = 0.2  # of the training images (4 : 1)
    cfg.DATASETS.VALIDATION.QUERY_FRACTION = 0.2  # of the validation images (gallery : query 4 : 1)
    cfg.DATASETS.VALIDATION.SEED = 0

    cfg.DATASETS.SYNTHETIC = CfgNode()  # SyntheticPedestrians: rendered people, written once under FASTREID_DATASETS
    cfg.DATASETS.SYNTHETIC.TRAIN_IDENTITIES = 100
    cfg.DATASETS.SYNTHETIC.TEST_IDENTITIES = 50
    cfg.DATASETS.SYNTHETIC.CAMERAS = 6
    cfg.DATASETS.SYNTHETIC.IMAGES_PER_CAMERA = 6  # at most, of one identity
    cfg.DATASETS.SYNTHETIC.HEIGHT = 128
    cfg.DATASETS.SYNTHETIC.WIDTH = 64
    cfg.DATASETS.SYNTHETIC.SEED = 0
    cfg.DATASETS.SYNTHETIC.CUES = "all"  # all | colour | detail: which cues tell identities apart

    # MarketFolder: any folders of images in Market-1501 naming (0002_c1s1_000451_03.jpg)
    cfg.DATASETS.FOLDER = CfgNode({"TRAIN": "", "QUERY": "", "GALLERY": ""})

    cfg.TEST.CHECKPOINT = "best"  # what is tested after training: best (on the validation split) | final
    cfg.TEST.PAPER_RESULTS = []  # [where, metric, value] of the paper, shown beside ours: ["OI-PI", "Rank-1", 88.2], …


def default_config() -> CfgNode:
    """fastreid's defaults and the project's, a new copy."""
    cfg = get_cfg()
    add_privacy_config(cfg)
    return cfg


def flat_keys(node: CfgNode | dict, prefix: str = "") -> dict[str, object]:
    """All leaves of a config as ``{"A.B.C": value}``."""
    leaves: dict[str, object] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        leaves.update(flat_keys(value, f"{name}.") if isinstance(value, dict) and value else {name: value})
    return leaves


def _assign(cfg: CfgNode, values: dict[str, object], source: str) -> None:
    """Set leaves by name, refusing unknown keys and values of another type; whole numbers may stand for floats, lists for tuples."""
    known = flat_keys(cfg)
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key.upper(), list(known), n=1, cutoff=0.0)[0]
            raise UserError(f"unknown config key {key} in {source}; the nearest known key is {near}")
        old, value = known[key], CfgNode._decode_cfg_value(value)
        if (isinstance(old, float) and type(value) is int) or (isinstance(old, list | tuple) and isinstance(value, list | tuple)):
            value = type(old)(value)
        elif key == "PRIVACY.UPGRADE.BASELINE_RANK1":  # a word, a path or a number
            value = str(value)
        elif type(value) is not type(old):
            raise UserError(f"{key} is {value!r} in {source}; it must be of type {type(old).__name__}, as its default {old!r}")
        *path, leaf = key.split(".")
        node = cfg
        for name in path:
            node = node[name]
        node[leaf] = value


def load_config(config_file: str | Path = "", opts: Sequence[str] = ()) -> CfgNode:
    """Read a config file and command-line overrides strictly, resolve the device, check, and freeze.

    Args:
        config_file: a YAML file in fastreid's format (``_BASE_`` names the file it extends); empty: the defaults.
        opts: trailing ``KEY VALUE`` pairs of the command line.

    Raises:
        UserError: for a missing or malformed file, an unknown key (with the nearest known one), a value of another type, or settings
            that contradict each other.
    """
    cfg = default_config()
    if config_file:
        path = Path(config_file)
        if not path.is_file():
            raise UserError(f"config file {path} does not exist")
        try:
            loaded = CfgNode.load_yaml_with_base(str(path))
        except FileNotFoundError as error:
            raise UserError(f"{path} extends a config file that does not exist: {error.filename}") from None
        except Exception as error:  # YAML errors are of many types
            raise UserError(f"{path} is not a config file: {' '.join(str(error).split())}") from None
        if not isinstance(loaded, dict):
            raise UserError(f"{path} is not a config file: it holds no KEY: value lines")
        _assign(cfg, flat_keys(loaded), str(path))
    opts = list(opts)
    if len(opts) % 2:
        raise UserError(f"the overrides must be KEY VALUE pairs; {opts[-1]} has no value")
    _assign(cfg, dict(zip(opts[0::2], opts[1::2], strict=True)), "the command line")
    check_privacy_config(cfg)
    cfg.freeze()
    return cfg


def parse_config(text: str, source: str) -> CfgNode:
    """A config from its YAML dump, as a checkpoint carries it; read as strictly as a file, neither checked nor frozen.

    Args:
        text: what ``cfg.dump()`` gave. (fastreid's ``merge_from_other_cfg`` cannot read it back: it takes the text "50" for a number.)
        source: where it comes from, for messages.
    """
    cfg = default_config()
    _assign(cfg, flat_keys(CfgNode.load_cfg(text)), source)
    return cfg


def given_rank1(cfg: CfgNode) -> float | Path | None:
    """What ``PRIVACY.UPGRADE.BASELINE_RANK1`` says: a rank-1 in percent, the path of a results.json, or None for auto.

    Raises:
        UserError: when it is neither.
    """
    given = cfg.PRIVACY.UPGRADE.BASELINE_RANK1
    if given == "auto":
        return None
    try:
        rank1 = float(given)
    except ValueError:
        if Path(given).is_file():
            return Path(given)
        raise UserError(
            f"PRIVACY.UPGRADE.BASELINE_RANK1 is {given}; give auto, a rank-1 in percent, or the path of Base's results.json"
        ) from None
    if not 0 <= rank1 <= 100:
        raise UserError(f"PRIVACY.UPGRADE.BASELINE_RANK1 is {given}; a rank-1 lies between 0 and 100 percent")
    return rank1


def resolve_device(name: str) -> str:
    """The torch device of a ``MODEL.DEVICE`` value.

    Raises:
        UserError: when a GPU is asked for and there is none, or the name is no torch device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"MODEL.DEVICE {name} is no torch device; give auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"MODEL.DEVICE is {name}, but torch sees {torch.cuda.device_count()} GPUs here; give MODEL.DEVICE cpu (or auto)")
    return name


def check_privacy_config(cfg: CfgNode) -> None:
    """Refuse what cannot be trained or would silently do nothing, and resolve ``MODEL.DEVICE``, before anything is built.

    Raises:
        UserError: naming the key, its value, and what is allowed.
    """
    cfg.MODEL.DEVICE = resolve_device(cfg.MODEL.DEVICE)
    privacy, solver = cfg.PRIVACY, cfg.SOLVER

    def allow(key: str, value, choices: Sequence) -> None:
        if value not in choices:
            raise UserError(f"{key} is {value}; allowed: {', '.join(map(str, choices))}")

    def at_least(key: str, value, lowest) -> None:
        if not value >= lowest:
            raise UserError(f"{key} is {value}; it must be at least {lowest}")

    allow("PRIVACY.PROTECTION", privacy.PROTECTION, PROTECTIONS)
    allow("TEST.CHECKPOINT", cfg.TEST.CHECKPOINT, ("best", "final"))
    allow("TEST.METRIC", cfg.TEST.METRIC, ("cosine", "euclidean"))
    allow("SOLVER.SCHED", solver.SCHED, ("MultiStepLR", "CosineAnnealingLR"))
    allow("PRIVACY.DESENSITIZER.PIXEL_REDUCE", privacy.DESENSITIZER.PIXEL_REDUCE, ("mean", "corner"))
    for key, value in (("SOLVER.MAX_EPOCH", solver.MAX_EPOCH), ("TEST.EVAL_PERIOD", cfg.TEST.EVAL_PERIOD),
                       ("SOLVER.CHECKPOINT_PERIOD", solver.CHECKPOINT_PERIOD), ("SOLVER.KEEP_CHECKPOINTS", solver.KEEP_CHECKPOINTS),
                       ("SOLVER.IMS_PER_BATCH", solver.IMS_PER_BATCH), ("TEST.IMS_PER_BATCH", cfg.TEST.IMS_PER_BATCH)):  # fmt: skip
        at_least(key, value, 1)
    if not solver.BASE_LR > 0:
        raise UserError(f"SOLVER.BASE_LR is {solver.BASE_LR}; it must be above 0")
    if len(solver.GAN_BETAS) != 2 or not all(0 <= beta < 1 for beta in solver.GAN_BETAS):
        raise UserError(f"SOLVER.GAN_BETAS is {solver.GAN_BETAS}; give Adam's two betas, from 0 to below 1")
    at_least("SOLVER.WARMUP_EPOCHS", solver.WARMUP_EPOCHS, 0)
    at_least("DATALOADER.NUM_WORKERS", cfg.DATALOADER.NUM_WORKERS, 0)
    at_least("PRIVACY.LAMBDA_L1", privacy.LAMBDA_L1, 0)
    at_least("PRIVACY.CENTER_LOSS.WEIGHT", privacy.CENTER_LOSS.WEIGHT, 0)
    at_least("SEED", cfg.SEED, 0)
    if list(cfg.INPUT.SIZE_TRAIN) != list(cfg.INPUT.SIZE_TEST):
        raise UserError(f"INPUT.SIZE_TRAIN {cfg.INPUT.SIZE_TRAIN} and INPUT.SIZE_TEST {cfg.INPUT.SIZE_TEST} must be equal: "
                        "the anonymizer and Re-ID see the same images in training and test")  # fmt: skip
    paper_results({"config": cfg})
    _check_batch(cfg)
    _check_upgrade(cfg)
    _refuse_unsupported(cfg)


def _check_batch(cfg: CfgNode) -> None:
    batch, instances = cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    if cfg.DATALOADER.SAMPLER_TRAIN in ("NaiveIdentitySampler", "BalancedIdentitySampler") and (instances < 2 or batch % instances):
        raise UserError(f"SOLVER.IMS_PER_BATCH {batch} is no multiple of DATALOADER.NUM_INSTANCE {instances} (at least 2): "
                        "a batch holds NUM_INSTANCE images of each identity")  # fmt: skip
    validation = cfg.DATASETS.VALIDATION
    for key in ("FRACTION", "QUERY_FRACTION"):
        if not 0 < validation[key] < 1:
            raise UserError(f"DATASETS.VALIDATION.{key} is {validation[key]}; it must lie between 0 and 1")


def _check_upgrade(cfg: CfgNode) -> None:
    if cfg.PRIVACY.PROTECTION == "learned" and cfg.PRIVACY.UPGRADE.ENABLED:
        given_rank1(cfg)
    if cfg.PRIVACY.UPPER_BOUND not in ("", "auto") and not Path(cfg.PRIVACY.UPPER_BOUND).is_file():
        raise UserError(
            f"PRIVACY.UPPER_BOUND is {cfg.PRIVACY.UPPER_BOUND}; give auto, nothing, or the path of an upper bound's results.json"
        )


def _refuse_unsupported(cfg: CfgNode) -> None:
    """fastreid options that this trainer would ignore are refused, not dropped."""
    because = {
        "TEST.AQE.ENABLED": (cfg.TEST.AQE.ENABLED, "the hybrid evaluator ranks by the features themselves"),
        "TEST.RERANK.ENABLED": (cfg.TEST.RERANK.ENABLED, "the hybrid evaluator ranks by the features themselves"),
        "TEST.ROC.ENABLED": (cfg.TEST.ROC.ENABLED, "fastreid 1.4.0 counts positives as negatives there"),
        "TEST.PRECISE_BN.ENABLED": (cfg.TEST.PRECISE_BN.ENABLED, "its passes over the data would move the class centers"),
        "DATASETS.COMBINEALL": (cfg.DATASETS.COMBINEALL, "it would put test identities into training"),
        "SOLVER.WARMUP_ITERS": (cfg.SOLVER.WARMUP_ITERS, "give the warm-up in epochs with SOLVER.WARMUP_EPOCHS"),
        "INPUT.CROP.ENABLED": (cfg.INPUT.CROP.ENABLED, "its size would contradict INPUT.SIZE_TRAIN, which the anonymizer is built for"),
        "INPUT.RPT.ENABLED": (cfg.INPUT.RPT.ENABLED, "patches of other people would reach the anonymizer; INPUT.REA reaches Re-ID only"),
    }
    for key, (value, reason) in because.items():
        if value:
            raise UserError(f"{key} {value} is not supported: {reason}")


def comparable(cfg: CfgNode | dict) -> dict[str, object]:
    """The part of a config that two runs must share to be compared: data, networks, budget and seed; tuples become lists."""
    skip = METHOD_KEYS + RUN_KEYS
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in flat_keys(cfg).items()
        if not any(key == name or key.startswith(f"{name}.") for name in skip)
    }
