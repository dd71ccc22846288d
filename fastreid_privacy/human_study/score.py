"""Scoring a study: each group's accuracy with intervals, the paper's and the Re-ID model's beside it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from ..core.errors import UserError, say
from ..core.files import read_file
from ..core.json_text import parse_json
from ..evaluation.bootstrap import mean_over_people
from ..reproduce.finished import read_run
from .groups import GROUPS, Group
from .pages import KEY_FILE, SCHEMA

ANSWERS = ("same", "different")
DRAWS = 10_000


def read_key(study: Path) -> dict:
    """key.json of a study.

    Raises:
        UserError: when it is missing, damaged, of another schema, or has pairs of no group or participant.
    """
    key = _read(study / KEY_FILE, "it is written beside the pages by tools/human_study.py make")
    expected = {"pairs": dict, "study": str, "participants": int, "runs": str}
    if bad := [name for name, kind in expected.items() if not isinstance(key.get(name), kind)]:
        raise UserError(f"{study / KEY_FILE} holds no {bad[0]}: it is no key of a study")
    if not isinstance(key.get("checkpoints", {}), dict):
        raise UserError(f"{study / KEY_FILE} is damaged: its checkpoints are none")
    for pair, entry in key["pairs"].items():
        of_pair = {"participant": int, "group": str, "same": bool}
        fits = isinstance(entry, dict) and all(
            type(entry.get(name)) is kind for name, kind in of_pair.items()
        )
        if not fits or entry["group"] not in GROUPS or not 1 <= entry["participant"] <= key["participants"]:
            raise UserError(f"{study / KEY_FILE} is damaged: its pair {pair[:40]!r} is none of a study")
    return key


def read_answers(files: Sequence[Path], key: Mapping) -> dict[int, dict[str, bool]]:
    """Who said of which pairs that they show the same person.

    Args:
        files: of answers, as the pages save them.
        key: of :func:`read_key`.

    Returns:
        {participant: {pair: whether the answer was "same"}}.

    Raises:
        UserError: for a file that is missing or damaged, of another study, twice of one participant, or with
            pairs or answers that its page does not have.
    """
    answers: dict[int, dict[str, bool]] = {}
    sources: dict[int, Path] = {}
    for file in files:
        content = _read(file, "give the files that the pages save")
        participant, given = content.get("participant"), content.get("answers")
        if content.get("study") != key["study"]:
            raise UserError(f"{file} is of the study {content.get('study')}, not of this one, {key['study']}")
        if type(participant) is not int or not 1 <= participant <= key["participants"]:
            raise UserError(
                f"{file} is of participant {participant!r}; this study has 1 to {key['participants']}"
            )
        if participant in answers:
            raise UserError(
                f"{file} and {sources[participant]} are both of participant {participant}: give one of them"
            )
        if not isinstance(given, dict):
            raise UserError(f"{file} holds no answers")
        for pair, entry in given.items():
            if key["pairs"].get(pair, {}).get("participant") != participant:
                raise UserError(
                    f"{file} answers the pair {pair!r}, which participant {participant} was not shown"
                )
            if not isinstance(entry, dict) or entry.get("answer") not in ANSWERS:
                raise UserError(f"{file} answers the pair {pair!r} neither with same nor with different")
        answers[participant], sources[participant] = (
            {pair: entry["answer"] == "same" for pair, entry in given.items()},
            file,
        )
    return answers


def missing_answers(key: Mapping, answers: Mapping[int, Mapping[str, bool]]) -> dict[int, int]:
    """{participant: pairs without an answer} of those who have any, without a file of answers included."""
    asked = Counter(entry["participant"] for entry in key["pairs"].values())
    missing = {
        participant: count - len(answers.get(participant, ())) for participant, count in sorted(asked.items())
    }
    return {participant: count for participant, count in missing.items() if count}


def score_study(
    key: Mapping, answers: Mapping[int, Mapping[str, bool]]
) -> dict[str, dict[str, float | None]]:
    """Accuracy of each group.

    Args:
        key: of :func:`read_key`.
        answers: of :func:`read_answers`.

    Returns:
        For each group of the study: "answered" and "missing" (pairs), "correct", "accuracy" in percent with
        "low" and "high", its 95 % Wilson interval, which takes answers as independent; "participants_low" and
        "participants_high", the 95 % interval of a bootstrap over participants, who differ (None with fewer
        than two); "said_same", percent. Accuracy and intervals are None without an answer.
    """
    right: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
    said_same: Counter[str] = Counter()
    asked = Counter(entry["group"] for entry in key["pairs"].values())
    for participant, given in answers.items():
        for pair, same in given.items():
            entry = key["pairs"][pair]
            right[entry["group"]][participant].append(same == entry["same"])
            said_same[entry["group"]] += same
    scores = {}
    for group, count in sorted(asked.items(), key=lambda item: list(GROUPS).index(item[0])):
        of_people = list(right[group].values())
        answered, correct = sum(map(len, of_people)), sum(map(sum, of_people))
        score: dict[str, float | None] = {
            "answered": answered,
            "missing": count - answered,
            "correct": correct,
        }
        score |= dict.fromkeys(("accuracy", "low", "high", "said_same"))
        if answered:
            interval = binomtest(correct, answered).proportion_ci(0.95, method="wilson")
            score["accuracy"], score["said_same"] = (
                100 * part / answered for part in (correct, said_same[group])
            )
            score["low"], score["high"] = 100 * interval.low, 100 * interval.high
        score["participants_low"], score["participants_high"] = _over_participants(of_people)
        scores[group] = score
    return scores


def _over_participants(of_people: Sequence[Sequence[bool]]) -> tuple[float | None, float | None]:
    """The 95 % interval of the accuracy when participants are drawn again, with replacement.

    (None, None) with fewer than two.
    """
    if len(of_people) < 2:
        return None, None
    people = np.repeat(np.arange(len(of_people)), [len(answers) for answers in of_people])
    found = mean_over_people(np.concatenate(of_people), people, draws=DRAWS)
    return found["low"], found["high"]


def reid_rank1(key: Mapping, group: Group) -> float | None:
    """Rank-1 of the group's Re-ID model on its pair of domains, percent.

    None without its results.json; and, with a warning, where the model was trained again since it made the
    pictures, as far as key (of :func:`read_key`) and run tell.

    Raises:
        UserError: when its results or its checkpoint cannot be read.
    """
    run = read_run(Path(key["runs"], group.run))
    shown = key.get("checkpoints", {}).get(group.run)  # older versions did not tell
    if run and shown and run.checkpoint_sha256 not in (None, shown):
        say(f"warning: {run.folder} has another model than the one that made the study's pictures: no rank-1")
        return None
    return run.figure(group.pair, "Rank-1") if run else None


def _read(file: Path, help_text: str) -> dict:
    try:
        content = parse_json(read_file(file))
    except UserError as error:
        raise UserError(f"{error}; {help_text}") from None
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); {help_text}") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise UserError(f"{file} has another schema than {SCHEMA}; {help_text}")
    return content
