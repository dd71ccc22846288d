"""What a hostile person makes of a config; what all kinds of forged files share.

Such files are valid on the outside, with contents that ask for something else: ``forged_models``,
``forged_graphs`` and ``forged_files``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

Forge = Callable[[bytes, random.Random], bytes]
"""The content of the intact file to that of the forged one."""

PROOF = "PROOF"  # a file that appears when a file has run
CONFIG: dict[str, list[Any]] = {  # of a model: keys, with values that no model has
    "INPUT.SIZE_TEST": [
        [65536, 65536],
        [0, 0],
        [-32, 16],
        [1, 1],
        [2**31, 2],
        [32],
        [],
        [10**30, 16],
        ["x", 1],
    ],
    "INPUT.SIZE_TRAIN": [[65536, 65536]],
    "PRIVACY.ANONYMIZER.WIDTH": [0, -1, 10**5, 2**40, 10**30],
    "PRIVACY.ANONYMIZER.DEPTH": [10**6, -1, 16],
    "PRIVACY.RECOVERY.WIDTH": [10**5, 0],
    "PRIVACY.DISCRIMINATOR.WIDTH": [10**5, 2**40],
    "PRIVACY.ANONYMIZER.NAME": ["PatchDiscriminator", "os.system", ""],
    "PRIVACY.STORAGE": ["jpeg0", "jpeg1000", "x", "none", "jpeg", "png "],
    "PRIVACY.PROTECTION": ["none", "x"],
    "PRIVACY.LAMBDA_REC": [0.0, -1.0],
    "PRIVACY.ATTACKER.WEIGHT": [1.0, -1.0, 1e308],
    "MODEL.BACKBONE.NAME": ["build_resnet_backbone", "build_vit_backbone", "x"],
    "MODEL.BACKBONE.DEPTH": ["x9", "200x"],
    "MODEL.BACKBONE.FEAT_DIM": [10**9, 0, -1],
    "MODEL.HEADS.EMBEDDING_DIM": [10**9, 2**40],
    "MODEL.HEADS.NUM_CLASSES": [10**9, -1],
    "MODEL.META_ARCHITECTURE": ["x", "MoCo", "Distiller", "Baseline"],
    "MODEL.PIXEL_MEAN": [[1e308] * 3, [float("nan")] * 3, [0.0]],
    "MODEL.PIXEL_STD": [[0.0] * 3, [1.0]],
    "MODEL.DEVICE": ["meta", "cuda:99", "x"],
    "INPUT.CROP.SIZE": [[65536, 65536]],
    "TEST.METRIC": ["x"],
    "DATALOADER.NUM_WORKERS": [10**6, -1],
    "DATASETS.NAMES": [["x" * 10**5]],
}


def changed_config(text: str, rng: random.Random) -> str:
    """A config in YAML with one absurd value, or no config."""
    import yaml

    choice = rng.random()
    if choice < 0.15:
        texts = (
            "",
            "[]",
            "1",
            "a: &a [1]\nb: *a\n",
            "!!python/object/apply:os.system ['touch PROOF']",
            "{" * 5000,
        )
        return rng.choice((*texts, "x: " * 2000, "\0", "_BASE_: /dev/zero\n" + text, "PRIVACY: 1\n"))
    config = yaml.safe_load(text)
    key = rng.choice(sorted(CONFIG))
    *path, leaf = key.split(".")
    node = config
    for name in path:
        node = node.setdefault(name, {})
    node[leaf] = rng.choice(CONFIG[key])
    if key == "INPUT.CROP.SIZE":
        node["ENABLED"] = True
    return yaml.safe_dump(config)


class Runs:
    """As a pickle, it calls the shell when it is read."""

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {PROOF}",)
