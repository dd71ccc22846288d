"""One image after another, for a person's yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..collection.review import YES, decide
from ..core.errors import UserError, one_line
from ..manifest import KEPT
from .release import Finding, Release, check_release, count_decisions, is_current
from .showing import judged_html, release_html
from .worst import PSNR, SSIM, Suspect


@dataclass
class Judging:
    """A folder that a person looks at, and the images to decide about.

    Attributes:
        release: the folder.
        suspects: the images, the worst first.
        chosen: by what they were chosen.
        findings: of :func:`.release.check_release`.
        workers: threads that look; None: as many as there are cores.
    """

    release: Release
    suspects: Sequence[Suspect]
    chosen: str
    findings: Sequence[Finding]
    workers: int | None = None

    def look_again(self) -> None:
        """Read the folder anew; the images stay the same ones."""
        self.findings = check_release(self.release, self.workers)

    def list_html(self) -> str:
        """The list, with how far the person has come."""
        found = [*self.findings]
        if self.suspects:
            found.append(count_decisions(self.release, [each.path for each in self.suspects]))
        attack = self.release.attack
        return release_html(self.release.folder.name, found, attack.picture() if attack else None)

    def image_html(self, place: int) -> str:
        """An image with what is known of it, and what was decided.

        Args:
            place: from 0.
        """
        suspect = self.suspects[place]
        try:
            protected, raw = suspect.pictures(self.release.files)
        except UserError as error:
            return judged_html(place, len(self.suspects), self.chosen, suspect.path, {}, "", str(error))
        pictures = {**({} if raw is None else {"raw": raw}), "protected": protected}
        decided = self._decided(suspect)
        count = len(self.suspects)
        return judged_html(place, count, self.chosen, suspect.path, pictures, told(suspect), decided)

    def _decided(self, suspect: Suspect) -> str:
        latest = self.release.decisions().latest.get(suspect.path)
        if latest is None:
            return "Not decided yet. May it be given out?"
        if not is_current(latest, self.release.manifest.entries):
            who = one_line(latest.by)
            return f"{who} decided about an earlier file of this name. May this one be given out?"
        word = "Yes, it may be given out" if latest.decision == YES else "No, it is to be withheld"
        return f"{word}: {one_line(latest.by)}, {latest.at}"

    def decide(self, place: int, yes: bool, by: str) -> int:
        """Write a decision.

        Args:
            place: of the image, from 0.
            yes: whether it may be given out.
            by: who decides.

        Returns:
            The place of the next image that is not decided; the same one where all are.

        Raises:
            UserError: when nobody is named, or it cannot be written.
        """
        suspect, entries = self.suspects[place], self.release.manifest.entries
        review = decide(
            self.release.review, self.release.of, entries[suspect.path], yes, by, dict(suspect.figures)
        )
        latest = review.latest
        count = len(self.suspects)
        for other in (*range(place + 1, count), *range(place)):
            path = self.suspects[other].path
            if path not in latest or not is_current(latest[path], entries):
                return other
        return place


def told(suspect: Suspect) -> str:
    """The figures of an image in words."""
    figures = suspect.figures
    words = [f"PSNR {figures[PSNR]:.1f} dB"] if PSNR in figures else []
    words += [f"SSIM {figures[SSIM]:.2f}"] if SSIM in figures else []
    words += [f"the guard kept {figures[KEPT]:.0%} of the anonymizer's image"] if KEPT in figures else []
    return ", ".join(words)
