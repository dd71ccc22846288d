"""Training a Re-ID model for an attack, as a run of ``fastreid-privacy train`` of its own.

On raw images of the known people it is the stranger, who judges raw, protected and recovered images; on
protected ones it is the parrot, which learned from the released files themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..config import changed, load_config
from ..core.errors import UserError
from ..core.images import to_pictures
from ..data.validation_split import split_training_set
from ..report.pictures import save_png
from ..results.results_json import checkpoint_of, is_finished
from ..training.own_process import run_logged, save_config, training_command
from .subjects import Subject, Subjects
from .views import View, batches

EPOCHS = 120  # of a budget of 1, as the paper trains
BACKBONES = {  # none of them wants weights from elsewhere
    "resnet18": {
        "MODEL.BACKBONE.NAME": "build_resnet_backbone",
        "MODEL.BACKBONE.DEPTH": "18x",
        "MODEL.BACKBONE.FEAT_DIM": 512,
    },
    "osnet": {
        "MODEL.BACKBONE.NAME": "build_osnet_backbone",
        "MODEL.BACKBONE.DEPTH": "x0_25",
        "MODEL.BACKBONE.FEAT_DIM": 128,
    },
    "mobilenet": {
        "MODEL.BACKBONE.NAME": "build_mobilenetv2_backbone",
        "MODEL.BACKBONE.DEPTH": "1.0",
        "MODEL.BACKBONE.FEAT_DIM": 1280,
    },
}
BATCH, INSTANCES = 32, 4  # images, and those of one person
LOG = "attack.log"


def train_reid(
    folder: Path, view: View, subjects: Subjects, *, backbone: str, epochs: int, seed: int, device: str
) -> Path:
    """Train AGW on the known people as a view shows them; a finished run is left as it is.

    Args:
        folder: of the run and its images; continued where it was interrupted.
        view: what is learned from.
        subjects: ``known`` is learned from; the others are tested on at the end.
        backbone: of ``BACKBONES``.
        epochs: of training.
        seed: of the run.
        device: where it runs.

    Returns:
        The checkpoint.

    Raises:
        UserError: when the run fails; its log is named.
    """
    run = folder / "run"
    if is_finished(run):
        return checkpoint_of(run)
    parts = {"TRAIN": subjects.known, "QUERY": subjects.query, "GALLERY": subjects.gallery}
    for part, images in parts.items():
        _write(folder / part.lower(), view, images)
    cfg = changed(
        load_config(),
        {
            **_agw(subjects.size, epochs),
            **BACKBONES[backbone],
            **{f"DATASETS.FOLDER.{part}": str(folder / part.lower()) for part in parts},
            "SEED": seed,
            "MODEL.DEVICE": device,
            "OUTPUT_DIR": str(run),
        },
    )
    config = folder / "config.yaml"
    save_config(cfg, config)
    run_logged(training_command(config), folder / LOG, "training a Re-ID model for the attack")
    return checkpoint_of(run)


def check_enough(
    subjects: Subjects, remedy: str = "Name one with --stranger, and leave out --parrots"
) -> None:
    """Refuse, before anything is written, to train Re-ID on fewer known images than a batch takes.

    Raises:
        UserError: saying how many there are, and how many are needed.
    """
    items = [(str(each.raw), each.pid, each.camid) for each in subjects.known]
    people = len({each.pid for each in subjects.known})
    try:
        left = split_training_set(items).train
    except UserError:
        left = []
    if len(left) < BATCH or len({pid for _, pid, _ in left}) < BATCH // INSTANCES:
        raise UserError(
            f"{len(items)} images of {people} known people are too few to train a Re-ID model on: a batch "
            f"takes {BATCH} of {BATCH // INSTANCES}, beside a fifth that is kept for validation. "
            f"{remedy}"
        )


def _agw(size: tuple[int, int], epochs: int) -> dict[str, object]:
    """AGW on raw images, small enough for a CPU, without weights from elsewhere."""
    return {
        "MODEL.META_ARCHITECTURE": "PrivacyReID",
        "PRIVACY.PROTECTION": "none",
        "PRIVACY.UPPER_BOUND": "",
        "DATASETS.NAMES": ("MarketFolder",),
        "DATASETS.TESTS": ("MarketFolder",),
        "MODEL.BACKBONE.LAST_STRIDE": 2,
        "MODEL.BACKBONE.WITH_NL": False,
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.HEADS.NAME": "EmbeddingHead",
        "MODEL.HEADS.NORM": "BN",
        "MODEL.HEADS.WITH_BNNECK": True,
        "MODEL.HEADS.POOL_LAYER": "GeneralizedMeanPooling",
        "MODEL.HEADS.NECK_FEAT": "before",
        "MODEL.HEADS.CLS_LAYER": "Linear",
        "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
        "MODEL.LOSSES.CE.EPSILON": 0.1,
        "MODEL.LOSSES.TRI.MARGIN": 0.0,
        "MODEL.LOSSES.TRI.HARD_MINING": False,
        "INPUT.SIZE_TRAIN": list(size),
        "INPUT.SIZE_TEST": list(size),
        "INPUT.FLIP.ENABLED": True,
        "INPUT.PADDING.ENABLED": True,
        "INPUT.PADDING.SIZE": max(1, round(10 * size[0] / 256)),
        "INPUT.REA.ENABLED": True,
        "DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler",
        "DATALOADER.NUM_INSTANCE": INSTANCES,
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.OPT": "Adam",
        "SOLVER.BASE_LR": 0.00035,
        "SOLVER.MAX_EPOCH": epochs,
        "SOLVER.WARMUP_EPOCHS": min(10, max(0, epochs // 7)),
        "SOLVER.STEPS": [max(1, epochs // 3), max(2, 2 * epochs // 3)]
        if epochs > 9
        else [max(1, epochs - 1)],
        "SOLVER.IMS_PER_BATCH": BATCH,
        "SOLVER.CHECKPOINT_PERIOD": max(1, epochs // 10),
        "TEST.EVAL_PERIOD": epochs,
    }


def _write(folder: Path, view: View, subjects: Sequence[Subject]) -> None:
    """The images of a view as PNG files in Market-1501 naming."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for some in batches(subjects):
        for each, picture in zip(some, to_pictures(view(some)), strict=True):
            path = folder / f"{each.pid:04}_c{each.camid + 1}_{number:07}.png"
            number += 1
            if not path.exists():
                save_png(Image.fromarray(picture), path)
