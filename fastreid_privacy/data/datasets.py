"""Finding data sets: fastreid's own and this project's by name, any folders in Market-1501 naming."""

from __future__ import annotations

import functools
import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from ..compat.labels import MARKET_FOLDER, explained
from ..core.errors import UserError, some_of
from ..core.folders import ENDINGS, ways_to
from ..manifest import PARTS

logger = logging.getLogger(__name__)

_MSMT17_ABSENT = "Dataset folder not found"  # msmt17.py:57, an AssertionError
_WHERE_TO_GET = {
    "Market1501": (
        "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html, unpacked to Market-1501-v15.09.15/"
    ),
    "MSMT17": "https://www.pkuvmc.com/dataset.html, unpacked to MSMT17_V1/ or MSMT17_V2/",
    "CUHK03": "https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html, unpacked to cuhk03/",
}


@DATASET_REGISTRY.register()
class MarketFolder(ImageDataset):
    """Folders of images named as in Market-1501: ``<identity>_c<camera>…``.

    For instance ``0002_c1s1_000451_03.jpg``. Identity −1 marks junk, which is left out; identity 0 marks
    distractors, which stay in the gallery. Cameras count from 1 in names, or from 0 where a name of the three
    folders has camera 0; in items they count from 0.

    Args:
        root: not used; the folders come from ``DATASETS.FOLDER``.
        train: folder of training images.
        query: folder of query images.
        gallery: folder of gallery images.

    Raises:
        UserError: for a folder that is missing or empty, or a file that is not named so.
    """

    _junk_pids = (-1, 0)
    dataset_name = "marketfolder"

    def __init__(self, root: str = "", *, train: str, query: str, gallery: str, **kwargs):
        parts = {"TRAIN": train, "QUERY": query, "GALLERY": gallery}
        named = {key: read_market_folder(folder, f"DATASETS.FOLDER.{key}") for key, folder in parts.items()}
        first = min(1, *(camera for part in named.values() for _, _, camera in part))
        items = {
            key: [(path, pid, camera - first) for path, pid, camera in part] for key, part in named.items()
        }
        people = [
            (path, f"{self.dataset_name}_{pid}", f"{self.dataset_name}_{camera}")
            for path, pid, camera in items["TRAIN"]
            if pid > 0
        ]
        if distractors := len(items["TRAIN"]) - len(people):
            _warn_once(
                f"{train} (DATASETS.FOLDER.TRAIN): {distractors} images of identity 0 are left out of "
                "training, as distractors are. If 0 is a person, give that person another number"
            )
        super().__init__(people, items["QUERY"], items["GALLERY"], **kwargs)


def read_market_folder(folder: str | Path, key: str) -> list[tuple[str, int, int]]:
    """The images of one folder in Market-1501 naming, sorted by name.

    Junk (−1) and hidden files are left out; what else is in the folder is logged.

    Args:
        folder: the folder.
        key: of the config that names it, for messages.

    Returns:
        (path, identity, camera) of each, as its name has them.

    Raises:
        UserError: for a folder that is missing or empty, or a file that is not named so.
    """
    given, folder = str(folder), Path(folder).expanduser()
    if folder == Path() or not folder.is_dir():
        raise UserError(
            f"{key} is {given!r}, which is no folder; give a folder of images named as "
            "0002_c1s1_000451_03.jpg"
        )
    items: list[tuple[str, int, int]] = []
    others: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):  # ._0002_c1s1_000451_03.jpg, for instance, which macOS leaves behind
            continue
        if path.is_dir() or not path.name.lower().endswith(ENDINGS):
            others.append(f"{path.name}/" if path.is_dir() else path.name)
            continue
        try:
            pid, camera = MARKET_FOLDER.read(path)
        except UserError as error:
            raise UserError(f"{error} ({key})") from None
        if pid >= 0:
            items.append((str(path), pid, camera))
    if not items:
        raise UserError(f"{key} {folder} holds no image ({', '.join(ENDINGS)}); folders in it are not read")
    if others:
        _warn_once(f"{key} {folder}: passed over, for they are no images that can be read: {some_of(others)}")
    return items


@functools.cache
def _warn_once(message: str) -> None:
    """Log what every reading of the same folders would say again."""
    logger.warning("%s", message)


def datasets_root() -> Path:
    """Where data sets live: the environment variable FASTREID_DATASETS, read now, else ``datasets`` here."""
    return Path(os.environ.get("FASTREID_DATASETS", "datasets")).expanduser()


def path_below_root(path: str | Path) -> str | None:
    """Where a file lies below :func:`datasets_root`, "/" between the parts; None: elsewhere.

    A data set may be a link: the path as it is written counts, and where it leads to if that is elsewhere.
    """
    for place in ways_to(path):
        for root in ways_to(datasets_root()):
            if root in place.parents:
                return place.relative_to(root).as_posix()
    return None


def load_dataset(cfg: CfgNode, name: str) -> ImageDataset:
    """A data set by its registered name, found under FASTREID_DATASETS.

    Raises:
        UserError: for an unknown name, or a data set that is not there: what is missing, where it was looked
            for and where to get it. Also for one whose names or lists do not fit: the file and the rule.
    """
    known = sorted(DATASET_REGISTRY._obj_map)  # fastreid's registry has no public way to list its names
    if name not in known:
        raise UserError(f"DATASETS: unknown data set {name}; known: {', '.join(known)}")
    options: dict[str, object] = {}
    if name == "SyntheticPedestrians":
        options = {key.lower(): value for key, value in cfg.DATASETS.SYNTHETIC.items()}
    elif name == "MarketFolder":
        options = {key.lower(): value for key, value in cfg.DATASETS.FOLDER.items()}
    elif name == "CUHK03":
        options = {"cuhk03_labeled": cfg.DATASETS.CUHK03.LABELED}
    elif name == "ProtectedCollection":
        options = {"folder": cfg.DATASETS.PROTECTED}
    root = datasets_root()
    try:
        data = DATASET_REGISTRY.get(name)(root=str(root), **options)
        counts = {part: len(getattr(data, part)) for part in PARTS}  # files are listed at the first access
    except UserError:
        raise
    except Exception as error:
        absent = isinstance(error, (RuntimeError, OSError)) or str(error) == _MSMT17_ABSENT
        if not absent and (reason := explained(error)):
            raise UserError(
                f"data set {name} under {root.resolve()} is not as fastreid reads it: {reason}. Rename, mend "
                "or move away what is named here"
            ) from None
        if not absent and not isinstance(error, AssertionError):
            raise  # a fault in a data set class of the user's own
        source = f" Get it from {_WHERE_TO_GET[name]} there." if name in _WHERE_TO_GET else ""
        raise UserError(
            f"data set {name} is not under {root.resolve()} ({error}). Set the environment variable "
            f"FASTREID_DATASETS to the folder that holds it.{source} Without it, this runs on rendered "
            "people: python tools/train_net.py --config-file configs/Synthetic/privacy_agw.yml"
        ) from None
    for part, count in counts.items():
        if count == 0:
            raise UserError(f"data set {name} under {root.resolve()} has no {part} images")
    return data


def training_items(cfg: CfgNode) -> list[tuple]:
    """All training items of ``DATASETS.NAMES``, (path, identity, camera), sorted by path.

    File systems list files in any order.
    """
    items = (tuple(item) for name in cfg.DATASETS.NAMES for item in load_dataset(cfg, name).train)
    return sorted(items, key=lambda item: item[0])


def check_datasets(cfg: CfgNode, names: Iterable[str]) -> None:
    """Load data sets once, so that before training it is said which is missing or cannot be tested on.

    Args:
        cfg: those of its ``DATASETS.TESTS`` are tested on.
        names: of all that are used.

    Raises:
        UserError: naming the data set.
    """
    for name in dict.fromkeys(names):
        dataset = load_dataset(cfg, name)
        if name not in cfg.DATASETS.TESTS:
            continue
        cameras = defaultdict(set)
        for _, pid, camera in dataset.gallery:
            cameras[pid].add(camera)
        if not any(cameras[pid] - {camera} for _, pid, camera in dataset.query):
            raise UserError(
                f"data set {name} cannot be tested on: none of its {len(dataset.query)} queries has an "
                "image of its identity in the gallery under another camera. Take other queries, or another "
                "data set for DATASETS.TESTS; where all images are of one camera, give the queries' files "
                "another camera number, as in 0002_c2s1_000451_03.jpg"
            )
