"""Inner products of queries and gallery: by torch on the CPU, by FAISS on a GPU.

FAISS computes them in float32, without TF32, whatever torch is set to.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import faiss
import torch
from torch import Tensor

Products = Callable[[Tensor, Tensor, Tensor], None]
"""(queries Q×D, gallery G×D, out Q×G, which may be a part of wider rows): float32 on one device."""


def products_on(device: torch.device) -> Products:
    """Who computes inner products on a device: torch on the CPU, and where FAISS sees no GPU."""
    if device.type != "cuda" or not faiss.get_num_gpus():
        return _by_torch
    # its import replaces FAISS's functions, which take numpy arrays alone, by those that take tensors, too
    importlib.import_module("faiss.contrib.torch_utils")
    resources = faiss.StandardGpuResources()
    number = torch.cuda.current_device() if device.index is None else device.index

    def by_faiss(queries: Tensor, gallery: Tensor, out: Tensor) -> None:
        kind = faiss.METRIC_INNER_PRODUCT
        with torch.cuda.device(number):  # whose stream FAISS takes
            out.copy_(faiss.pairwise_distance_gpu(resources, queries, gallery, metric=kind, device=number))

    return by_faiss


def _by_torch(queries: Tensor, gallery: Tensor, out: Tensor) -> None:
    torch.mm(queries, gallery.T, out=out)
