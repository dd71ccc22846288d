"""Labels that fastreid's data sets read from names of files and from lists.

fastreid 1.4.0 searches whole paths, so a folder such as ``site3_c2`` above the data set gives every image its
identity and camera, and it reads one digit of a camera. Here the name of the file alone counts, with all its
digits, and a name that does not fit is named together with the rule.
"""

from __future__ import annotations

import glob
import importlib
import io
import linecache
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import UserError, typed
from .patching import replace

_DATASETS = "fastreid.data.datasets."
# what fastreid's data sets call the file, or the line of a list, that they are reading
_READING = ("img_path", "img_info", "line", "path", "img_name", "pid_dir", "split_path")


class NameRule(NamedTuple):
    """How the files of a data set are named.

    Attributes:
        dataset: its name, for messages.
        pattern: of the beginning of a name; its two groups are identity and camera.
        form: the same for people, with an example.
        identities: the smallest and the largest; None: any.
        cameras: the smallest and the largest; None: any.
    """

    dataset: str
    pattern: str
    form: str
    identities: tuple[int, int] | None = None
    cameras: tuple[int, int] | None = None

    def read(self, path: str | os.PathLike) -> tuple[int, int]:
        """Identity and camera of a file, both as its name has them.

        Args:
            path: of the file; only its name is read.

        Raises:
            UserError: naming the file and the rule.
        """
        match = re.match(self.pattern, os.path.basename(path))
        if not match:
            raise UserError(
                f"{path} is not named as {self.dataset} wants it, {self.form}; rename it or move it away"
            )
        labels = int(match[1]), int(match[2])
        for what, number, limits in zip(
            ("identity", "camera"), labels, (self.identities, self.cameras), strict=True
        ):
            if limits and not limits[0] <= number <= limits[1]:
                raise UserError(
                    f"{path} is named as {what} {number}, and {self.dataset} has {limits[0]} to {limits[1]} "
                    f"({self.form}); rename it, move it away, or read the folders as MarketFolder "
                    "(DATASETS.FOLDER), which takes any number"
                )
        return labels


MARKET_FOLDER = NameRule(
    "MarketFolder", r"(-?\d+)_c(\d+)", "<identity>_c<camera>…, for instance 0002_c1s1_000451_03.jpg"
)
MARKET1501 = MARKET_FOLDER._replace(dataset="Market1501", identities=(-1, 1501), cameras=(1, 6))
DUKE = NameRule(
    "DukeMTMC", r"(-?\d+)_c(\d+)", "<identity>_c<camera>…, for instance 0001_c2_f0046182.jpg", cameras=(1, 8)
)
VERI = NameRule(
    "VeRi", r"(\d+)_c(\d+)", "<identity>_c<camera>…, for instance 0001_c001_00016450_0.jpg", (0, 776), (1, 20)
)
# the number behind _s is no camera, and fastreid uses it for nothing
CUHK_SYSU = NameRule("cuhkSYSU", r".*?p(-?\d+)_s(\d+)", "p<identity>_s<scene>…, for instance p1_s12_1.jpg")
MSMT17 = NameRule(
    "MSMT17",
    r"([^_]*\d)_[^_]*_(\d+)",
    "<identity>_<number>_<camera>…, for instance 0000_000_01_0303morning_0008_0.jpg",
    cameras=(1, 99),
)


def _folder_items(dataset: Any, folder: str, rule: NameRule, is_train: bool, camera: bool = True) -> list:
    """fastreid's items of the .jpg files of a folder, sorted: cameras from 0; training labels are texts.

    Identity −1 is junk, which is left out where the data set knows of it.
    """
    items: list[tuple] = []
    for name in sorted(glob.glob("*.jpg", root_dir=folder)):  # root_dir: a "[" in the folder's name is none
        path = os.path.join(folder, name)
        label = rule.read(path)
        if label[0] == -1 and -1 in dataset._junk_pids:
            continue
        label = (label[0], label[1] - 1 if camera else 0)
        items.append((path, *(_training_label(dataset, number) if is_train else number for number in label)))
    return items


def _training_label(dataset: Any, number: int) -> str:
    return f"{dataset.dataset_name}_{number}"


def read_labels_from_names() -> None:
    """fastreid's market1501.py:78, dukemtmcreid.py:62, cuhk_sysu.py:53 and veri.py:59 search whole paths.

    So does msmt17.py:107, in the paths of its lists.
    """
    from fastreid.data.datasets import cuhk_sysu, dukemtmcreid, market1501, msmt17, veri

    for owner, rule in (
        (market1501.Market1501, MARKET1501),
        (dukemtmcreid.DukeMTMC, DUKE),
        (veri.VeRi, VERI),
    ):

        def process_dir(self: Any, dir_path: str, is_train: bool = True, rule: NameRule = rule) -> list:
            return _folder_items(self, dir_path, rule, is_train)

        replace(owner, "process_dir", process_dir)

    def cuhk_sysu_dir(self: Any, dir_path: str) -> list:
        return _folder_items(self, dir_path, CUHK_SYSU, is_train=True, camera=False)

    def msmt17_list(self: Any, dir_path: str, list_path: str, is_train: bool = True) -> list:
        items: list[tuple] = []
        for line in _filled_lines(list_path):
            path, _, number = line.strip().rpartition(" ")
            if not path or not re.fullmatch(r"\d+", number):
                raise UserError(
                    f"{list_path} has the line {line.strip()!r}; MSMT17's lists have a path and an identity "
                    "on each line: 0000/0000_000_01_0303morning_0008_0.jpg 0"
                )
            label = int(number), MSMT17.read(path)[1] - 1
            labels = [_training_label(self, part) if is_train else part for part in label]
            items.append((os.path.join(dir_path, path), *labels))
        return items

    replace(cuhk_sysu.cuhkSYSU, "process_dir", cuhk_sysu_dir)
    replace(msmt17.MSMT17, "process_dir", msmt17_list)


def _filled_lines(path: str | os.PathLike) -> list[str]:
    """The lines of a text file that hold more than white space, each with its end."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return [line for line in file if line.strip()]


def pass_over_empty_lines() -> None:
    """fastreid's AirportALERT.py:38, vehicleid.py:54 and veriwild.py:60, 80 fail on an empty line."""

    def open_list(path: str, mode: str = "r") -> io.StringIO:
        return io.StringIO("".join(_filled_lines(path)))

    for module in ("AirportALERT", "vehicleid", "veriwild"):
        replace(importlib.import_module(_DATASETS + module), "open", open_list)


def explained(error: Exception) -> str:
    """Where fastreid's reading of a data set failed: the file or the line, and the code, which is the rule.

    Args:
        error: that came out of a class of ``fastreid.data.datasets``.

    Returns:
        The reason for a message; "" when the error comes from elsewhere.
    """
    traceback, reason = error.__traceback__, ""
    while traceback is not None:
        frame = traceback.tb_frame
        module = frame.f_globals.get("__name__", "")
        if module.startswith(_DATASETS) and module != f"{_DATASETS}bases":  # which calls any class's code
            reading = next((frame.f_locals[name] for name in _READING if name in frame.f_locals), None)
            code = linecache.getline(frame.f_code.co_filename, traceback.tb_lineno).strip()
            at = f"{str(reading).strip()!r}, at " if reading is not None else ""
            where = f"{Path(frame.f_code.co_filename).name}:{traceback.tb_lineno}"
            reason = f"{at}`{code}` ({where}): {typed(error)}"
        traceback = traceback.tb_next
    return reason


def identity_number(label: int | str) -> int:
    """A label of a data set as a number: the last digits of what fastreid names its training people.

    Raises:
        UserError: when it ends in none.
    """
    digits = re.search(r"-?\d+$", str(label))
    if digits is None:
        raise UserError(f"the label {label!r} of the data set ends in no number")
    return int(digits[0])
