"""One image after another, for a person's yes or no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..collection.pipeline import side_by_side
from ..collection.review import WITHHELD, YES, decide
from ..core.errors import UserError, one_line
from ..core.files import file_hash
from ..manifest import KEPT
from .attacks import find_attack
from .release import Finding, Release, check_release, count_decisions, is_current, open_release
from .showing import judged_html, release_html
from .worst import PSNR, SSIM, Suspect, known_anew


class Seen(NamedTuple):
    """What a person sees of an image, to be given back with the decision.

    Attributes:
        place: of the image, from 0.
        sha256: of the protected file; "" where no picture is shown.
    """

    place: int
    sha256: str = ""


@dataclass
class Judging:
    """A folder that a person looks at, and the images to decide about.

    Attributes:
        release: the folder, as it was when it was last looked at.
        suspects: the images, the worst first; also those that are no longer in the folder. Those that were
            found when the folder was looked at again stand behind the others.
        chosen: by what they were chosen.
        findings: of :func:`.release.check_release`.
        workers: threads that look; None: as many as there are cores.
        find: the worst images of a release, and by what they were chosen, when it is looked at again; None:
            the images stay those of the start.
    """

    release: Release
    suspects: Sequence[Suspect]
    chosen: str
    findings: Sequence[Finding]
    workers: int | None = None
    find: Callable[[Release], tuple[Sequence[Suspect], str]] | None = None

    def look_again(self) -> None:
        """Read the folder, its manifest and its attack anew.

        The images stay in the same places, for other windows show them, too; what belongs to the worst by now
        comes behind them. Of a file that was made again the figures are made again.

        Raises:
            UserError: when one of them cannot be read, or the folder holds other images than those of the
                review.
        """
        before, known = self.release, self.release.attack
        attack = find_attack(known.file if known and known.file.is_file() else None, before.folder)
        release = open_release(before.folder, before.review, attack)
        earlier, entries = before.manifest.entries, release.manifest.entries

        def anew(suspect: Suspect) -> Suspect:
            path = suspect.path
            if path not in entries or earlier.get(path, {}).get("sha256") == entries[path]["sha256"]:
                return suspect
            return known_anew(suspect, release)

        suspects = list(side_by_side(self.suspects, anew, self.workers))
        worst, chosen = self.find(release) if self.find and entries else ((), self.chosen)
        known_paths = {each.path for each in suspects}
        suspects += [each for each in worst if each.path not in known_paths]
        findings = check_release(release, self.workers)
        self.release, self.suspects, self.chosen, self.findings = release, suspects, chosen, findings

    def list_html(self) -> str:
        """The list, with how far the person has come."""
        found = [*self.findings]
        if self.suspects:
            entries = self.release.manifest.entries
            there = [each.path for each in self.suspects if each.path in entries]
            found.append(count_decisions(self.release, there))
        attack = self.release.attack
        return release_html(self.release.folder.name, found, attack.picture() if attack else None)

    def image(self, place: int) -> tuple[Seen, str]:
        """An image with what is known of it, and what was decided.

        Args:
            place: from 0.

        Returns:
            What is seen of it, for :meth:`decide`, and the piece of the page.
        """
        if not self.suspects:
            return Seen(place), ""
        suspect, count = self.suspects[place], len(self.suspects)
        try:
            self._check_there(suspect)
            # before it is read: of what is written meanwhile, no decision is taken
            seen = Seen(place, self._hash_of(suspect))
            protected, raw = suspect.pictures(self.release.files)
        except UserError as error:
            html = judged_html(place, count, "", self.chosen, suspect.path, {}, "", str(error))
            return Seen(place), html
        pictures = {**({} if raw is None else {"raw": raw}), "protected": protected}
        decided = self._decided(suspect)
        html = judged_html(
            place, count, seen.sha256, self.chosen, suspect.path, pictures, told(suspect), decided
        )
        return seen, html

    def _check_there(self, suspect: Suspect) -> None:
        """Refuse an image that is no longer in the folder."""
        manifest = self.release.manifest
        if suspect.path not in manifest.entries:
            withheld = manifest.failed.get(suspect.path) == WITHHELD
            raise UserError(
                "It is withheld, as a person decided." if withheld else "It is no longer in the folder."
            )

    def _decided(self, suspect: Suspect) -> str:
        latest = self.release.decisions().latest.get(suspect.path)
        if latest is None:
            return "Not decided yet. May it be given out?"
        if not is_current(latest, self.release.manifest.entries):
            who = one_line(latest.by)
            return f"{who} decided about an earlier file of this name. May this one be given out?"
        word = "Yes, it may be given out" if latest.decision == YES else "No, it is to be withheld"
        return f"{word}: {one_line(latest.by)}, {latest.at}"

    def decide(self, seen: Seen, yes: bool, by: str) -> int:
        """Write a decision about the bytes that were seen.

        Args:
            seen: of :meth:`image`.
            yes: whether it may be given out.
            by: who decides.

        Returns:
            The place of the next image that is not decided; the same one where all are.

        Raises:
            UserError: when nobody is named, the image was not shown, the folder was written to since, or the
                decision cannot be written.
        """
        if not self.suspects:
            raise UserError("no image is shown: nothing is to be decided")
        place, suspect, entries = seen.place, self.suspects[seen.place], self.release.manifest.entries
        self._check_there(suspect)
        if not seen.sha256:
            raise UserError(f"no picture of {suspect.path} is shown, so that nothing is decided about it")
        if not seen.sha256 == entries[suspect.path]["sha256"] == self._hash_of(suspect):
            raise UserError(f"{suspect.path}: the folder was written to since it was shown: look again")
        review = decide(
            self.release.review, self.release.of, entries[suspect.path], yes, by, dict(suspect.figures)
        )
        latest = review.latest
        count = len(self.suspects)
        for other in (*range(place + 1, count), *range(place)):
            path = self.suspects[other].path
            if path in entries and (path not in latest or not is_current(latest[path], entries)):
                return other
        return place

    def _hash_of(self, suspect: Suspect) -> str:
        """SHA-256 of the file that lies there now; "" where none can be read."""
        try:
            return file_hash(self.release.files / suspect.path)
        except (OSError, UserError):
            return ""


def told(suspect: Suspect) -> str:
    """The figures of an image in words."""
    figures = suspect.figures
    words = [f"PSNR {figures[PSNR]:.1f} dB"] if PSNR in figures else []
    words += [f"SSIM {figures[SSIM]:.2f}"] if SSIM in figures else []
    words += [f"the guard kept {figures[KEPT]:.0%} of the anonymizer's image"] if KEPT in figures else []
    return ", ".join(words)
