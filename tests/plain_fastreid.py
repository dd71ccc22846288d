"""A plain fastreid experiment, as a user's script would have it, and what its processes do: used by
test_compat.py.

A module of its own, because spawned processes import it by its name.
"""

from __future__ import annotations

from fastreid_privacy import compat  # before fastreid: importing the package makes it work

# isort: split
import multiprocessing
import os
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode, get_cfg
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from fastreid.engine import DefaultTrainer
from fastreid.utils import comm
from PIL import Image

from fastreid_privacy.compat.patching import original_of
from fastreid_privacy.core.errors import UserError


@DATASET_REGISTRY.register()
class TinyPedestrians(ImageDataset):
    """Four identities × two cameras × two images of noise, 32×16, in the folder FASTREID_DATASETS; query:
    camera 0, gallery: camera 1."""

    def __init__(self, root: str = "", **kwargs):
        folder = Path(root)
        rng = np.random.default_rng(0)
        items = []
        for pid in range(4):
            for camera in range(2):
                for number in range(2):
                    path = folder / f"{pid}_{camera}_{number}_rank{comm.get_rank()}.png"
                    Image.fromarray(rng.integers(0, 256, (32, 16, 3), dtype=np.uint8)).save(path)
                    items.append((str(path), pid, camera))
        query = [item for item in items if item[2] == 0]
        super().__init__(items, query, [item for item in items if item[2] == 1], **kwargs)


def tiny_config(output: Path | str, *options) -> CfgNode:
    """Plain fastreid on TinyPedestrians: ResNet-18, 32×16, four iterations per epoch, two epochs, on the
    CPU."""
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            "MODEL.DEVICE",
            "cpu",
            "MODEL.BACKBONE.DEPTH",
            "18x",
            "MODEL.BACKBONE.PRETRAIN",
            False,
            "MODEL.BACKBONE.FEAT_DIM",
            512,
            "MODEL.HEADS.NUM_CLASSES",
            4,
            "INPUT.SIZE_TRAIN",
            [32, 16],
            "INPUT.SIZE_TEST",
            [32, 16],
            "DATASETS.NAMES",
            ("TinyPedestrians",),
            "DATASETS.TESTS",
            ("TinyPedestrians",),
            "DATALOADER.SAMPLER_TRAIN",
            "NaiveIdentitySampler",
            "DATALOADER.NUM_INSTANCE",
            2,
            "DATALOADER.NUM_WORKERS",
            0,
            "SOLVER.IMS_PER_BATCH",
            4,
            "SOLVER.MAX_EPOCH",
            2,
            "SOLVER.WARMUP_ITERS",
            0,
            "SOLVER.BASE_LR",
            0.01,
            "SOLVER.CHECKPOINT_PERIOD",
            1,
            "TEST.IMS_PER_BATCH",
            8,
            "TEST.EVAL_PERIOD",
            1,
            "OUTPUT_DIR",
            str(output),
            *options,
        ]
    )
    return cfg


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the parameters."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def train_in_two_processes(output: str) -> None:
    """Everything that a plain script uses between its processes; each leaves what it saw in a file of its
    own. At the end, one finds a mistake of the user's."""
    import fastreid.engine.defaults as defaults

    total = torch.tensor([comm.get_rank() + 1.0])
    torch.distributed.all_reduce(total)
    seen = {
        "sum": total.item(),
        "backend": torch.distributed.get_backend(),
        "local": (comm.get_local_rank(), comm.get_local_size()),
        "gathered": comm.all_gather({"rank": comm.get_rank()}),
        "loader_device": compat.data.loader_device,
        "threads": torch.get_num_threads(),
        "start_method": multiprocessing.get_start_method(),
    }
    try:
        original_of(defaults, "DistributedDataParallel")(
            torch.nn.Linear(2, 2), device_ids=[comm.get_local_rank()]
        )
        seen["upstream_ddp"] = "works"
    except ValueError as error:
        seen["upstream_ddp"] = str(error)
    os.environ["FASTREID_DATASETS"] = output
    trainer = DefaultTrainer(tiny_config(output, "TEST.EVAL_PERIOD", 2))
    before = weights_of(trainer.model.module)
    trainer.train()
    seen["weights"] = weights_of(trainer.model.module)
    seen["moved"] = sum(not torch.equal(before[name], seen["weights"][name]) for name in before)
    torch.save(seen, Path(output) / f"seen_{comm.get_rank()}.pt")
    comm.synchronize()
    if comm.get_rank() == 1:
        raise UserError("MODEL.WEIGHTS names no file")
    comm.synchronize()
