"""Training batches: the order of each epoch, the random draws of each process, and what is done to images."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastreid_privacy import data
from fastreid_privacy.config import load_config
from fastreid_privacy.data.loaders import epoch_iterator

pytestmark = pytest.mark.usefixtures("small_dataset")


def config(tmp_path, **options):
    return load_config(SMALL_CONFIG, small_options(tmp_path, **options))


@pytest.fixture
def order(tmp_path):
    """A function of seed, epoch and rank: the paths of the first two batches of the epoch."""
    loader = data.build_train_loader(config(tmp_path))

    def paths_of(*numbers):
        batches = itertools.islice(epoch_iterator(loader, *numbers), 2)
        return [path for batch in batches for path in batch["img_paths"]]

    yield paths_of
    loader.shutdown()


class NoLoader:
    """A loader that reads nothing: a real one draws numbers in a thread of its own."""

    def __init__(self):
        self.batch_sampler = SimpleNamespace(sampler=SimpleNamespace(_seed=0))

    def __iter__(self):
        return iter(())


def draws(*numbers):
    """What Python, numpy and torch draw at the start of an epoch, and the seed of the order of images."""
    loader = NoLoader()
    epoch_iterator(loader, *numbers)
    drawn = random.random(), np.random.random(), torch.rand(1).item()
    return drawn, loader.batch_sampler.sampler._seed


def test_each_epoch_has_an_order_of_its_own(order):
    first = order(0, 0, 0)
    assert len(first) == 32 and first == order(0, 0, 0)
    assert first != order(0, 1, 0) and first != order(1, 0, 0)


def test_each_epoch_has_draws_of_its_own():
    first, seed = draws(0, 0, 0)
    assert (first, seed) == draws(0, 0, 0)
    for other, other_seed in (draws(0, 1, 0), draws(1, 0, 0)):
        assert other_seed != seed and all(a != b for a, b in zip(other, first, strict=True))


def test_processes_share_the_order_and_not_the_draws(order):
    """Each process takes its part of one order, which this one alone has whole."""
    assert order(0, 3, 0) == order(0, 3, 1)
    first, second = draws(0, 3, 0), draws(0, 3, 1)
    assert first[1] == second[1]
    assert all(a != b for a, b in zip(first[0], second[0], strict=True))


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
