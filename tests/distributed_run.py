"""What the processes of test_distributed.py do. A module of its own, because spawned processes import it by
its name."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from fastreid_privacy.commands import train as command_line

# isort: split
import hashlib
from pathlib import Path

import torch
from fastreid.utils import comm

from fastreid_privacy.model.losses import update_centers
from fastreid_privacy.training.processes import unwrap
from fastreid_privacy.training.request import TrainingRequest
from fastreid_privacy.training.trainer import PrivacyTrainer


def digests(model: torch.nn.Module) -> dict[str, str]:
    """SHA-256 of every parameter and buffer, those outside of the state dict included."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        name: hashlib.sha256(value.detach().numpy().tobytes()).hexdigest() for name, value in tensors.items()
    }


def center_example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Centers, features and targets of a batch of 12: identities on both processes, on one of them only, and
    on none."""
    draw = torch.Generator().manual_seed(0)
    centers, features = torch.randn(6, 5, generator=draw), torch.randn(12, 5, generator=draw)
    return centers, features, torch.tensor([0, 0, 1, 1, 2, 0, 3, 3, 1, 3, 4, 4])


def train_and_record(request: TrainingRequest) -> None:
    """The training command's ``main``, after which every process leaves what it saw in OUTPUT_DIR."""
    seen = {"world_size": comm.get_world_size(), "paths": [], "seeds": [], "epochs": []}
    train, after_epoch, run_step = PrivacyTrainer.train, PrivacyTrainer.after_epoch, PrivacyTrainer.run_step

    def recorded_step(trainer):
        run_step(trainer)
        seen["paths"].append(list(trainer._trainer.paths))
        seen["seeds"].append(torch.initial_seed())

    def recorded_epoch(trainer):
        after_epoch(trainer)
        seen["epochs"].append(digests(unwrap(trainer.model)))

    def recorded_training(trainer):
        seen["initial"] = digests(unwrap(trainer.model))
        train(trainer)
        seen.update(
            record=trainer.record.state_dict(),
            supervision_upgraded=bool(unwrap(trainer.model).supervision.upgraded),
        )

    PrivacyTrainer.train, PrivacyTrainer.after_epoch, PrivacyTrainer.run_step = (
        recorded_training,
        recorded_epoch,
        recorded_step,
    )
    command_line.main(request)

    centers, features, targets = center_example()
    rank, half = comm.get_rank(), len(targets) // 2 - 1  # unequal shares
    mine = slice(None, half) if rank == 0 else slice(half, None)
    update_centers(centers, features[mine], targets[mine], lr=0.5)
    seen["centers"] = centers
    output = Path(request.overrides[request.overrides.index("OUTPUT_DIR") + 1])
    torch.save(seen, output / f"seen_{rank}.pt")
