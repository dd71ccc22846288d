"""Whether a protected folder may be given out: what its manifest says and what lies there, in plain words."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..collection.output import NOISE_KEY
from ..collection.packing import holds_nothing_else
from ..collection.pipeline import side_by_side
from ..collection.recover import ProtectedFolder
from ..collection.review import NO, WITHHELD, Review, made_by, read_review
from ..collection.stamps import STAMPS
from ..core.errors import UserError, first_of, one_line
from ..core.privacy import NOT_PRIVATE, WHY, meant_by
from ..manifest import (
    GUARD,
    JOURNAL,
    KEPT,
    MANIFEST,
    TAR,
    Manifest,
    names_of,
    read_manifest,
    unchanged,
)
from .attacks import KnownAttack

NOT_TO_BE_GIVEN = {
    STAMPS: "it links protected files to raw ones",
    NOISE_KEY: "it is the key of the noise",
    JOURNAL: "a run is not finished",
}


@dataclass(frozen=True)
class Finding:
    """One line of the list.

    Attributes:
        title: what was looked at, and how it is.
        good: True: as it should be; False: it is not; None: the reader has to know.
        details: names of files, and what to do.
    """

    title: str
    good: bool | None
    details: Sequence[str] = ()


@dataclass(frozen=True)
class Release(ProtectedFolder):
    """A protected folder that is looked at.

    Attributes:
        review: file of the decisions about its images; need not be there.
        attack: what an attack on it found; None: none is known.
    """

    folder: Path
    review: Path
    attack: KnownAttack | None

    @cached_property
    def of(self) -> dict[str, object]:
        """What its images were made by, for a review."""
        return made_by(self.manifest.header)

    def decisions(self) -> Review:
        """What was decided so far.

        Raises:
            UserError: when the file is damaged, or a review of other images.
        """
        review = read_review(self.review) if self.review.exists() else Review(self.of)
        if review.of != self.of:
            raise UserError(
                f"{self.review} is a review of images that were made otherwise: name another --review"
            )
        return review


def open_release(folder: Path, review: Path | None = None, attack: KnownAttack | None = None) -> Release:
    """A protected folder, its manifest read.

    Args:
        folder: that ``anonymize`` wrote.
        review: file of decisions; None: beside the folder, as FOLDER.review.jsonl.
        attack: of :func:`.attacks.find_attack`.

    Raises:
        UserError: when the folder has no manifest that can be read, or the review is of other images.
    """
    if not folder.is_dir():
        raise UserError(f"--release {folder} is no folder; give one that tools/anonymize.py wrote")
    folder = folder.absolute()
    file = review or folder.with_name(f"{folder.name}.review.jsonl")
    release = Release(folder, read_manifest(folder / MANIFEST), file, attack)
    release.decisions()
    return release


def check_release(release: Release, workers: int | None = None) -> list[Finding]:
    """Look at the folder: every file is read.

    Args:
        release: of :func:`open_release`.
        workers: threads; None: as many as there are cores.
    """
    return [
        _whole(release.manifest),
        _files(release, workers),
        *_failed(release.manifest),
        _others(release),
        *_method(release.manifest),
        _attack(release),
    ]


def _whole(manifest: Manifest) -> Finding:
    if manifest.complete:
        return Finding("The run came to its end, and its manifest is whole.", True)
    return Finding("The run did not come to its end.", False, ["Run anonymize again to finish it."])


def _files(release: Release, workers: int | None) -> Finding:
    entries = release.manifest.entries
    looked = side_by_side(entries.values(), lambda entry: unchanged(release.files, entry), workers)
    bad = [path for path, same in zip(entries, looked, strict=True) if not same]
    if bad:
        title = f"{len(bad):,} of {len(entries):,} files are missing, or not what was written."
        return Finding(title, False, first_of(bad))
    return Finding(f"All {len(entries):,} files are there, and are what was written (SHA-256).", True)


def _failed(manifest: Manifest) -> list[Finding]:
    withheld = [path for path, reason in manifest.failed.items() if reason == WITHHELD]
    failed = [f"{path}: {reason}" for path, reason in manifest.failed.items() if reason != WITHHELD]
    found = []
    if failed:
        title = f"{len(failed):,} images could not be protected, and are not in the folder."
        found.append(Finding(title, None, first_of(failed)))
    else:
        found.append(Finding("No image failed.", True))
    if withheld:
        title = f"{len(withheld):,} images are withheld, as a person decided."
        found.append(Finding(title, True, first_of(withheld)))
    return found


def _others(release: Release) -> Finding:
    """Files that no manifest names may be raw ones, and so may what lies behind a link."""
    folder, entries = release.folder, release.manifest.entries.values()
    of_tar: dict[str, list[dict]] = defaultdict(list)
    for entry in entries:
        of_tar[entry.get(TAR, "")].append(entry)
    # files of tars may lie beside these, where somebody unpacked them
    lying = [
        *of_tar.pop("", []),
        *(entry for each in of_tar.values() for entry in each if unchanged(folder, entry)),
    ]
    named = {MANIFEST, *of_tar, *(name for entry in lying for name in names_of(entry))}
    paths, unread = _below(folder)
    found = {path.relative_to(folder).as_posix(): path for path in paths}
    odd = {name: what for name, path in found.items() if (what := _no_file(path))}
    others = [name for name, path in found.items() if name in odd or not (name in named or path.is_dir())]
    hiding = [
        tar for tar in of_tar if (folder / tar).is_file() and not holds_nothing_else(folder, tar, of_tar[tar])
    ]
    others += [f"{tar}: it holds something else, too" for tar in hiding]
    known = [f"{path}: {NOT_TO_BE_GIVEN[path]}" for path in others if path in NOT_TO_BE_GIVEN]
    strange = [path + odd.get(path, "") for path in others if path not in NOT_TO_BE_GIVEN or path in odd]
    if unread:
        title = f"{len(unread):,} folders in it cannot be looked into. Are raw images in them?"
        return Finding(title, False, [*first_of(unread), *first_of(strange), *known])
    if strange:
        title = f"{len(strange):,} other files lie in the folder. Are they raw images?"
        return Finding(title, False, [*first_of(strange), *known])
    if known:
        return Finding("Not all that lies in the folder is to be given out.", None, known)
    return Finding("Nothing else lies in the folder.", True)


def _below(folder: Path) -> tuple[list[Path], list[str]]:
    """All that lies in a folder at any depth, links not followed; and the folders that cannot be listed."""
    unread: list[OSError] = []
    paths = [
        Path(above, name)
        for above, folders, files in os.walk(folder, onerror=unread.append)
        for name in (*folders, *files)
    ]
    told = {Path(each.filename).relative_to(folder).as_posix(): each.strerror for each in unread}
    return sorted(paths), [f"{name}/: not looked into: {why}" for name, why in sorted(told.items())]


def _no_file(path: Path) -> str:
    """What is to be said of what is neither a file nor a folder itself; "" of those."""
    if path.is_symlink():
        return ": a link, which brings along whatever it leads to"
    return "" if path.is_file() or path.is_dir() else ": no regular file"


def _method(manifest: Manifest) -> list[Finding]:
    header = manifest.header
    method = header.get("method", "unknown")
    if method != "learned":
        return [Finding(f"Protected by {one_line(method)}; no guard looked at single images.", None)]
    found = []
    if meant_by(header.get("privacy")) is False:
        found.append(Finding(f"The anonymizer is {NOT_PRIVATE}: {WHY}.", False))
    if GUARD not in header:
        found.append(Finding("No guard held each image to the thresholds (--no-guard).", False))
        return found
    shares = [share for entry in manifest.entries.values() for share in _shares(entry)]
    held = sum(share < 1 for share in shares)
    title = f"The guard held each image to the thresholds: {held:,} of {len(shares):,} had shown too much."
    return [*found, Finding(title, True)]


def _shares(entry: Mapping) -> list[float]:
    kept = entry.get(KEPT, [])
    return kept if isinstance(kept, list) else [kept]


def _attack(release: Release) -> Finding:
    attack, manifest = release.attack, release.folder / MANIFEST
    if attack is None:
        remedy = "Run attack on it, or name the attack.json with --attack."
        return Finding("No attack on it is known.", False, [remedy])
    doubts = []
    if Path(attack.protected).absolute() != release.folder:
        doubts.append(f"It was an attack on {attack.protected}: is that this folder?")
    if attack.file.stat().st_mtime < manifest.stat().st_mtime:
        doubts.append("The folder was written to since: run the attack again.")
    return Finding(f"An attack was run. {attack.told}", False if doubts else None, doubts)


def count_decisions(release: Release, shown: Sequence[str]) -> Finding:
    """How far a person has come with the images that are shown.

    Args:
        release: of :func:`open_release`.
        shown: their paths.
    """
    latest, entries = release.decisions().latest, release.manifest.entries
    decided = {path: latest[path] for path in shown if path in latest and is_current(latest[path], entries)}
    refused = [path for path, each in latest.items() if each.decision == NO and path in entries]
    title = f"A person has looked at {len(decided):,} of the {len(shown):,} images below."
    if refused:
        remedy = f"Run anonymize again with --review {release.review}, which withholds them."
        return Finding(f"{title} {len(refused):,} are a no.", False, [*first_of(refused), remedy])
    return Finding(title, len(decided) == len(shown) or None)


def is_current(decision: object, entries: Mapping[str, Mapping]) -> bool:
    """Whether a decision is about the bytes that are there now."""
    path, digest = getattr(decision, "path", ""), getattr(decision, "sha256", "")
    return path in entries and entries[path]["sha256"] == digest
