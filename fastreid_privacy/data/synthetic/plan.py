"""What is in each image of the rendered data set, before anything is drawn: who, under which camera, when."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...core.errors import UserError
from ...core.folders import ways_to
from .camera import Camera, Track
from .identity import CUES, Identity, sample_identity

VERSION = 2
"""Part of the folder's name: raise it when the same parameters would give other images."""
TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
DISTRACTOR_SHARE = 0.08
"""Gallery images that show nobody of the data set (pid 0), per gallery image that does."""


@dataclass(frozen=True)
class SyntheticOptions:
    """What is rendered; the same options give the same files, byte for byte.

    Attributes:
        train_identities: number of identities to train on.
        test_identities: number of other identities to test on.
        cameras: number of cameras; an identity is seen by 60 % of them at least, rounded to a whole number,
            and by two.
        images_per_camera: largest number of images of an identity under a camera (or one less, but two at
            least).
        height: of the images, pixels.
        width: of the images, pixels.
        seed: of everything random.
        cues: which cues tell identities apart: ``all``, ``colour`` or ``detail``.

    Raises:
        UserError: for options that give no usable data set, naming the config key, its value and what is
            allowed.
    """

    train_identities: int = 100
    test_identities: int = 50
    cameras: int = 6
    images_per_camera: int = 6
    height: int = 128
    width: int = 64
    seed: int = 0
    cues: str = "all"

    def __post_init__(self) -> None:
        bounds = {
            "TRAIN_IDENTITIES": (self.train_identities, 1, "somebody must be trained on"),
            "TEST_IDENTITIES": (self.test_identities, 1, "somebody must be looked for"),
            "CAMERAS": (self.cameras, 2, "a person is looked for under other cameras"),
            "IMAGES_PER_CAMERA": (
                self.images_per_camera,
                2,
                "one image is the query, the others the gallery",
            ),
            "HEIGHT": (self.height, 32, "people of fewer pixels cannot be told apart"),
            "WIDTH": (self.width, 32, "people of fewer pixels cannot be told apart"),
            "SEED": (self.seed, 0, "random generators take no negative seed"),
        }
        for key, (value, lowest, why) in bounds.items():
            if not isinstance(value, int) or value < lowest:
                raise UserError(
                    f"DATASETS.SYNTHETIC.{key} is {value!r}; it must be a whole number of at least {lowest}: "
                    f"{why}"
                )
        if self.cues not in CUES:
            raise UserError(f"DATASETS.SYNTHETIC.CUES is {self.cues!r}; allowed: {', '.join(CUES)}")

    @property
    def folder_name(self) -> str:
        """The folder of the data set: the options, and the version of the renderer."""
        people = f"{self.train_identities}+{self.test_identities}x{self.cameras}x{self.images_per_camera}"
        name = f"SyntheticPedestrians-v{VERSION}-{people}-{self.height}x{self.width}-s{self.seed}"
        return name if self.cues == "all" else f"{name}-{self.cues}"

    @classmethod
    def of_folder(cls, name: str) -> SyntheticOptions | None:
        """The options of a data set's folder, by its name; None: it is no folder of this renderer."""
        found = re.fullmatch(
            rf"SyntheticPedestrians-v{VERSION}-(\d+)\+(\d+)x(\d+)x(\d+)-(\d+)x(\d+)-s(\d+)(?:-(\w+))?", name
        )
        if found is None or found[8] not in (None, *CUES[1:]):
            return None
        people, others, cameras, images, height, width, seed = map(int, found.groups()[:7])
        return cls(people, others, cameras, images, height, width, seed, found[8] or "all")

    @classmethod
    def of_image(cls, path: str | Path) -> tuple[SyntheticOptions, str] | None:
        """The options of the data set that an image lies in, and its name inside the data set's folder.

        The folder may be a link: its name as the path has it counts, and that of where the image is if it
        tells nothing.

        Returns:
            None: the image is in no folder of this renderer.
        """
        for place in ways_to(path):
            options = cls.of_folder(place.parent.parent.name)
            if options is not None:
                return options, f"{place.parent.name}/{place.name}"
        return None


def _counts(seed: int, pid: int, cameras: int, images_per_camera: int) -> dict[int, int]:
    """Images of an identity by camera: at least two cameras, at least two images under each."""
    rng = np.random.default_rng([seed, 3, pid])
    seen = int(rng.integers(max(2, round(0.6 * cameras)), cameras + 1))
    chosen = sorted(int(camera) for camera in rng.permutation(cameras)[:seen])
    return {
        camera: int(rng.integers(max(2, images_per_camera - 1), images_per_camera + 1)) for camera in chosen
    }


def _plan(seed: int, pids: range, cameras: int, images_per_camera: int) -> list[tuple[int, int, int]]:
    """(pid, camera, image number) of all images to be drawn."""
    counts = {pid: _counts(seed, pid, cameras, images_per_camera) for pid in pids}
    return [
        (pid, camera, number)
        for pid in pids
        for camera, count in counts[pid].items()
        for number in range(count)
    ]


def _name(pid: int, camera: int, frame: int, number: int) -> str:
    """Market-1501's naming: identity, camera and sequence, frame, number of the detection in it."""
    return f"{pid:04d}_c{camera + 1}s1_{frame:06d}_{number:02d}.jpg"


@dataclass(frozen=True)
class Planned:
    """One image to be taken; it can be drawn once, for drawing uses up its generator.

    Attributes:
        name: inside the data set's folder, "/" between the parts.
        camera: that takes it.
        rng: the image's own generator.
        person: who is in it; None: a false detection of background.
        track: the walk it belongs to.
        missed_by: how far the detector's box misses the person, as a fraction of its height.
    """

    name: str
    camera: Camera
    rng: np.random.Generator
    person: Identity | None
    track: Track
    missed_by: float = 0.0


def count_images(options: SyntheticOptions) -> int:
    """How many images :func:`planned_images` gives."""
    return sum(map(len, _plans(options))) + _distractors(options)


def planned_images(options: SyntheticOptions) -> Iterator[Planned]:
    """All images of a data set: training, query and gallery people, then the distractors."""
    seed, cues = options.seed, options.cues
    cameras = [Camera.sample(seed, index, options.height, options.width) for index in range(options.cameras)]

    @lru_cache(maxsize=1)  # all images of somebody follow each other
    def person_of(pid: int) -> Identity:
        return sample_identity(np.random.default_rng([seed, 4, pid]), cues)

    for part, plan in zip((TRAIN, GALLERY), _plans(options), strict=True):
        for pid, camera, number in plan:
            person = person_of(pid)
            track_rng = np.random.default_rng([seed, 5, pid, camera])
            track = cameras[camera].track(track_rng)
            first_frame = int(track_rng.integers(1, 90_000))
            where = QUERY if part == GALLERY and number == 0 else part
            name = f"{where}/{_name(pid, camera, first_frame + 25 * number, 1 + number % 3)}"
            rng = np.random.default_rng([seed, 6, pid, camera, number])
            yield Planned(name, cameras[camera], rng, person, track)
    for index in range(_distractors(options)):
        rng = np.random.default_rng([seed, 7, index])
        camera = index % options.cameras
        # false detections: every other one cuts a stranger badly, the rest show nobody
        track = cameras[camera].track(rng)
        stranger = sample_identity(rng, cues) if index % 2 else None
        missed_by = float(rng.uniform(0.2, 0.45))
        name = f"{GALLERY}/{_name(0, camera, 100 + index, 0)}"
        yield Planned(name, cameras[camera], rng, stranger, track, missed_by)


def _plans(options: SyntheticOptions) -> list[list[tuple[int, int, int]]]:
    """Of the people to train on, and of those to test on."""
    pids = range(1, options.train_identities + options.test_identities + 1)
    return [
        _plan(options.seed, part, options.cameras, options.images_per_camera)
        for part in (pids[: options.train_identities], pids[options.train_identities :])
    ]


def _distractors(options: SyntheticOptions) -> int:
    return max(1, round(DISTRACTOR_SHARE * len(_plans(options)[1])))
