"""Training batches: the order of each epoch, the random draws of each process, and what is done to images."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import itertools
import random

import numpy as np
import pytest
import torch

from fastreid_privacy import data
from fastreid_privacy.config import load_config
from fastreid_privacy.data.loaders import epoch_iterator

pytestmark = pytest.mark.usefixtures("small_dataset")


def config(tmp_path, **options):
    return load_config(SMALL_CONFIG, small_options(tmp_path, **options))


def order_and_draws(loader, seed, epoch, rank):
    """The paths of the first two batches of an epoch, and what each generator draws before them."""
    batches = epoch_iterator(loader, seed, epoch, rank)
    draws = random.random(), np.random.random(), torch.rand(1).item()
    paths = [path for batch in itertools.islice(batches, 2) for path in batch["img_paths"]]
    return paths, draws


@pytest.fixture
def epochs(tmp_path):
    """A function of seed, epoch and rank: as of ``order_and_draws``."""
    loader = data.build_train_loader(config(tmp_path))
    yield lambda *numbers: order_and_draws(loader, *numbers)
    loader.shutdown()


def test_each_epoch_has_an_order_of_its_own(epochs):
    first, again, second, other_seed = epochs(0, 0, 0), epochs(0, 0, 0), epochs(0, 1, 0), epochs(1, 0, 0)
    assert first == again and len(first[0]) == 32
    for other in (second, other_seed):
        assert other[0] != first[0]
        assert all(a != b for a, b in zip(other[1], first[1], strict=True))


def test_processes_share_the_order_and_not_the_draws(epochs):
    """Each process takes its part of one order, which this one alone has whole."""
    first, second = epochs(0, 3, 0), epochs(0, 3, 1)
    assert first[0] == second[0]
    assert all(a != b for a, b in zip(first[1], second[1], strict=True))


def test_the_generators_see_no_erased_box(tmp_path):
    """Erasing is the model's: with all other changes off, an image is the same with and without it."""
    plain = {"INPUT.FLIP.ENABLED": False, "INPUT.PADDING.ENABLED": False}
    erasing = {**plain, "INPUT.REA.ENABLED": True, "INPUT.REA.PROB": 1.0}
    loaders = [data.build_train_loader(config(tmp_path, **options)) for options in (plain, erasing)]
    for index in range(4):
        clean, seen = (loader.dataset[index]["images"] for loader in loaders)
        assert torch.equal(clean, seen)
    for loader in loaders:
        loader.shutdown()
