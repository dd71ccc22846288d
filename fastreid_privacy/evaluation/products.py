"""Inner products of queries and gallery: by torch on the CPU, by FAISS on a GPU.

FAISS computes them in float32, without TF32, whatever torch is set to. It is given the addresses of torch's
tensors: ``faiss.contrib.torch_utils``, which takes tensors, replaces FAISS's functions and methods for the
whole process when it is imported, and a search with parameters fails from then on.
"""

from __future__ import annotations

from collections.abc import Callable

import faiss
import torch
from torch import Tensor

Products = Callable[[Tensor, Tensor, Tensor], None]
"""(queries Q×D, gallery G×D, out Q×G, which may be a part of wider rows): float32 on one device."""
ALL_PAIRS = -1  # in place of k nearest neighbours


def products_on(device: torch.device) -> Products:
    """Who computes inner products on a device: torch on the CPU, and where FAISS sees no GPU."""
    if device.type != "cuda" or not faiss.get_num_gpus():
        return _by_torch
    resources = faiss.StandardGpuResources()
    number = torch.cuda.current_device() if device.index is None else device.index

    def by_faiss(queries: Tensor, gallery: Tensor, out: Tensor) -> None:
        queries, gallery = queries.contiguous(), gallery.contiguous()
        products = torch.empty(len(queries), len(gallery), device=queries.device)
        asked = faiss.GpuDistanceParams()
        asked.metric, asked.k, asked.device = faiss.METRIC_INNER_PRODUCT, ALL_PAIRS, number
        asked.dims, asked.numQueries, asked.numVectors = queries.shape[1], len(queries), len(gallery)
        asked.queryType = asked.vectorType = faiss.DistanceDataType_F32
        asked.queriesRowMajor = asked.vectorsRowMajor = True
        asked.queries, asked.vectors, asked.outDistances = map(_address, (queries, gallery, products))
        of_torch = torch.cuda.current_stream(device).cuda_stream
        stream = faiss.cast_integer_to_cudastream_t(of_torch)  # type: ignore[attr-defined]
        resources.setDefaultStream(number, stream)  # in torch's order: no waiting before and after
        faiss.bfKnn(resources, asked)
        out.copy_(products)

    return by_faiss


def _address(tensor: Tensor) -> object:
    return faiss.cast_integer_to_float_ptr(tensor.data_ptr())


def _by_torch(queries: Tensor, gallery: Tensor, out: Tensor) -> None:
    torch.mm(queries, gallery.T, out=out)
