"""One model in one process or several, on GPUs or on the CPU."""

from __future__ import annotations

import torch.distributed as dist
from fastreid.utils import comm
from torch import nn

from ..compat.distributed import DeviceAwareDDP
from ..model.meta_arch import PrivacyStages


def wrap(model: nn.Module) -> nn.Module:
    """The model in DistributedDataParallel, or the model itself where there is one process.

    Each process keeps BatchNorm statistics of its own during an epoch; see :func:`sync_buffers`.
    """
    if comm.get_world_size() == 1:
        return model
    return DeviceAwareDDP(model, device_ids=[comm.get_local_rank()], broadcast_buffers=False)


def unwrap(model: nn.Module) -> PrivacyStages:
    """The model inside DistributedDataParallel, or the model itself."""
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    assert isinstance(inner, PrivacyStages), "preflight.check_names lets no other meta-architecture through"
    return inner


def sync_buffers(model: nn.Module) -> None:
    """Give every rank the buffers of rank 0, BatchNorm's statistics, which a checkpoint holds."""
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)
