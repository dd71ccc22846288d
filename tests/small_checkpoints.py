"""A small model in the form of a wrapped Re-ID model, and its checkpoints: used by the tests of
checkpoints."""

from __future__ import annotations

from fastreid_privacy.training.checkpointer import PrivacyCheckpointer

# isort: split
from pathlib import Path

import torch
from torch import nn


class Net(nn.Module):
    """Named as a wrapped Re-ID model: backbone and heads, and networks that plain fastreid does not have."""

    def __init__(self, identities=5, width=4, anonymizer=True):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))
        self.heads = nn.Linear(width, identities)
        if anonymizer:
            self.anonymizer = nn.Linear(3, 3)

    def forward(self, x):
        return self.heads(self.backbone(self.anonymizer(x)))


class Counter:
    """A checkpointable of ours: plain values."""

    def __init__(self, value=0):
        self.value = value

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def make(folder, seed=0, keep=2, **options):
    """A checkpointer of a freshly initialised model after one optimizer step."""
    torch.manual_seed(seed)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(4, 3)).sum().backward()
    optimizer.step()
    return PrivacyCheckpointer(
        model,
        str(folder),
        config="SEED: 7\n",
        keep=keep,
        optimizer=optimizer,
        record=Counter(seed),
        **options,
    )


def same_state(a, b):
    """Whether two state dicts hold the same tensors."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir())
