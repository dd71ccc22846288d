"""The file that says what is trained, and on what, read strictly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from fastreid_privacy import UserError, load_config
from fastreid_privacy.core.errors import brief
from fastreid_privacy.core.files import read_file
from fastreid_privacy.data.datasets import training_items

from .finding import PersonMasks
from .networks import Shape
from .pictures import dataset_pictures, instance_pictures
from .samples import Samples, samples_of

LARGEST_FILE = 2**20  # bytes
PATHS = ("pictures", "instances", "keypoints")
BOUNDS = {"steps": (1, 10_000_000), "batch": (2, 4096), "seed": (0, 2**31)}


@dataclass(frozen=True)
class Recipe:
    """What is trained.

    Attributes:
        part: "full_body" or "head".
        data: a data set that fastreid knows, whose training images are learned from; "": photographs.
        set: config keys, of the data set and of its regions: DATASETS.REGIONS.
        keypoints: a file of COCO keypoints of the data set; "": rendered people bring theirs.
        pictures: folder of photographs, in place of a data set.
        instances: folder of their instance masks.
        size: (height, width) of the network's images.
        width: channels of the U-Net's first layer.
        latent: how many numbers tell one person from another.
        steps: of training.
        batch: images of a step.
        seed: of the first weights, and of what is drawn.

    Raises:
        UserError: naming the key, its value and what is allowed.
    """

    part: str = "full_body"
    data: str = ""
    set: Mapping[str, Any] = field(default_factory=dict)
    keypoints: str = ""
    pictures: str = ""
    instances: str = ""
    size: tuple[int, int] = (64, 32)
    width: int = 16
    latent: int = 16
    steps: int = 1500
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if bool(self.data) == bool(self.pictures) or bool(self.pictures) != bool(self.instances):
            raise UserError(
                "a recipe has data, the name of a data set, or pictures and instances, two folders; this one "
                f"has data {self.data!r}, pictures {self.pictures!r}, instances {self.instances!r}"
            )
        if self.pictures and (self.keypoints or self.set):
            raise UserError("a recipe's set and keypoints are of a data set: leave them out beside pictures")
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise UserError(
                    f"the recipe's {name} is {value!r}; it is a whole number from {least} to {most:,}"
                )
        try:
            self.shape(())
        except ValueError as error:
            raise UserError(f"the recipe: {error}") from None

    def shape(self, joints: tuple[str, ...]) -> Shape:
        """Of the network, which knows these joints."""
        return Shape(self.part, self.size, self.width, self.latent, joints)

    def samples(self) -> Samples:
        """What is learned from, read and cut out.

        Raises:
            UserError: when something of it is missing or not as it should be.
        """
        if self.pictures:
            found = instance_pictures(self.pictures, self.instances)
            return samples_of(found, (), self.part, self.size)
        words = [str(word) for pair in self.set.items() for word in pair]
        cfg = load_config("", [*words, "DATASETS.NAMES", repr((self.data,))])
        files = [Path(item[0]) for item in training_items(cfg)]
        regions = PersonMasks(self.part, cfg.DATASETS.REGIONS)
        joints, pictures = dataset_pictures(files, regions, self.keypoints)
        return samples_of(pictures, joints, self.part, self.size)

    @property
    def source(self) -> str:
        """What is learned from, in a word that names no place."""
        return self.data or "instance masks"


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe; paths in it are relative to its folder.

    Args:
        path: of the YAML file.
        changes: KEY VALUE pairs that come before what the file says; paths in them are relative to where the
            command runs.

    Raises:
        UserError: when it is missing or no such file, has an unknown key, or a value that is not allowed.
    """
    if len(changes) % 2:
        raise UserError(f"the changes of a recipe are KEY VALUE pairs; {changes[-1]} has no value")
    try:
        given = yaml.safe_load(read_file(path, LARGEST_FILE))
        changed = {key: yaml.safe_load(value) for key, value in zip(changes[::2], changes[1::2], strict=True)}
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} is no recipe: {brief(error)}") from None
    if not isinstance(given, dict):
        raise UserError(f"{path} is no recipe: it holds no key: value lines")
    kinds = {each.name: type(getattr(_PLAIN, each.name)) for each in fields(Recipe)}
    for name, value in (*given.items(), *changed.items()):
        if name not in kinds:
            raise UserError(f"{path}: a recipe has no key {name!r}; it has {', '.join(kinds)}")
        wanted = (list,) if name == "size" else (kinds[name],)
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise UserError(f"{path}: {name} is {value!r}; it has to be like {getattr(_PLAIN, name)!r}")
    for name in PATHS:
        if given.get(name):
            given[name] = str(path.parent / given[name])
    values = {**given, **changed}
    if "size" in values:
        values["size"] = tuple(values["size"])
    return Recipe(**values)


_PLAIN = Recipe(data="SyntheticPedestrians")
