"""Data: any fastreid data set by name, its identity-disjoint validation split, loaders of both.

``datasets`` (found by name, or folders in Market-1501 naming), ``protected`` (a protected collection as a
data set), ``synthetic`` (rendered people), ``validation_split``, ``loaders``.
"""

from .datasets import MarketFolder, check_datasets, load_dataset
from .loaders import (
    build_test_loader,
    build_train_loader,
    build_validation_loader,
    check_training,
    image_paths,
)
from .protected import ProtectedCollection
from .synthetic.dataset import SyntheticPedestrians
from .validation_split import Split, split_training_set

__all__ = [
    "MarketFolder",
    "ProtectedCollection",
    "Split",
    "SyntheticPedestrians",
    "build_test_loader",
    "build_train_loader",
    "build_validation_loader",
    "check_datasets",
    "check_training",
    "image_paths",
    "load_dataset",
    "split_training_set",
]
