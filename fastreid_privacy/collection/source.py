"""Which images a collection holds, and what each file is called in the output."""

from __future__ import annotations

import hmac
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fastreid.data.datasets import DATASET_REGISTRY

from ..compat.labels import MARKET_FOLDER, identity_number
from ..config import CfgNode
from ..core.errors import UserError, some_of
from ..core.files import read_file
from ..core.folders import images_below
from ..core.members import Readable, TarMember
from ..core.remote import Place, RemotePath
from ..data.datasets import datasets_root, load_dataset, path_below_root
from ..manifest import PARTS

SHORTEST_KEY, LARGEST_KEY = 16, 2**20  # bytes of a file that is the key of pseudonyms


@dataclass(frozen=True)
class Source:
    """Images below one folder.

    Attributes:
        root: the folder.
        paths: of the images, relative to it, sorted, "/" between the parts.
        others: relative paths of what is left out: files with another ending, hidden ones, links that lead
            back to a folder above.
        unread: what was not read, with the reason of each: folders, tar files, pictures of kinds that no
            library here reads.
        dataset: of a data set by its name, what the manifest's first line says of it.
        labels: by path, of a data set by its name: [part, identity, camera] of each item.
        listed: by path, of a store or of tar files: the images, with what the listing told of them.
    """

    root: Place
    paths: list[str]
    others: list[str] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    dataset: dict[str, str] = field(default_factory=dict)
    labels: dict[str, list[list]] = field(default_factory=dict)
    listed: dict[str, RemotePath | TarMember] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """``root``, of images that lie on this machine."""
        assert isinstance(self.root, Path)
        return self.root

    def place(self, path: str) -> Readable:
        """Of an image; of a store, and of a tar, with what its listing told."""
        return self.listed.get(path) or self.root / path

    def person(self, path: str) -> int:
        """Who is shown in an image: by the data set's label, or by the name of the file.

        Raises:
            UserError: saying, without the path, why nothing tells it.
        """
        return person_of(path, self.labels[path] if self.labels else None)


def person_of(path: str, labels: Sequence[Sequence] | None) -> int:
    """Who is shown in an image.

    Args:
        path: of the image in its collection.
        labels: [part, identity, camera] of each item of its data set; None: the name of the file tells.

    Raises:
        UserError: saying, without the path, why nothing tells it.
    """
    if labels is None:
        try:
            return MARKET_FOLDER.read(path)[0]
        except UserError:
            raise UserError(f"its name tells no person; wanted is {MARKET_FOLDER.form}") from None
    people = sorted({identity_number(pid) for _, pid, _ in labels})
    if len(people) > 1:
        raise UserError(f"the data set has it as several people: {', '.join(map(str, people))}")
    return people[0]


def folder_source(root: str | Path, option: str = "--input", output: str | Path | None = None) -> Source:
    """The images of a folder at any depth, as :func:`fastreid_privacy.core.folders.images_below`.

    Args:
        root: the folder.
        option: that names it, for messages.
        output: the folder for what is made of the images, to which no link may lead.

    Raises:
        UserError: when it is no folder, cannot be listed, holds no image, or a link to the output folder.
    """
    root = Path(root)
    nor = ", nor a data set that fastreid knows, nor a video" if option == "--input" else ""
    return Source(root, *images_below(root, f"{option} {root}", nor, output))


def dataset_source(cfg: CfgNode, name: str, output: str | Path | None = None) -> Source:
    """The training, query and gallery images of a registered data set.

    Paths are relative to FASTREID_DATASETS, the data set's folder included, so that the output is a
    FASTREID_DATASETS again; a data set that is a link has the link's name. Labels are numbers as query and
    gallery items have them: fastreid's ``market1501_2`` of a training item is 2.

    Args:
        cfg: for data sets that the config describes.
        name: of the data set.
        output: the folder for what is made of the images, to which no link may lead.

    Raises:
        UserError: for an unknown or missing data set, one whose images do not lie under FASTREID_DATASETS, or
            a link to the output folder.
    """
    data = load_dataset(cfg, name)
    root = datasets_root().resolve()
    prefix = f"{data.dataset_name}_" if getattr(data, "dataset_name", "") else ""
    found: dict[str, list[list]] = defaultdict(list)
    for part in PARTS:
        for file, *label in getattr(data, part):
            path = path_below_root(file)
            if path is None:
                raise UserError(f"{file} of {name} does not lie under {root}; give its folder as --input")
            found[path].append([part, *(_number(value, prefix) for value in label[:2])])
    if output is not None:
        _check_links(root, {PurePosixPath(path).parent for path in found}, Path(output), name)
    labels = {path: found[path] for path in sorted(found)}
    return Source(root, sorted(labels), dataset={"dataset": name, "label_prefix": prefix}, labels=labels)


def _check_links(root: Path, folders: Iterable[PurePosixPath], output: Path, name: str) -> None:
    """Refuse an output folder in which a data set lies that a link in ``root`` leads to, or inside of it.

    Protected files have the raw ones' names: they would lie among these, or in their place.
    """
    apart = output.resolve()
    for folder in sorted(folders):
        there = (root / folder).resolve()
        if there == apart or there in apart.parents or apart in there.parents:
            raise UserError(
                f"--output {output} and {there}, where {folder} of {name} lies, lie in each other; choose an "
                "output folder beside the data set"
            )


def _number(label: int | str, prefix: str) -> int | str:
    """A label without its prefix, as a number where that can be written back as it was."""
    text = str(label).removeprefix(prefix)
    return int(text) if re.fullmatch(r"0|-?[1-9]\d*", text) else text


def is_dataset(name: str) -> bool:
    """Whether fastreid knows a data set of this name."""
    return name in DATASET_REGISTRY._obj_map


def targets(paths: Iterable[str], ending: str, key: bytes | None = None) -> dict[str, str]:
    """What each file is called in the output: the same folders and stem with another ending, or a pseudonym.

    A pseudonym is the first 32 hexadecimal digits of the HMAC-SHA256 of path and stem, without folders.

    Args:
        paths: of the sources, relative.
        ending: such as ".png".
        key: of pseudonyms.

    Returns:
        {path: path in the output}, in the given order.

    Raises:
        UserError: when two sources would share a name; all of them are named.
    """
    names: dict[str, str] = {}
    sharing: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        stem = str(PurePosixPath(path).with_suffix(""))
        if key is not None:
            stem = hmac.digest(key, os.fsencode(stem), "sha256").hex()[:32]
        names[path] = stem + ending
        sharing[stem + ending].append(path)
    shared = [" and ".join(group) for group in sharing.values() if len(group) > 1]
    if shared:
        raise UserError(
            "these would share a name in the output, for only their endings differ: "
            f"{some_of(shared, 5, '; ')}; rename them"
        )
    return names


def read_pseudonym_key(path: str | Path) -> bytes:
    """The key of pseudonyms: the content of a file.

    Raises:
        UserError: when it cannot be read, is shorter than 16 bytes, longer than 1 MiB, or no regular file.
    """
    try:
        key = read_file(path, LARGEST_KEY)
    except UserError as error:
        raise UserError(f"key file {error}") from None
    if len(key) < SHORTEST_KEY:
        raise UserError(
            f"key file {path} has {len(key)} bytes; names can be guessed from a short key: give at least "
            f"{SHORTEST_KEY} random bytes, for instance of: head -c 32 /dev/urandom > {path}"
        )
    return key


def check_apart(source: Place, output: Place) -> None:
    """Refuse an output folder inside the input, or the other way round.

    A second run would take one for the other.

    Raises:
        UserError: naming both.
    """
    if isinstance(source, RemotePath) or isinstance(output, RemotePath):
        one, other = f"{source}/", f"{output}/"
        together = one.startswith(other) or other.startswith(one)
    else:
        inside, outside = output.resolve(), source.resolve()
        together = inside == outside or outside in inside.parents or inside in outside.parents
    if together:
        raise UserError(
            f"--output {output} and --input {source} lie in each other; choose an output folder beside the "
            "input"
        )
