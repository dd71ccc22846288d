"""Loaders: fastreid's samplers and transforms; one order of images per seed and epoch.

Images are read as those of a collection are (``compat.data.read_images_as_viewers_show_them``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from fastreid.data.build import build_reid_test_loader, build_reid_train_loader
from fastreid.data.common import CommDataset
from fastreid.data.transforms import build_transforms
from fastreid.utils.env import seed_all_rng
from PIL import Image

from ..compat.labels import identity_number
from ..config import changed
from ..core.errors import UserError
from .datasets import load_dataset, training_items
from .placing import PlacedImages, PlacedTransform
from .validation_split import Item, Split, split_training_set


def validation_split(cfg: CfgNode) -> Split:
    """The identity-disjoint split of the config's training images (``DATASETS.VALIDATION``)."""
    return _split(cfg, training_items(cfg))


def _split(cfg: CfgNode, items: list[tuple]) -> Split:
    options = cfg.DATASETS.VALIDATION
    return split_training_set(
        items,
        options.FRACTION,
        options.QUERY_FRACTION,
        options.SEED,
        same_camera=options.SAME_CAMERA,
    )


def build_train_loader(cfg: CfgNode):
    """fastreid's training loader over the training part of the split.

    Its batches have images N×3×H×W, RGB, 0–255, and targets, people, camids, paths; whole and places as of
    :class:`.placing.PlacedTransform` where ``PRIVACY.DESENSITIZE_BEFORE_CROP`` asks for them.

    Raises:
        UserError: when the training part is smaller than a batch, or a batch needs more identities than there
            are.
    """
    items = validation_split(cfg).train
    batch, identities = cfg.SOLVER.IMS_PER_BATCH, len({item[1] for item in items})
    if len(items) < batch:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH {batch} is more than the {len(items)} training images left beside the "
            "validation split"
        )
    needed = batch // cfg.DATALOADER.NUM_INSTANCE
    if cfg.DATALOADER.SAMPLER_TRAIN.endswith("IdentitySampler") and needed > identities:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH {batch} with DATALOADER.NUM_INSTANCE {cfg.DATALOADER.NUM_INSTANCE} needs "
            f"{needed} identities; the training part has {identities}"
        )
    # the model erases what Re-ID sees; the generators must not learn erased boxes
    transforms = build_transforms(changed(cfg, {"INPUT.REA.ENABLED": False}), is_train=True)
    if not cfg.PRIVACY.DESENSITIZE_BEFORE_CROP or cfg.PRIVACY.PROTECTION == "none":
        return build_reid_train_loader(cfg, train_set=TrainingImages(items, transforms))
    images = TrainingImages(items, PlacedTransform(transforms))
    return build_reid_train_loader(cfg, train_set=PlacedImages(images))


def check_training(cfg: CfgNode) -> int:
    """Whether the training images can be split and put into batches; the number of identities to train on.

    Raises:
        UserError: as ``build_train_loader``.
    """
    return build_train_loader(cfg).dataset.num_classes


def image_paths(cfg: CfgNode, *, training: bool) -> Iterator[str]:
    """The files of all images that a run will read: of its test sets, and in training of both parts."""
    if training:
        split = validation_split(cfg)
        yield from (item[0] for item in (*split.train, *split.query, *split.gallery))
    for name in cfg.DATASETS.TESTS:
        tested = load_dataset(cfg, name)
        yield from (item[0] for item in (*tested.query, *tested.gallery))


def epoch_iterator(loader, seed: int, epoch: int, rank: int = 0) -> Iterator[dict]:
    """Batches of one epoch, and every random generator, as a function of the seed and the epoch alone.

    So a run that is resumed at an epoch sees what the uninterrupted one saw, without any generator's state in
    the checkpoint. The sampler draws the same order on every rank (each takes its part of it); the other
    generators differ by rank.
    """
    shared, own = (
        np.random.SeedSequence(numbers).generate_state(1)[0]
        for numbers in ((seed, epoch), (seed, epoch, rank))
    )
    sampler = loader.batch_sampler.sampler
    if hasattr(sampler, "_seed"):
        sampler._seed = int(shared)
    seed_all_rng(int(own))
    return iter(loader)


class TrainingImages(CommDataset):
    """fastreid's training images, whose items also say who is shown: people.

    Targets are numbers of the classifier's. An operator that depends on the person is given the number that
    the data set has for them, so that it makes of an image in training what it makes of its file.

    Args:
        items: of training.
        transform: of the images.
    """

    def __init__(self, items: list, transform: Callable[[Image.Image], Any]):
        super().__init__(items, transform, relabel=True)
        self.people = people_numbers(items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**super().__getitem__(index), **_person(self.people, index)}


class EvaluationImages(CommDataset):
    """fastreid's data set, whose items also say whether they are queries, and who is shown: is_query, people.

    Args:
        query: items of the queries, which come first.
        gallery: of the gallery.
        transform: of both.
        labelled: items of the same images, in the same order, with the data set's own labels of people; None:
            query and gallery have them.
    """

    def __init__(
        self,
        query: list,
        gallery: list,
        transform: Callable[[Image.Image], Any],
        labelled: Sequence[Item] | None = None,
    ):
        items = [*query, *gallery]
        super().__init__(items, transform, relabel=False)
        self.num_query = len(query)
        self.people = people_numbers(items if labelled is None else labelled)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = super().__getitem__(index)
        return {**item, "is_query": index < self.num_query, **_person(self.people, index)}


def people_numbers(items: Sequence[Sequence]) -> list[int] | None:
    """The number of each item's person, as a collection tells it; None where a label ends in no number."""
    try:
        return [identity_number(item[1]) for item in items]
    except UserError:
        return None


def _person(people: Sequence[int] | None, index: int) -> dict[str, int]:
    return {} if people is None else {"people": people[index]}


def _evaluation_loader(cfg: CfgNode, query: list, gallery: list, labelled: Sequence[Item] | None = None):
    images = EvaluationImages(query, gallery, build_transforms(cfg, is_train=False), labelled)
    return build_reid_test_loader(
        test_set=images,
        test_batch_size=cfg.TEST.IMS_PER_BATCH,
        num_query=len(query),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def build_validation_loader(cfg: CfgNode):
    """(loader, number of queries) of the validation part, queries first."""
    items = training_items(cfg)
    split, item_of = _split(cfg, items), {item[0]: item for item in items}
    labelled = [item_of[path] for path, _, _ in (*split.query, *split.gallery)]
    return _evaluation_loader(cfg, split.query, split.gallery, labelled)


def build_test_loader(cfg: CfgNode, name: str):
    """(loader, number of queries) of a test set, queries first, in sorted order."""
    data = load_dataset(cfg, name)
    return _evaluation_loader(cfg, sorted(data.query), sorted(data.gallery))
