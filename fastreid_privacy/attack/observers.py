"""Who looks for people: images to features, of a model that is given or trained for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor
from tqdm import tqdm

from ..checkpoints.onnx_runtime import open_session, run_graph
from ..checkpoints.reading import read_trained
from ..core.errors import UserError, brief
from ..core.files import read_file
from ..core.images import NORMALIZING, scaled
from ..retrieval import load_extractor
from .subjects import Subject
from .views import View, batches

GRAPHS_METRIC = "cosine"  # no file tells another one
ONNX_KEYS = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "channels": "RGB", "range": 255}


@dataclass(frozen=True)
class Observer:
    """A Re-ID model as a function of images.

    Attributes:
        name: what it is, for the result.
        features: N×3×H×W float32, RGB 0–255, to N×D float32 on the CPU.
        size: (height, width) of the images that it wants.
        metric: by which its features are ranked, "cosine" or "euclidean".
    """

    name: str
    features: Callable[[Tensor], Tensor]
    size: tuple[int, int]
    metric: str = GRAPHS_METRIC

    def look(self, view: View, subjects: Sequence[Subject]) -> np.ndarray:
        """Features of the subjects as the view shows them: N×D float32.

        Raises:
            UserError: when they are not finite.
        """
        found = []
        with tqdm(total=len(subjects), unit=" images", desc=self.name, disable=None, leave=False) as progress:
            for some in batches(subjects):
                found.append(self.features(scaled(view(some), self.size)).numpy())
                progress.update(len(some))
        features = np.concatenate(found)
        if not np.isfinite(features).all():
            raise UserError(f"the features of {self.name} are not finite: its weights are broken")
        return features


def load_observer(path: str | Path, device: str, name: str) -> Observer:
    """A Re-ID model of a file; a checkpoint ranks by its config's ``TEST.METRIC``, as in its evaluation.

    Args:
        path: a checkpoint of this package, or an ``.onnx`` graph with its preprocessing in a ``.yaml`` file
            of the same name: ``mean`` and ``std`` of each channel, ``channels`` RGB or BGR, ``range`` 255 or
            1.
            A graph without such a file gets RGB, 0–255, as the graphs of ``export --onnx`` want it.
        device: as everywhere.
        name: what it is called in the result.

    Raises:
        UserError: when there is no such file, it is damaged, gives no features of images, or its
            preprocessing is damaged.
    """
    if Path(path).suffix != ".onnx":
        extract = load_extractor(path, device)
        return Observer(name, extract, extract.size, extract.metric)
    session = open_session(read_file(path), path, device)
    height, width = session.get_inputs()[0].shape[2:]
    settings = _preprocessing(preprocessing_beside(path))
    mean, std = (torch.tensor(settings[key], dtype=torch.float32)[:, None, None] for key in ("mean", "std"))

    def features(images: Tensor) -> Tensor:
        images = images.flip(1) if settings["channels"] == "BGR" else images
        prepared = (images * (settings["range"] / 255) - mean) / std
        try:
            found = _in_its_batches(session, prepared)
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise UserError(f"{path} is no graph of images to features ({brief(error)})") from None
        return found.float().flatten(1)

    features(torch.zeros(2, 3, height, width))  # before anything is trained or written
    return Observer(name, features, (int(height), int(width)))


def metric_of(path: Path) -> str:
    """The metric of :func:`load_observer`'s model, without building it.

    Raises:
        UserError: when the file is no checkpoint of this package, and no graph.
    """
    return GRAPHS_METRIC if path.suffix == ".onnx" else read_trained(path).cfg.TEST.METRIC


def preprocessing_beside(path: str | Path) -> Path:
    """The file that tells the preprocessing of an ``.onnx`` graph; it need not be there."""
    return Path(path).with_suffix(".yaml")


def _in_its_batches(session: Any, images: Tensor) -> Tensor:
    """Run a graph on images: all at once, or so many as it takes, filled up where its batch is fixed."""
    size = session.get_inputs()[0].shape[0]
    if not isinstance(size, int):
        return run_graph(session, images)
    found = []
    for part in images.split(size):
        filled = torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])])
        found.append(run_graph(session, filled)[: len(part)])
    return torch.cat(found)


def _preprocessing(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return ONNX_KEYS
    try:
        given = yaml.safe_load(read_file(path)) or {}
        if not isinstance(given, dict) or set(given) - set(ONNX_KEYS):
            raise ValueError(f"it may have {', '.join(ONNX_KEYS)}")
        settings = {**ONNX_KEYS, **given}
        for key in ("mean", "std"):
            settings[key] = _three_numbers(key, settings[key])
        if settings["channels"] not in ("RGB", "BGR") or settings["range"] not in (1, 255):
            raise ValueError("channels are RGB or BGR, range is 1 or 255")
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} tells no preprocessing: {brief(error)}") from None
    return settings


def _three_numbers(key: str, given: Any) -> list[float]:
    """The mean or the std of the channels.

    Raises:
        ValueError: naming the key, what is given and what is allowed.
    """
    low, high = NORMALIZING[key]
    try:
        values = [float(value) for value in given] if isinstance(given, list) else []  # 1e2 is a text in YAML
    except (ValueError, TypeError, OverflowError):
        values = []
    if len(values) != 3 or not all(low <= value <= high for value in values):
        raise ValueError(f"{key} is {given}; it wants three numbers from {low:g} to {high:g}")
    return values
