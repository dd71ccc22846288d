"""Writing a study: a self-contained page for each participant, and key.json: what the pages must not say.

One page each, instead of one for all: a page holds only the images of its participant (a few MB), and nobody
can look up others' pairs. A page names pairs by random letters; which answer is right, and which model made
an image, stands in key.json alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..core.errors import UserError
from ..core.files import file_hash, write_whole
from ..core.json_text import json_bytes
from ..report.page import render_into
from .groups import Group
from .pairs import Pair, deal, draw_pairs
from .study_images import ShownImage, StudyImages, checkpoints_of, shown_images

SCHEMA = 1
KEY_FILE = "key.json"
SEED_BITS = 128  # of a seed that is drawn: nobody can try them all


def make_study(
    runs: Path,
    output: Path,
    groups: Sequence[Group],
    *,
    pairs: int = 100,
    participants: int = 10,
    seed: int | None = None,
    device: str = "auto",
) -> list[Path]:
    """Draw the pairs of every group, make their images, and write the pages and the key.

    Args:
        runs: folder of the runs of one seed of a reproduction: ``base_<operator>``, ``full_<operator>``,
            ``upper_bound``.
        output: a folder that is new or empty.
        groups: which rows of table 2.
        pairs: of each group; even, and a multiple of ``participants``.
        participants: who share every group equally.
        seed: of the pairs, of who gets which, of their order, and of which picture is on the left: the same
            seed gives the same study. None draws one; who could guess it could work out the answers. The key
            keeps it.

    Returns:
        The pages.

    Raises:
        UserError: for numbers that cannot be shared, runs without a checkpoint, too few images, or a folder
            that is not empty or cannot be written to.
    """
    if pairs < 2 or pairs % 2 or participants < 1 or pairs % participants:
        raise UserError(
            f"--pairs {pairs} cannot be shared by {participants} participants with as many of one person as "
            "of two: give an even number that is a multiple of --participants"
        )
    if seed is None:
        seed = secrets.randbits(SEED_BITS)
    if seed < 0:
        raise UserError(f"--seed is {seed}; give a whole number from 0")
    _check_new(output)
    checkpoints = checkpoints_of(runs, groups)
    sums = {name: file_hash(file) for name, file in checkpoints.items()}
    shown = shown_images(checkpoints[groups[0].run])
    images = StudyImages(checkpoints, shown, device)
    dealt = _deal_groups(shown, groups, pairs, participants, seed)
    entries: dict[str, dict] = {}
    contents: list[tuple[list[list], list[bytes]]] = []
    with tqdm(total=pairs * len(groups), unit=" pairs", desc="study", disable=None) as progress:
        for number, share in enumerate(dealt, 1):
            trials: list[list] = []
            pictures: dict[bytes, int] = {}  # PNG → its place on the page
            rng = np.random.default_rng((seed, number))
            for group, pair in [share[index] for index in rng.permutation(len(share))]:
                name = "".join(rng.choice(list("abcdefghijkmnpqrstuvwxyz"), 10))
                indices = (pair.first, pair.second)
                places = [
                    pictures.setdefault(images.png(group, domain, index), len(pictures))
                    for domain, index in zip(group.pair.split("-"), indices, strict=True)
                ]
                trials.append([name, *(places if rng.random() < 0.5 else places[::-1])])
                files = [Path(shown[index].path).name for index in indices]
                entries[name] = dict(participant=number, group=group.name, same=pair.same, images=files)
                progress.update()
            contents.append((trials, list(pictures)))
    study = _fingerprint(entries, contents)
    key = {
        "schema": SCHEMA,
        "study": study,
        "seed": seed,
        "participants": participants,
        "runs": str(runs.resolve()),
        "checkpoints": sums,
        "pairs": entries,
    }
    pages = [output / f"participant_{number:02}.html" for number in range(1, participants + 1)]
    try:
        output.mkdir(parents=True, exist_ok=True)
        for number, (page, content) in enumerate(zip(pages, contents, strict=True), 1):
            _write_page(page, study, number, *content)
        write_whole(output / KEY_FILE, json_bytes(key), private=True)
    except OSError as error:
        raise UserError(
            f"the study cannot be written to {output}: {error.strerror}; choose another --output"
        ) from None
    return pages


def _check_new(output: Path) -> None:
    try:
        taken = output.exists() and (not output.is_dir() or any(output.iterdir()))
    except OSError as error:
        raise UserError(
            f"{output} cannot be looked into: {error.strerror}; choose another --output"
        ) from None
    if taken:
        raise UserError(
            f"{output} is there already and not empty; choose another --output, answers may belong to it"
        )


def _fingerprint(entries: dict[str, dict], contents: Sequence[tuple[list[list], list[bytes]]]) -> str:
    """The fingerprint of all that is asked and shown.

    Studies of one seed on images of other models have other answers, and must not be taken for one.
    """
    digest = hashlib.sha256(json.dumps([entries, [trials for trials, _ in contents]]).encode())
    for _, pictures in contents:
        for picture in pictures:
            digest.update(picture)
    return digest.hexdigest()[:16]


def _deal_groups(
    images: Sequence[ShownImage], groups: Sequence[Group], pairs: int, participants: int, seed: int
) -> list[list[tuple[Group, Pair]]]:
    """For each participant (group, pair) of all groups.

    A group's pairs depend on the seed and its name alone.
    """
    dealt: list[list[tuple[Group, Pair]]] = [[] for _ in range(participants)]
    pids, camids = [image.pid for image in images], [image.camid for image in images]
    for group in groups:
        rng = np.random.default_rng([seed, *group.name.encode()])
        of_group = deal(draw_pairs(pids, camids, pairs, rng), participants, rng)
        for share, drawn in zip(dealt, of_group, strict=True):
            share += [(group, pair) for pair in drawn]
    return dealt


def _write_page(
    path: Path, study: str, participant: int, trials: list[list], pictures: Sequence[bytes]
) -> None:
    data = {
        "study": study,
        "participant": participant,
        "trials": trials,
        "images": [base64.b64encode(png).decode() for png in pictures],
    }
    text = json.dumps(data).replace("</", "<\\/")
    values = {"data": text, "participant": participant, "count": len(trials)}
    render_into(path, "page.html", Path(__file__).parent, **values)
