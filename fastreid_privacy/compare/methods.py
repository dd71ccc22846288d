"""The file that names the methods of a comparison, read strictly."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..collection.source import is_dataset
from ..core.errors import UserError, brief
from ..core.files import read_file

LARGEST_FILE = 2**20  # bytes
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")  # it becomes a folder's
TAKEN = ("stranger", "figures", "compare.json", "compare.html")  # names in the output folder
OWN = (  # config keys that the comparison sets for all methods
    "DATASETS.NAMES",
    "DATASETS.TESTS",
    "MODEL.DEVICE",
    "OUTPUT_DIR",
    "PRIVACY.UPPER_BOUND",
    "SEED",
    "TEST.PAPER_RESULTS",
)
KEYS = ("data", "set", "reference", "foreign", "tasks", "methods")
OF_METHOD = ("config", "run", "protected", "set", "seal", "guard")
SEALS = ("beside", "pixels")  # where sealed originals go
SOURCES = ("config", "run", "protected")  # a method has one of these
TASKS = ("masks", "keypoints", "attributes")


@dataclass(frozen=True)
class Method:
    """One method of a comparison, by one of three ways.

    Attributes:
        name: in the result, and of its folder.
        config: a config file that is trained.
        run: the folder of a finished training.
        protected: a folder of files that any tool has protected.
        options: KEY VALUE pairs on top of ``config``.
        seal: "beside" or "pixels": raw files are sealed there, so that recovery is exact; "": they are not.
        guard: each image is held to the privacy thresholds, as ``anonymize`` does it.
    """

    name: str
    config: Path | None = None
    run: Path | None = None
    protected: Path | None = None
    options: tuple[str, ...] = ()
    seal: str = ""
    guard: bool = False


@dataclass(frozen=True)
class Methods:
    """What is compared, and on what.

    Attributes:
        data: a data set that fastreid knows, or a folder with the three folders of Market-1501.
        reference: the simple method that the others are to beat; "" where there is none.
        foreign: raw images of other people, for row A2 of the attacks; "": no such row.
        tasks: files of truth for other tasks: "masks", "keypoints", "attributes".
        methods: in the order of the file.
    """

    data: str
    reference: str
    foreign: str
    tasks: dict[str, Path]
    methods: tuple[Method, ...]


def read_methods(path: Path) -> Methods:
    """Read the file of a comparison; paths in it are relative to its folder.

    Raises:
        UserError: when it is missing or no YAML, has unknown or contradicting keys, names a file that is not
            there, or a method twice.
    """
    try:
        content = yaml.load(read_file(path, LARGEST_FILE), _Loader)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} is no file of methods: {brief(error)}") from None
    here = path.parent
    _check_keys(content, KEYS, str(path))
    shared = _options(content.get("set"), f"{path}: set")
    given = content.get("methods")
    if not isinstance(given, dict) or not given:
        raise UserError(
            f"{path} names no methods; it wants lines such as methods: {{blur: {{config: blur.yml}}}}"
        )
    methods = tuple(_method(str(name), about, shared, here, path) for name, about in given.items())
    twice = [name for name, count in Counter(method.name for method in methods).items() if count > 1]
    if twice:
        raise UserError(f"{path} has the method {twice[0]} twice")
    reference = str(content.get("reference") or "")
    if reference and reference not in {method.name for method in methods}:
        raise UserError(f"{path}: the reference {reference} is none of its methods")
    tasks = content.get("tasks") or {}
    _check_keys(tasks, TASKS, f"{path}: tasks")
    return Methods(
        _data(content.get("data"), here, f"{path}: data"),
        reference,
        _data(content["foreign"], here, f"{path}: foreign") if content.get("foreign") else "",
        {name: _existing(here, value, f"{path}: tasks: {name}") for name, value in tasks.items()},
        methods,
    )


class _Loader(yaml.SafeLoader):
    """YAML without aliases, which could fill the memory when nested, and without a key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias (*), which is not understood")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if twice is not None:
            raise ValueError(f"it has {twice} twice")
        return super().construct_mapping(node, deep)


def _method(name: str, about: Any, shared: tuple[str, ...], here: Path, path: Path) -> Method:
    place = f"{path}: {name}"
    if not NAME.fullmatch(name):
        raise UserError(
            f"{place}: the name of a method has letters, digits, and _ . + - behind the first, 64 at most"
        )
    if name in TAKEN:
        raise UserError(f"{place}: the output folder has a {name} of its own; choose another name")
    _check_keys(about, OF_METHOD, place)
    ways = [way for way in SOURCES if about.get(way)]
    if len(ways) != 1:
        raise UserError(f"{place} must have one of {', '.join(SOURCES)}, not {len(ways)}")
    if ways != ["config"] and about.get("set"):
        raise UserError(f"{place}: set is for a config that is trained, not for {ways[0]}")
    seal = about.get("seal", "")
    if seal not in ("", *SEALS):
        raise UserError(f"{place}: seal is {' or '.join(SEALS)}, not {seal!r}")
    guard = about.get("guard", False)
    if not isinstance(guard, bool):
        raise UserError(f"{place}: guard is true or false, not {guard!r}")
    for key, value in {"seal": seal, "guard": guard}.items():
        if value and ways == ["protected"]:
            raise UserError(f"{place}: {key} is for files that are protected here, not for a folder of them")
    source = _existing(here, about[ways[0]], f"{place}: {ways[0]}")
    options = (*shared, *_options(about.get("set"), f"{place}: set")) if ways == ["config"] else ()
    return Method(name, **{ways[0]: source}, options=options, seal=seal, guard=guard)


def _check_keys(content: Any, known: Sequence[str], place: str) -> None:
    if not isinstance(content, Mapping):
        raise UserError(f"{place} must be KEY: value lines, with {', '.join(known)}")
    unknown = [str(key) for key in content if key not in known]
    if unknown:
        raise UserError(f"{place} has {', '.join(unknown)}, but may have {', '.join(known)} only")


def _options(given: Any, place: str) -> tuple[str, ...]:
    """{KEY: value} as the words that a command line would have."""
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise UserError(f"{place} must be KEY: value lines, such as SOLVER.MAX_EPOCH: 3")
    for key in map(str, given):
        if key in OWN or key.startswith("DATASETS.FOLDER."):
            raise UserError(f"{place} has {key}, which the comparison sets for all methods: leave it out")
    return tuple(word for key, value in given.items() for word in (str(key), str(value)))


def _data(given: Any, here: Path, place: str) -> str:
    """A data set's name as it is, a folder as its path."""
    if not isinstance(given, str) or not given:
        raise UserError(f"{place} must be a data set that fastreid knows, or a folder, not {given!r}")
    return given if is_dataset(given) else str(_existing(here, given, place))


def _existing(here: Path, given: Any, place: str) -> Path:
    if not isinstance(given, str):
        raise UserError(f"{place} must be a path, not {given!r}")
    found = Path(os.path.abspath(here / given))  # one spelling, however the command was called
    if not found.exists():
        raise UserError(f"{place}: {found} does not exist")
    return found
