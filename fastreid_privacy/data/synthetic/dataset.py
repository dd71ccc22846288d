"""Writing the rendered pedestrians in Market-1501's layout, once, and serving them as a fastreid data set."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from tqdm import tqdm

from ...core.errors import UserError
from .camera import Camera
from .identity import CUES, sample_identity

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
        cameras: number of cameras; an identity is seen by 60 % of them at least, and by two.
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


def generate(folder: Path, options: SyntheticOptions) -> None:
    """Render and write a data set, unless ``folder`` exists.

    The images are written to a temporary folder beside ``folder`` that is renamed when the last one is there,
    so ``folder`` is either complete or absent; of several processes that write at once, the first to finish
    gives the folder and the others discard theirs.

    Args:
        folder: what to make, with ``bounding_box_train``, ``query`` and ``bounding_box_test`` inside.
        options: what is rendered.

    Raises:
        UserError: where nothing can be written.
    """
    folder = Path(folder)
    if folder.is_dir():
        return
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.unfinished")
    try:
        for part in (TRAIN, QUERY, GALLERY):
            (unfinished / part).mkdir(parents=True)
        for name, data in _images(options):
            (unfinished / name).write_bytes(data)
        try:
            unfinished.rename(folder)
        except OSError:
            # another process finished first: its images are the same
            if not folder.is_dir():
                raise
    except OSError as error:
        raise UserError(
            f"cannot write the embedded data set to {folder.parent}: {error.strerror or error}; "
            "set the environment variable FASTREID_DATASETS to a folder that can be written to"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _images(options: SyntheticOptions) -> Iterator[tuple[str, bytes]]:
    """(name inside the data set's folder, JPEG file) of all images, with a progress bar."""
    seed, cameras, cues = options.seed, options.cameras, options.cues
    views = [Camera.sample(seed, index, options.height, options.width) for index in range(cameras)]
    pids = range(1, options.train_identities + options.test_identities + 1)
    train, test = (
        _plan(seed, part, cameras, options.images_per_camera)
        for part in (pids[: options.train_identities], pids[options.train_identities :])
    )
    distractors = max(1, round(DISTRACTOR_SHARE * len(test)))
    with tqdm(
        total=len(train) + len(test) + distractors,
        desc="rendering SyntheticPedestrians",
        unit="image",
        mininterval=1.0,
    ) as progress:
        for part, plan in ((TRAIN, train), (GALLERY, test)):
            for pid, camera, number in plan:
                person = sample_identity(np.random.default_rng([seed, 4, pid]), cues)
                track_rng = np.random.default_rng([seed, 5, pid, camera])
                track = views[camera].track(track_rng)
                first_frame = int(track_rng.integers(1, 90_000))
                picture = views[camera].shoot(
                    np.random.default_rng([seed, 6, pid, camera, number]), person, track
                )
                where = QUERY if part == GALLERY and number == 0 else part
                yield (
                    f"{where}/{_name(pid, camera, first_frame + 25 * number, 1 + number % 3)}",
                    views[camera].encode(picture),
                )
                progress.update()
        for index in range(distractors):
            rng = np.random.default_rng([seed, 7, index])
            view = views[index % cameras]
            # false detections: every other one cuts a stranger badly, the rest show nobody
            track = view.track(rng)
            stranger = sample_identity(rng, cues) if index % 2 else None
            picture = view.shoot(rng, stranger, track, missed_by=float(rng.uniform(0.2, 0.45)))
            yield f"{GALLERY}/{_name(0, index % cameras, 100 + index, 0)}", view.encode(picture)
            progress.update()


@DATASET_REGISTRY.register()
class SyntheticPedestrians(ImageDataset):
    """Rendered pedestrians, written under ``root`` at first use; options as :class:`SyntheticOptions`.

    Training items hold strings (``syntheticpedestrians_12``, ``syntheticpedestrians_0``), query and gallery
    items whole numbers; cameras count from 0; files are in sorted order. Distractors have pid 0.

    Args:
        root: fastreid's data set folder.
        train_identities: see :class:`SyntheticOptions`, as the others.
        **kwargs: for fastreid's ``ImageDataset``.
    """

    _junk_pids = (0, -1)
    dataset_name = "syntheticpedestrians"

    def __init__(
        self,
        root: str | Path = "datasets",
        *,
        train_identities: int = 100,
        test_identities: int = 50,
        cameras: int = 6,
        images_per_camera: int = 6,
        height: int = 128,
        width: int = 64,
        seed: int = 0,
        cues: str = "all",
        **kwargs,
    ) -> None:
        options = SyntheticOptions(
            train_identities, test_identities, cameras, images_per_camera, height, width, seed, cues
        )
        self.folder = Path(root) / options.folder_name
        generate(self.folder, options)
        super().__init__(*(self._items(part) for part in (TRAIN, QUERY, GALLERY)), **kwargs)

    def _items(self, part: str) -> list[tuple]:
        items: list[tuple] = []
        for path in sorted((self.folder / part).glob("*.jpg")):
            name = re.match(r"(\d+)_c(\d+)s", path.name)
            if name is None:
                raise UserError(f"{path} is no image of the embedded data set: take it out of its folder")
            pid, camera, prefix = int(name[1]), int(name[2]) - 1, f"{self.dataset_name}_"
            items.append(
                (str(path), f"{prefix}{pid}", f"{prefix}{camera}")
                if part == TRAIN
                else (str(path), pid, camera)
            )
        return items
