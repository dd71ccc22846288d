"""Training over the data loaders of the package, on any fastreid data set; a killed run continues."""

from __future__ import annotations

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_privacy import UserError
from fastreid_privacy.config import flat_keys
from fastreid_privacy.core.errors import brief, say
from fastreid_privacy.core.files import make_folder, write_atomically, write_whole
from fastreid_privacy.core.images import quantize, to_levels, to_unit
from fastreid_privacy.core.kept import keep_settings, stamp_line
from fastreid_privacy.core.lock import locked
from fastreid_privacy.data import build_train_loader, build_validation_loader
from fastreid_privacy.data.loaders import epoch_iterator, validation_split
from fastreid_privacy.evaluation import ImageQuality, evaluate_retrieval

from .learning import WEIGHTS, Learner
from .mechanism import largest_distance
from .model_file import model_bytes
from .networks import IdentityNetworks, Sizes

MODEL, STATE = "identity_dp.safetensors", "training.pth"
NOT_THE_RUN = ("OUTPUT_DIR", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS")  # may differ when a run is continued
MEASURED = 2_000  # embeddings whose largest distance is noted


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        cfg: data, size of the images (``INPUT.SIZE_TRAIN``), batches, ``SOLVER.BASE_LR`` and ``MAX_EPOCH``,
            ``SEED``, ``MODEL.DEVICE`` and ``OUTPUT_DIR``.
        sizes: of images and networks.
        identity_epochs: the first epochs, of the identity encoder alone.
    """

    cfg: CfgNode
    sizes: Sizes
    identity_epochs: int

    def check(self) -> None:
        """Refuse a plan that trains nothing, before anything is read or written.

        Raises:
            UserError: naming what is wrong.
        """
        self.sizes.check()
        if not 1 <= self.identity_epochs < self.cfg.SOLVER.MAX_EPOCH:
            raise UserError(
                f"--identity-epochs is {self.identity_epochs}; of SOLVER.MAX_EPOCH "
                f"{self.cfg.SOLVER.MAX_EPOCH} epochs one at least is for the identity encoder, and one for "
                "the other networks"
            )


def train(plan: Plan) -> Path:
    """Train, or continue a training that was interrupted after an epoch; a finished one stays as it is.

    Returns:
        The model's file, ``OUTPUT_DIR/identity_dp.safetensors``.

    Raises:
        UserError: for a plan or data that cannot be trained on, a folder with another training, a damaged
            state, or a loss that is not finite.
    """
    plan.check()
    cfg, folder = plan.cfg, Path(plan.cfg.OUTPUT_DIR)
    loader = build_train_loader(cfg)
    make_folder(folder, "OUTPUT_DIR")
    with locked(
        folder, f"another training writes to {folder}; wait for its end, or choose another OUTPUT_DIR"
    ):
        keep_settings(folder, _settings(plan), "a training")
        if not (folder / MODEL).exists():
            learner = _learn(plan, loader, folder / STATE)
            about = {**_check(cfg, learner.networks), "trained_on": list(cfg.DATASETS.NAMES)}
            content = model_bytes(learner.networks.cpu(), about)
            write_whole(folder / MODEL, content, sync=True)
            say(", ".join(f"{name} {value}" for name, value in about.items()))
    return folder / MODEL


def _learn(plan: Plan, loader: Any, state: Path) -> Learner:
    cfg = plan.cfg
    torch.manual_seed(cfg.SEED)
    learner = Learner(plan.sizes, loader.dataset.num_classes).to(cfg.MODEL.DEVICE).train()
    optimizer = torch.optim.Adam(learner.parameters(), cfg.SOLVER.BASE_LR)
    begun = _continued(state, learner, optimizer)
    steps = len(loader.dataset) // cfg.SOLVER.IMS_PER_BATCH  # of an epoch; fastreid's samplers never end
    for epoch in range(begun, cfg.SOLVER.MAX_EPOCH):
        start, sums = time.perf_counter(), defaultdict[str, float](float)
        alone = epoch < plan.identity_epochs
        first, last = (0, plan.identity_epochs) if alone else (plan.identity_epochs, cfg.SOLVER.MAX_EPOCH)
        learner.train()
        for done, batch in enumerate(islice(epoch_iterator(loader, cfg.SEED, epoch), steps)):
            progress = (epoch - first + done / steps) / (last - first)
            rate = cfg.SOLVER.BASE_LR * 0.5 * (1 + math.cos(math.pi * progress))
            images = to_unit(batch["images"].to(cfg.MODEL.DEVICE, torch.float32))
            people = batch["targets"].to(cfg.MODEL.DEVICE)
            losses = learner.recognition(images, people) if alone else learner.drawing(images, people)
            for name, value in step(learner, optimizer, losses, rate).items():
                sums[name] += value
        told = ", ".join(f"{name} {value / steps:.3f}" for name, value in sums.items())
        seconds = time.perf_counter() - start
        say(f"epoch {epoch + 1} of {cfg.SOLVER.MAX_EPOCH}, {steps} steps, {seconds:.0f} s: {told}")
        kept = {"learner": learner.state_dict(), "optimizer": optimizer.state_dict(), "epochs": epoch + 1}
        write_atomically(state, lambda file, kept=kept: torch.save(kept, file))  # type: ignore[misc]
    return learner


def step(
    learner: nn.Module, optimizer: torch.optim.Optimizer, losses: Mapping[str, Tensor], rate: float
) -> dict[str, float]:
    """One step down the weighted sum of losses.

    Returns:
        The losses as numbers.

    Raises:
        UserError: when one is not finite; the weights are unchanged then.
    """
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    broken = [f"{name} {value}" for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise UserError(
            f"the training diverged ({', '.join(broken)}): lower SOLVER.BASE_LR, or change SEED, in another "
            "OUTPUT_DIR"
        )
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum().backward()
    optimizer.step()
    return values


def _continued(state: Path, learner: Learner, optimizer: torch.optim.Optimizer) -> int:
    """Load the state of an interrupted training, where there is one; how many epochs it has."""
    if not state.exists():
        return 0
    try:
        kept = torch.load(state, map_location="cpu", weights_only=True)
        learner.load_state_dict(kept["learner"])
        optimizer.load_state_dict(kept["optimizer"])
        return int(kept["epochs"])
    except Exception as error:  # a damaged file can end in any exception of torch
        raise UserError(f"{state} is damaged ({brief(error)}); remove it to begin anew") from None


def _settings(plan: Plan) -> dict[str, Any]:
    keys = {key: value for key, value in flat_keys(plan.cfg).items() if key not in NOT_THE_RUN}
    split, images = validation_split(plan.cfg), hashlib.sha256()
    for path, *label in (*split.train, *split.query, *split.gallery):
        images.update(stamp_line("\0".join(map(str, (Path(path).name, *label))), Path(path)))
    about = {"--identity-epochs": plan.identity_epochs, "images": images.hexdigest()}
    return {**about, **asdict(plan.sizes), **keys}


@torch.no_grad()
def _check(cfg: CfgNode, networks: IdentityNetworks) -> dict[str, Any]:
    """Figures on people of the validation split, of whom nothing was learned."""
    loader, queries = build_validation_loader(cfg)
    networks.eval()
    found, people, cameras, quality = [], [], [], ImageQuality()
    for batch in loader:
        raw = batch["images"].to(cfg.MODEL.DEVICE, torch.float32)
        images = to_unit(raw)
        identity = networks.identity(images)
        quality.update(quantize(to_levels(networks.decoder(networks.attributes(images), identity))), raw)
        found.append(identity.cpu().numpy())
        people += batch["targets"].tolist()
        cameras += batch["camids"].tolist()
    features, pids, camids = np.concatenate(found), np.array(people), np.array(cameras)
    parts = [part for each in (features, pids, camids) for part in (each[:queries], each[queries:])]
    return {
        "validation_rank1": float(evaluate_retrieval(*parts)["Rank-1"]),
        "validation_rebuilt_PSNR": quality.compute()["PSNR"],
        "largest_L1_distance_on_validation": largest_distance(features[:MEASURED]),
    }
