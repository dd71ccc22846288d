"""The images of an attack: which raw and protected files belong together, and who learns from which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..collection.source import Source, dataset_source, folder_source, is_dataset
from ..compat.labels import MARKET_FOLDER, identity_number
from ..config import load_config
from ..core.errors import UserError, brief, first_of, say, some_of
from ..core.pictures import read_picture

PARTS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
SIZES_LOOKED_AT = 200  # protected files: the most common size of these is that of the attack


@dataclass(frozen=True)
class Subject:
    """One image: its raw and its protected file.

    Attributes:
        name: path without ending, the same of both files.
        pid: identity; 0 and below are distractors and junk.
        camid: camera.
        raw: the raw file.
        protected: the protected one; the raw one where there is none, as of foreign images.
    """

    name: str
    pid: int
    camid: int
    raw: Path
    protected: Path


@dataclass(frozen=True)
class Subjects:
    """What an attack is made of; the people of ``known`` are not among those measured.

    Attributes:
        known: what an attacker may have learned from.
        query: measured images that are looked for.
        gallery: measured images that are looked through.
        size: (height, width) of the attack: the most common one of the protected files.
        alone: raw images without a protected one; they take no part.
        halved: nothing told who is known, and half of the people were taken.
        unread: what was not read of either side, as "PATH: reason".
    """

    known: list[Subject]
    query: list[Subject]
    gallery: list[Subject]
    size: tuple[int, int]
    alone: int
    halved: bool = False
    unread: Sequence[str] = ()

    @property
    def measured(self) -> list[Subject]:
        """Query and gallery, each image once, by name."""
        return sorted({each.name: each for each in (*self.query, *self.gallery)}.values(), key=_by_name)


def read_subjects(raw: str, protected: str) -> Subjects:
    """Raw and protected images of the same names, and who is known.

    With the folders of Market-1501 (``bounding_box_train``, ``query``, ``bounding_box_test``) or a data set
    by its name, the training people are known. In any other folder every second identity is. Of the others,
    the first image of each camera is a query, and all are the gallery.

    Args:
        raw: a folder of images in Market-1501 naming, or a data set that fastreid knows.
        protected: the same; names agree but for the ending.

    Raises:
        UserError: when a protected file has no raw one, names do not tell identity and camera, an identity is
            both known and measured, or there are too few people.
    """
    originals, stored = _side(raw, "--raw"), _side(protected, "--protected")
    files = {name: stored.folder / path for name, path in _by_stem(stored, "--protected").items()}
    names = _by_stem(originals, "--raw")
    partnerless = [name for name in files if name not in names]
    if partnerless:
        raise UserError(
            f"--raw {raw} has no image of {some_of(partnerless, 3)} of --protected {protected}: both must "
            "have the same folders and names (pseudonyms have to be undone first)"
        )
    found = _labelled(originals, [(names[name], name, file) for name, file in files.items()])
    parts = {part: [each for own, each in found if own == part] for part in PARTS.values()}
    halved = not (parts["train"] and parts["query"] and parts["gallery"])
    if not halved:
        known, query, gallery = (parts[part] for part in PARTS.values())
        known = [each for each in known if each.pid > 0 or is_dataset(raw)]
        both = sorted(
            {each.pid for each in known} & {each.pid for each in (*query, *gallery) if each.pid > 0}
        )
        if both and not is_dataset(raw):  # numbers of a data set's parts may begin anew
            raise UserError(
                f"identities {some_of(list(map(str, both)))} are in bounding_box_train and in the test "
                "images: who learns must not have seen the people who are measured; take them apart"
            )
    else:
        known, query, gallery = _halves([each for _, each in found if each.pid > 0])
    if not known or not any(can_be_asked(query, gallery)):
        raise UserError(
            f"{raw} has {len(files)} images with a protected one, too few to attack: people to learn from "
            "are needed, and others who are seen by two cameras"
        )
    size = _common_size([each.protected for _, each in found])
    alone = sum(name not in files for name in names)
    unread = {
        f"{side.root / path}: {why}" for side in (originals, stored) for path, why in side.unread.items()
    }
    return Subjects(known, query, gallery, size, alone, halved, sorted(unread))


def say_unread(subjects: Subjects) -> None:
    """Warn of what was not read: what is measured holds for the others alone."""
    if subjects.unread:
        told = f"warning: {len(subjects.unread):,} files or folders were not read, and take no part:"
        say("\n  ".join([told, *first_of(subjects.unread)]))


def read_foreign(given: str) -> list[Subject]:
    """Raw images of other people, which an attacker protects with what they hold.

    Args:
        given: a folder of images of any names, or a data set that fastreid knows.
    """
    source = _side(given, "--foreign")
    return [Subject(path, 0, 0, source.folder / path, source.folder / path) for path in source.paths]


def choose(subjects: Sequence[Subject], count: int, seed: int) -> list[Subject]:
    """So many images drawn at random, all where there are no more; in the order of their names."""
    order = np.random.default_rng(seed).permutation(len(subjects))[:count]
    return sorted((subjects[index] for index in order), key=_by_name)


def _by_stem(source: Source, option: str) -> dict[str, str]:
    """The files of a side by their names without the ending.

    Raises:
        UserError: when two have the same.
    """
    found: dict[str, str] = {}
    for path in source.paths:
        stem = str(PurePosixPath(path).with_suffix(""))
        if stem in found:
            raise UserError(
                f"{option} {source.folder} has {found[stem]} and {path}, which differ by their ending alone: "
                "move one away, for files of both sides belong together by the rest of their names"
            )
        found[stem] = path
    return found


def _side(given: str, option: str) -> Source:
    return dataset_source(load_config(), given) if is_dataset(given) else folder_source(given, option)


def _labelled(source: Source, files: Iterable[tuple[str, str, Path]]) -> list[tuple[str | None, Subject]]:
    """Each image with its part, "train", "query" or "gallery"; None where the folders do not tell."""
    found: list[tuple[str | None, Subject]] = []
    for path, name, file in files:
        raw = source.folder / path
        if source.labels:
            for part, pid, camid in source.labels[path]:
                found.append((part, Subject(name, identity_number(pid), identity_number(camid), raw, file)))
            continue
        pid, camid = MARKET_FOLDER.read(raw)
        folders = [PARTS[each] for each in PurePosixPath(path).parts[:-1] if each in PARTS]
        if pid >= 0:
            found.append((folders[-1] if folders else None, Subject(name, pid, camid, raw, file)))
    return found


def _halves(subjects: list[Subject]) -> tuple[list[Subject], list[Subject], list[Subject]]:
    """Every second identity is known; of the others, queries and gallery."""
    pids = sorted({each.pid for each in subjects})
    order = np.random.default_rng(0).permutation(len(pids))  # neighbours in number may be neighbours in time
    learned = {pids[index] for index in order[: len(pids) // 2]}
    known = [each for each in subjects if each.pid in learned]
    gallery = sorted((each for each in subjects if each.pid not in learned), key=_by_name)
    first: dict[tuple[int, int], Subject] = {}
    for each in gallery:
        first.setdefault((each.pid, each.camid), each)
    return known, list(first.values()), gallery


def can_be_asked(query: Sequence[Subject], gallery: Sequence[Subject]) -> list[bool]:
    """Of each query, whether the gallery has its person under another camera."""
    seen = {(each.pid, each.camid) for each in gallery}
    cameras = Counter(pid for pid, _ in seen)
    return [cameras[each.pid] > ((each.pid, each.camid) in seen) for each in query]


def _common_size(files: Sequence[Path]) -> tuple[int, int]:
    sizes: Counter[tuple[int, int]] = Counter()
    for index in np.unique(np.linspace(0, len(files) - 1, min(SIZES_LOOKED_AT, len(files))).astype(int)):
        try:
            sizes[read_picture(files[index]).shape[:2]] += 1
        except UserError as error:
            raise UserError(f"{files[index]}: {brief(error)}") from None
    return sizes.most_common(1)[0][0]


def _by_name(subject: Subject) -> str:
    return subject.name
