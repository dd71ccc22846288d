"""The config keys of the method, with their defaults.

fastreid's own keys keep their meaning. What is added lives under ``PRIVACY`` (the method), ``DATASETS``
(validation split, embedded and folder data sets), ``SOLVER`` (warm-up in epochs, betas of the generators),
``MODEL.HEADS`` (the classifier's first weights), ``TEST`` and ``SEED``.
"""

from __future__ import annotations

from fastreid.config import CfgNode, get_cfg

from .values import resolve_device


def add_privacy_config(cfg: CfgNode) -> None:
    """Add the project's keys to a fastreid config, in place; defaults are the paper's values, section 4.2."""
    # every random choice of a run derives from it; two runs of one seed on one machine are equal on the CPU
    cfg.SEED = 0
    # cuda where there is a GPU, else cpu; resolved here, for fastreid's own trainer too
    cfg.MODEL.DEVICE = resolve_device("auto")

    # standard deviation of the first weights of EmbeddingHead's classifier: fastreid's; AGW has 0.001
    cfg.MODEL.HEADS.CLASSIFIER_STD = 0.01

    cfg.PRIVACY = privacy = CfgNode()
    # What the second half of the Re-ID batch and the PI domain are: none (AGW on raw images: the upper
    # bound), conventional (raw + desensitized images: Base), learned (raw + the anonymizer's output: the
    # method).
    privacy.PROTECTION = "learned"
    privacy.STORAGE = "png"  # what a stored image keeps: none | png (8 bit) | jpegNN (quality 1–100)
    privacy.LAMBDA_L1 = 100.0  # λ_L1 of eqs. 3 and 6, for images in [−1, 1]
    # λ_rec, the weight of L_rec (eqs. 4–6) in both generators' loss; 0: no G_Y and no D_X are built
    privacy.LAMBDA_REC = 1.0
    # Without recovery (LAMBDA_REC 0): a decoder with RECOVERY's options learns the way back beside the
    # anonymizer, which must leave it no more than desensitized images leave. WEIGHT of that term, an L1 as
    # those that LAMBDA_L1 weighs; 0: there is no attacker.
    privacy.ATTACKER = CfgNode({"WEIGHT": 0.0})
    # The upper bound (UPPER_BOUND must say which) comes first, for what it gives the model. INIT: Re-ID
    # begins with its weights, over those of MODEL.WEIGHTS. WEIGHT: its feature of the raw image is what Re-ID
    # is to find in the raw and in the protected one, with this weight of 1 − cosine for each; 0: it is not.
    privacy.TEACHER = CfgNode({"WEIGHT": 0.0, "INIT": False})
    # raw and protected images in one Re-ID batch; False: two passes, as the reference implementation
    privacy.JOINT_BATCH = True
    # training desensitizes resized images, then pads, crops and mirrors them as the raw ones, like the
    # reference implementation; False: it desensitizes what was cropped
    privacy.DESENSITIZE_BEFORE_CROP = False
    privacy.CENTER_LOSS = CfgNode({"WEIGHT": 0.0005, "LR": 0.5})  # AGW's center loss; WEIGHT 0 turns it off

    privacy.DESENSITIZER = CfgNode()
    # blur | pixelate | noise | mask, or a name of your own in DESENSITIZER_REGISTRY
    privacy.DESENSITIZER.NAME = "blur"
    privacy.DESENSITIZER.BLUR_SIGMA = 12.0  # pixels on an image 256 high; scales with the height
    privacy.DESENSITIZER.PIXEL_BLOCK = 24  # pixels on an image 256 high; scales with the height
    # mean of a block | corner: its top-left pixel, as the reference implementation
    privacy.DESENSITIZER.PIXEL_REDUCE = "mean"
    privacy.DESENSITIZER.NOISE_STD = 0.5  # fraction of the value range
    # (top, left, height, width) as fractions of the sides; empty: everything
    privacy.DESENSITIZER.MASK_REGION = []

    # DEPTH: down-samplings of the U-Net; 0: as often as both sides can be halved (7 at 256×128, 6 at 128×64)
    privacy.ANONYMIZER = CfgNode({"NAME": "UNetGenerator", "WIDTH": 64, "DEPTH": 0})  # G_X
    # What G_X sees: raw (the paper: x alone) | raw+desensitized (six channels: x and y, with y's noise drawn
    # for each image) | auto: raw+desensitized where the operator is random, raw elsewhere
    privacy.ANONYMIZER.INPUT = "auto"
    privacy.RECOVERY = CfgNode({"NAME": "UNetGenerator", "WIDTH": 64, "DEPTH": 0})  # G_Y
    privacy.DISCRIMINATOR = CfgNode({"NAME": "PatchDiscriminator", "WIDTH": 64})  # D_Y and D_X

    privacy.UPGRADE = CfgNode()  # supervision upgradation, section 3.4
    privacy.UPGRADE.ENABLED = True
    # ε_psnr, dB: protected images may be this much closer to the raw ones than desensitized images are
    privacy.UPGRADE.EPS_PSNR = 1.0
    privacy.UPGRADE.EPS_SSIM = 0.05  # ε_ssim
    # mean: the differences of the means over the set are held under ε_psnr and ε_ssim (the paper) | worst:
    # those of 95 % of the images, one by one
    privacy.UPGRADE.PRIVACY = "mean"
    # ε_r1, points of rank-1: the first best is Base's OI→DI rank-1 minus this
    privacy.UPGRADE.EPS_RANK1 = 5.0
    # Base's rank-1 OI→DI on the validation split, percent. auto: train Base first, into OUTPUT_DIR/baseline,
    # or reuse a finished one of the same data, budget and seed; a number, or the path of Base's results.json,
    # is taken as given.
    privacy.UPGRADE.BASELINE_RANK1 = "auto"
    # auto: train the upper bound too, into OUTPUT_DIR/upper_bound; or the path of its results.json; "": none
    privacy.UPPER_BOUND = ""

    # the lr rises linearly from WARMUP_FACTOR·BASE_LR in the first epoch to BASE_LR in the last of these
    cfg.SOLVER.WARMUP_EPOCHS = 10
    cfg.SOLVER.WARMUP_ITERS = 0  # fastreid's warm-up in iterations is not used: WARMUP_EPOCHS says it
    # Adam's betas of generators and discriminators; Re-ID has torch's default
    cfg.SOLVER.GAN_BETAS = (0.5, 0.999)
    cfg.SOLVER.KEEP_CHECKPOINTS = 2  # periodic checkpoints kept besides the best and the last

    # identity-disjoint split of the training set; nothing is selected on the test set
    cfg.DATASETS.VALIDATION = CfgNode()
    cfg.DATASETS.VALIDATION.FRACTION = 0.2  # of the training images (4 : 1)
    cfg.DATASETS.VALIDATION.QUERY_FRACTION = 0.2  # of the validation images (gallery : query 4 : 1)
    cfg.DATASETS.VALIDATION.SEED = 0
    # True: images of the same camera count as matches, which is easier; for training images of one camera
    cfg.DATASETS.VALIDATION.SAME_CAMERA = False

    # SyntheticPedestrians: rendered people, written once under FASTREID_DATASETS
    cfg.DATASETS.SYNTHETIC = CfgNode()
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
    # CUHK03: boxes that people drew; False: those that a detector found, which are the paper's
    cfg.DATASETS.CUHK03 = CfgNode({"LABELED": False})
    # ProtectedCollection: a folder that tools/anonymize.py made of a data set by its name
    cfg.DATASETS.PROTECTED = ""
    # Where operators that change a part of each image find it: a folder of masks, a COCO
    # file (.json) or a MOT file; empty: the renderer of SyntheticPedestrians, else a part of the crop
    cfg.DATASETS.REGIONS = ""

    cfg.TEST.CHECKPOINT = "best"  # what is tested after training: best (on the validation split) | final
    cfg.TEST.FEATURES = "float32"  # float32 | float16: how extracted features are kept in memory
    # torchvision's AlexNet file, for LPIPS; empty: the one in torch hub's cache, where there is one. It is
    # never downloaded.
    cfg.TEST.LPIPS_WEIGHTS = ""
    # [where, metric, value] of the paper, shown beside ours: ["OI-PI", "Rank-1", 88.2], …
    cfg.TEST.PAPER_RESULTS = []


def default_config() -> CfgNode:
    """fastreid's defaults and the project's, a new copy."""
    cfg = get_cfg()
    add_privacy_config(cfg)
    # fastreid gives both keys one tuple, of which YAML would write an alias; a checkpoint's config has none
    cfg.DATASETS.TESTS = tuple(list(cfg.DATASETS.NAMES))
    return cfg
