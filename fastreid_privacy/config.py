"""The config keys of the method, loading a config strictly, and refusing contradictions before anything is trained.

fastreid's own keys keep their meaning. What is added lives under ``PRIVACY`` (the method), ``DATASETS`` (validation split, embedded and
folder data sets), ``SOLVER`` (warm-up in epochs, betas of the generators), ``TEST`` and ``SEED``.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import yaml
from fastreid.config import CfgNode, get_cfg

from .config_checks import check_privacy_config, given_rank1, resolve_device
from .errors import UserError

__all__ = [
    "METHOD_KEYS", "RESUMABLE_KEYS", "RUN_KEYS", "add_privacy_config", "comparable", "default_config", "differing", "flat_keys",
    "given_rank1", "load_config", "parse_config", "resolve_device",
]  # fmt: skip

# What may differ between the configs of one comparison: the upper bound, Base, the method with and without upgradation or recovery.
METHOD_KEYS = (
    "PRIVACY.PROTECTION", "PRIVACY.LAMBDA_REC", "PRIVACY.UPGRADE", "PRIVACY.UPPER_BOUND", "PRIVACY.DESENSITIZER", "TEST.PAPER_RESULTS",
)  # fmt: skip
# What says where and how a run happens, not what it learns.
RUN_KEYS = (
    "OUTPUT_DIR", "MODEL.DEVICE", "MODEL.HEADS.NUM_CLASSES", "MODEL.BACKBONE.PRETRAIN_PATH", "DATALOADER.NUM_WORKERS",
    "SOLVER.CHECKPOINT_PERIOD", "SOLVER.KEEP_CHECKPOINTS", "TEST.IMS_PER_BATCH", "TEST.FEATURES", "TEST.ROC.ENABLED", "TEST.LPIPS_WEIGHTS",
)  # fmt: skip

# What may change when a run is continued: the machine, which checkpoint is tested, what it is compared with.
RESUMABLE_KEYS = (*RUN_KEYS, "TEST.CHECKPOINT", "TEST.PAPER_RESULTS", "PRIVACY.UPPER_BOUND")


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
    privacy.LAMBDA_REC = 1.0  # λ_rec, the weight of L_rec (eqs. 4–6) in both generators' loss; 0: no G_Y and no D_X are built
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
    cfg.DATASETS.PROTECTED = ""  # ProtectedCollection: a folder that tools/anonymize.py made of a data set by its name

    cfg.TEST.CHECKPOINT = "best"  # what is tested after training: best (on the validation split) | final
    cfg.TEST.FEATURES = "float32"  # float32 | float16: how extracted features are kept in memory
    # torchvision's AlexNet file, for LPIPS; empty: the one in torch hub's cache, where there is one. It is never downloaded.
    cfg.TEST.LPIPS_WEIGHTS = ""
    cfg.TEST.PAPER_RESULTS = []  # [where, metric, value] of the paper, shown beside ours: ["OI-PI", "Rank-1", 88.2], …


LONGEST_CONFIG = 1_000_000  # characters of one that a checkpoint carries


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


# Of what a list is that is empty by default.
ELEMENTS = {"MODEL.FREEZE_LAYERS": str, "PRIVACY.DESENSITIZER.MASK_REGION": float}


def _check_elements(key: str, value: Sequence, default: Sequence, source: str) -> None:
    """Refuse a list whose elements are of another type than those of its default, where these are of one type."""
    kinds = {ELEMENTS[key]} if key in ELEMENTS else {type(element) for element in default}
    if len(kinds) == 1:
        kind = kinds.pop()
        bad = [element for element in value if type(element) is not kind and not (kind is float and type(element) is int)]
        if bad:
            raise UserError(f"{key} is {value!r} in {source}; its elements must be of type {kind.__name__}, which {bad[0]!r} is not")


def _assign(cfg: CfgNode, values: dict[str, object], source: str) -> None:
    """Set leaves by name, refusing unknown keys and values of another type; whole numbers may stand for floats, lists for tuples."""
    known = flat_keys(cfg)
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key.upper(), list(known), n=1, cutoff=0.0)[0]
            raise UserError(f"unknown config key {key} in {source}; the nearest known key is {near}")
        old, value = known[key], CfgNode._decode_cfg_value(value)
        if isinstance(old, list | tuple) and isinstance(value, list | tuple):
            _check_elements(key, value, old, source)
            value = type(old)(value)
        elif isinstance(old, float) and type(value) is int:
            value = float(value)
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
    check_privacy_config(cfg, default_config())
    cfg.freeze()
    return cfg


def parse_config(text: str, source: str) -> CfgNode:
    """A config from its YAML dump, as a checkpoint carries it; read as strictly as a file, neither checked nor frozen.

    Args:
        text: what ``cfg.dump()`` gave. (fastreid's ``merge_from_other_cfg`` cannot read it back: it takes the text "50" for a number.)
        source: where it comes from, for messages.

    Raises:
        UserError: when it is no such text, or has a key or a value that no config of this version has.
    """
    cfg = default_config()
    try:
        # neither in what cfg.dump() gives; nested aliases could fill the memory
        if len(text) > LONGEST_CONFIG or any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ValueError
        keys = flat_keys(CfgNode.load_cfg(text))
    except Exception as error:  # of yaml or yacs: a part of a checkpoint has no checksum of its own
        raise UserError(f"the config that {source} carries is damaged ({type(error).__name__})") from None
    _assign(cfg, keys, source)
    return cfg


def comparable(cfg: CfgNode | dict, skip: Sequence[str] = METHOD_KEYS + RUN_KEYS) -> dict[str, object]:
    """The part of a config that two runs must share to be compared: data, networks, budget and seed; tuples become lists."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in flat_keys(cfg).items()
        if not any(key == name or key.startswith(f"{name}.") for name in skip)
    }


def differing(theirs: dict[str, object], ours: dict[str, object], sign: str = "≠") -> list[str]:
    """Where two parts of configs, as :func:`comparable` gives them, differ: "KEY theirs ≠ ours".

    A key that one of them does not know, because another version wrote it, has its default there.
    """
    defaults = comparable(default_config(), ())
    values = {key: [side.get(key, defaults.get(key)) for side in (theirs, ours)] for key in sorted(theirs.keys() | ours.keys())}
    return [f"{key} {first} {sign} {second}" for key, (first, second) in values.items() if first != second]
