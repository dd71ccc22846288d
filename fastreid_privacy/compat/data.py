"""fastreid's data loading: the loader, the folder of the data sets, reading images, one augmentation."""

from __future__ import annotations

import functools
import multiprocessing
import os
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from ..core.pictures import open_picture
from .patching import replace

loader_device: str | None = None  # of :func:`load_batches_onto`


def load_batches_onto(device: str | None) -> None:
    """Say where fastreid's data loaders that are built from now on put their batches.

    Args:
        device: "cpu", "cuda" and so on; None or "auto": the GPU when there is one. A trainer says it when
            MODEL.DEVICE is another one, for instance cpu on a machine with a GPU.
    """
    global loader_device
    loader_device = device


def start_method() -> str:
    """How this process starts others, without settling it, as a plain ``get_start_method`` would do."""
    return multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]


class _WorkerProcess(SpawnProcess):
    """A loader's worker that imports this package before fastreid, for its class is unpickled first."""


class _WorkerContext(SpawnContext):
    """How workers start where they are not forked."""

    Process = _WorkerProcess


class PlainDataLoader(DataLoader):
    """torch's loader as fastreid constructs its ``DataLoaderX``; batches arrive on the model's device.

    Args:
        local_rank: index of this process's GPU, used where batches go to a GPU (see ``load_batches_onto``).
        **kwargs: those of ``torch.utils.data.DataLoader``; ``pin_memory`` holds only where batches go to a
            GPU.
    """

    def __init__(self, local_rank: int, **kwargs: Any) -> None:
        self.local_rank = local_rank
        self.device = _batch_device(local_rank)
        kwargs["pin_memory"] = bool(kwargs.get("pin_memory")) and self.device.type == "cuda"
        if kwargs.get("num_workers") and start_method() != "fork":
            # Such a worker begins by importing the data set's module: fastreid.data, which cannot be imported
            # before compat.apply().
            kwargs.setdefault("multiprocessing_context", _WorkerContext())
        super().__init__(**kwargs)
        self._batches: Callable[[], Any] = lambda: None

    # torch's annotation names the class of its own iterators
    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        self._batches = weakref.ref(batches)
        # map keeps torch's behaviour: workers start now, not at the first batch, and what a data set raises
        # reaches the caller.
        return map(self._move, batches)

    def _move(self, batch: Any) -> Any:
        if self.device.type == "cpu":
            return batch
        if isinstance(batch, torch.Tensor):
            return batch.to(self.device, non_blocking=True)
        if isinstance(batch, dict):
            return {key: self._move(value) for key, value in batch.items()}
        return batch

    def shutdown(self) -> None:
        """Stop the worker processes of an iteration that was not run to its end, if there are any."""
        batches = self._batches()
        if batches is not None and hasattr(batches, "_shutdown_workers"):
            batches._shutdown_workers()


def _batch_device(local_rank: int) -> torch.device:
    name = loader_device
    if name in (None, "auto"):
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda", local_rank) if name == "cuda" else torch.device(name)


def replace_the_data_loader() -> None:
    """fastreid/data/data_utils.py:127, 151, 190: ``DataLoaderX`` prefetches in a thread that needs a GPU.

    Without one the thread dies and the training waits for ever, and so it does with a GPU when a data set
    raises.
    """
    import fastreid.data.build as build
    import fastreid.data.data_utils as data_utils

    replace(build, "DataLoaderX", PlainDataLoader)
    replace(data_utils, "DataLoaderX", PlainDataLoader)


def build_loaders_as_they_are_asked_for() -> None:
    """Where fastreid's loaders read, and where their batches go, is decided when each is built.

    fastreid/data/build.py:27 reads FASTREID_DATASETS when it is imported, which ``apply`` does early. A
    script that sets the variable between ``import fastreid_privacy`` and its first loader would read another
    folder. And fastreid/data/data_utils.py:151 puts batches on a GPU, also those of a model that
    ``MODEL.DEVICE`` keeps on the CPU.
    """
    import fastreid.data
    import fastreid.data.build as build
    from fastreid.config import CfgNode

    def as_asked(build_loader: Callable) -> Callable:
        @functools.wraps(build_loader)
        def build_reid_loader(*args: Any, **kwargs: Any) -> Any:
            build._root = os.getenv("FASTREID_DATASETS", "datasets")
            configs = [word for word in (*args, *kwargs.values()) if isinstance(word, CfgNode)]
            said = loader_device
            if any(str(cfg.MODEL.DEVICE).startswith("cpu") for cfg in configs):
                load_batches_onto("cpu")
            try:
                return build_loader(*args, **kwargs)
            finally:
                load_batches_onto(said)

        return build_reid_loader

    for name in ("build_reid_train_loader", "build_reid_test_loader"):
        current = as_asked(getattr(build, name))
        replace(build, name, current)
        replace(fastreid.data, name, current)


def read_images_as_viewers_show_them() -> None:
    """fastreid/data/data_utils.py:17 shows other pixels than the files of a collection have.

    Its ``read_image`` makes 16-bit grey images and 32-bit ones white, and shows what is hidden under full
    transparency; a palette or an RGBA file keeps its own channels, which then fail or are misread. JPEG files
    and 8-bit RGB files have the same pixels either way.
    """
    import fastreid.data.common as common
    import fastreid.data.data_utils as data_utils

    def read_image(file_name: str, format: str | None = None) -> Image.Image:
        picture = open_picture(data_utils.PathManager.get_local_path(file_name))
        if format == "BGR":
            return Image.fromarray(np.asarray(picture)[..., ::-1])
        return picture if format in (None, "RGB") else picture.convert(format)

    replace(common, "read_image", read_image)
    replace(data_utils, "read_image", read_image)


class _Transforms:
    """``torchvision.transforms`` with the ``RandomAffine`` of torchvision 0.8."""

    def __getattr__(self, name: str) -> Any:
        return getattr(transforms, name)

    @staticmethod
    def RandomAffine(
        *args: Any, resample: int = 0, fillcolor: Any = 0, **kwargs: Any
    ) -> transforms.RandomAffine:
        modes = {0: InterpolationMode.NEAREST, 2: InterpolationMode.BILINEAR, 3: InterpolationMode.BICUBIC}
        return transforms.RandomAffine(*args, interpolation=modes[int(resample)], fill=fillcolor, **kwargs)


def translate_random_affine() -> None:
    """fastreid/data/transforms/build.py:81: ``resample`` and ``fillcolor`` have other names now."""
    import fastreid.data.transforms.build as build

    replace(build, "T", _Transforms())
