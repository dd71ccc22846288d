"""What a person said of protected images, one by one, and what a run withholds because of it.

The file is JSON lines. Line 1 has ``kind``, ``schema``, and ``of``: what the images were made by, of their
manifest. Then one line for each decision: ``path`` and ``sha256`` of the protected file, ``decision``, "yes"
(it may be given out) or "no", ``by``, who decided, ``at``, when (UTC), and ``figures``, what was known of the
image. The last decision about a path counts. A no holds for whatever is made under this path; a yes for the
bytes that were looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from ..core.errors import UserError, some_of
from ..core.files import read_file, relative_path, write_atomically
from ..core.json_text import parse_json
from ..core.lock import locked
from ..core.remote import Place
from ..manifest import MANIFEST, Manifest, line

KIND, SCHEMA = "fastreid_privacy review", 1
YES, NO = "yes", "no"
MADE_BY = ("method", "anonymizer", "storage", "pseudonyms")  # of a manifest's first line
NOT_MADE = "the review is of images that this run does not make"
PATIENCE = 10.0  # seconds for others who write a decision
WITHHELD = "withheld: a person who looked at it said no"  # its reason in the manifest, without who that was


@dataclass(frozen=True)
class Decision:
    """What a person said of an image.

    Attributes:
        path: of the protected file in its folder.
        sha256: of the file that was looked at.
        decision: "yes", it may be given out, or "no".
        by: who decided.
        at: when, ISO 8601, UTC.
        figures: what was known of the image, such as its PSNR.
    """

    path: str
    sha256: str
    decision: str
    by: str
    at: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Review:
    """All decisions about the images of a folder.

    Attributes:
        of: what the images were made by.
        decisions: the earliest first.
    """

    of: Mapping[str, object]
    decisions: Sequence[Decision] = ()

    @property
    def latest(self) -> dict[str, Decision]:
        """The decision that counts for each path."""
        return {each.path: each for each in self.decisions}

    def rulings(self, header: Mapping[str, object], paths: Sequence[str]) -> dict[str, bool]:
        """Whether each reviewed file may be given out, by path; also where its raw file is there no more.

        Args:
            header: of what is made now.
            paths: of all files that are made.

        Raises:
            UserError: when the review is of images that were made by something else, or of other files.
        """
        if self.of != made_by(header):
            differing = [key for key in MADE_BY if self.of.get(key) != header.get(key)]
            raise UserError(
                f"the review is of images that were made otherwise ({', '.join(differing)} differ): make "
                "these without --review, and review them first"
            )
        endings = {PurePosixPath(path).suffix for path in paths}  # what is removed is never anything else
        others = sorted(path for path in self.latest if PurePosixPath(path).suffix not in endings)
        if others:
            raise UserError(f"{NOT_MADE}: {some_of(others)}")
        return {path: each.decision == YES for path, each in self.latest.items()}


def made_by(header: Mapping[str, object]) -> dict[str, object]:
    """What images were made by, as far as a review depends on it."""
    return {key: header.get(key) for key in MADE_BY}


def refuse_others(rulings: Mapping[str, bool], known: Iterable[str]) -> None:
    """Refuse a review that has nothing to do with a run.

    Args:
        rulings: of the review.
        known: paths of all files that the run makes, or has made before.

    Raises:
        UserError: when no ruling is of one of them.
    """
    if rulings and not set(rulings) & set(known):
        raise UserError(f"{NOT_MADE}: {some_of(sorted(rulings))}")


def refuse_forgetting(earlier: Manifest, rulings: Mapping[str, bool], output: Place) -> None:
    """Refuse to make again what a person withheld.

    Args:
        earlier: what is in the output folder.
        rulings: of the review that is given now; {} where none is.
        output: the folder, for the message.

    Raises:
        UserError: naming the files.
    """
    forgotten = sorted(
        path for path, reason in earlier.failed.items() if reason == WITHHELD and path not in rulings
    )
    if forgotten:
        raise UserError(
            f"{output / MANIFEST} names files that a person withheld ({some_of(forgotten)}): give the review "
            "with --review, so that they stay out; a later yes in it brings one back"
        )


def read_review(path: str | Path) -> Review:
    """Read a review.

    Raises:
        UserError: when the file is missing, damaged or something else.
    """
    first, *rest = read_file(path).split(b"\n")
    try:
        about = parse_json(first)
        if (about["kind"], about["schema"]) != (KIND, SCHEMA):
            raise ValueError("it is no review of this version")
        if rest[-1:] != [b""]:
            raise ValueError("its last line is cut off")
        return Review(dict(about["of"]), [_decision(parse_json(text)) for text in rest[:-1]])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged or no review ({error})") from None


def _decision(record: dict) -> Decision:
    found = Decision(**record)
    relative_path(found.path)
    if found.decision not in (YES, NO):
        raise ValueError(f"the decision about {found.path} is {found.decision!r}; it must be yes or no")
    if not all(isinstance(text, str) for text in (found.sha256, found.by, found.at)):
        raise ValueError(f"the decision about {found.path} has a word that is none")
    return found


def decide(
    file: Path, of: Mapping[str, object], entry: Mapping, yes: bool, by: str, figures: Mapping[str, float]
) -> Review:
    """Add a decision to a review, which is written whole and is on the disk when this returns.

    Others who decide at the same time wait for each other.

    Args:
        file: of the review; made where it is missing.
        of: what the images were made by, :func:`made_by`.
        entry: of the image, in its manifest.
        yes: whether it may be given out.
        by: who decided.
        figures: what was known of the image.

    Returns:
        The review with the decision.

    Raises:
        UserError: when nobody is named, the file is of other images, it cannot be read or written, or a run
            writes to its folder for longer than some seconds.
    """
    if not by.strip():
        raise UserError("say who decides: type your name first")
    try:
        with locked(
            file.parent, f"{file}: another one writes to its folder; decide again", patience=PATIENCE
        ):
            earlier = read_review(file) if file.exists() else Review(of)
            if earlier.of != of:
                raise UserError(f"{file} is a review of images that were made otherwise: name another file")
            now = datetime.now(UTC).isoformat(timespec="seconds")
            new = Decision(entry["path"], entry["sha256"], YES if yes else NO, by.strip(), now, dict(figures))
            review = Review(of, [*earlier.decisions, new])
            about = {"kind": KIND, "schema": SCHEMA, "of": dict(of)}
            lines = [line(record) for record in (about, *map(asdict, review.decisions))]
            write_atomically(file, lambda stream: stream.writelines(lines), sync=True, private=True)
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror}); the decision is not kept") from None
    return review
