"""``fastreid-privacy human-study``: ``make`` the pages of a study, ``score`` the answers."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from ..core.errors import UserError, say
from ..core.files import write_whole
from ..human_study.groups import GROUPS
from ..human_study.pages import make_study
from ..human_study.score import SCHEMA, missing_answers, read_answers, read_key, reid_rank1, score_study
from ..report.tables import number
from .options import add_device_option
from .parsers import command_parser, names_of
from .running import chosen, run_command

HEADINGS = (
    *("Images", "Pair", "Accuracy", "95 %, answers", "95 %, people"),
    *("Said same", "Answers", "Missing", "Paper", "Re-ID rank-1"),
)


def build_parser() -> argparse.ArgumentParser:
    """The options of ``make`` and ``score``."""
    parser = command_parser(
        "human-study",
        "Human verification, the paper's table 2.",
        "make --runs output/Market/reproduce/seed0 --output study",
        "score --study study answers_1.json answers_2.json",
    )
    commands = parser.add_subparsers(required=True, metavar="make | score")
    make = command_parser(
        "human-study make",
        "Write the pages of a study, one for each participant.",
        "--runs output/Market/reproduce/seed0 --output study",
        parser=commands.add_parser("make", help="write the pages of a study, one for each participant"),
    )
    make.add_argument(
        "--runs",
        type=Path,
        required=True,
        help="the runs of one seed of a reproduction: output/Market/reproduce/seed0",
    )
    make.add_argument("--output", type=Path, required=True, help="a new folder for the pages and key.json")
    make.add_argument(
        "--groups",
        type=names_of(tuple(GROUPS)),
        default=tuple(GROUPS),
        help=f"which rows of table 2 (default all): {', '.join(GROUPS)}",
    )
    make.add_argument("--pairs", type=int, default=100, help="of each group (default 100)")
    make.add_argument(
        "--participants", type=int, default=10, help="who share every group equally (default 10)"
    )
    make.add_argument(
        "--seed",
        type=int,
        help="makes a study again, its pairs, order and sides (default: a random one, kept in key.json)",
    )
    add_device_option(make)
    make.set_defaults(action=_make)
    score = command_parser(
        "human-study score",
        "Score the answers of a study.",
        "--study study answers_1.json answers_2.json",
        parser=commands.add_parser("score", help="score the answers of a study"),
    )
    score.add_argument(
        "answers", type=Path, nargs="+", metavar="ANSWERS", help="the files that the pages saved"
    )
    score.add_argument("--study", type=Path, required=True, help="the folder that make wrote")
    score.add_argument("--output", type=Path, help="folder of the scores (default: the study's)")
    score.set_defaults(action=_score)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(
        build_parser(),
        argv,
        chosen,
        "interrupted; a folder of pages without key.json is unfinished: remove it and make it again",
    )


def _make(options: argparse.Namespace) -> None:
    groups = [GROUPS[name] for name in options.groups]
    pages = make_study(
        options.runs,
        options.output,
        groups,
        pairs=options.pairs,
        participants=options.participants,
        seed=options.seed,
        device=options.device,
    )
    each = options.pairs // options.participants * len(groups)
    say(
        f"{len(pages)} pages of {each} pairs: {pages[0]} … {pages[-1].name}\n"
        f"Send each participant a page; keep {options.output / 'key.json'} to yourself. Then:\n"
        f"python tools/human_study.py score --study {options.output} ANSWERS…",
        sys.stdout,
    )


def _score(options: argparse.Namespace) -> None:
    key = read_key(options.study)
    answers = read_answers(options.answers, key)
    scores = score_study(key, answers)
    for name, score in scores.items():
        score |= {"paper": GROUPS[name].paper, "reid_rank1": reid_rank1(key, GROUPS[name])}
    folder: Path = options.output or options.study
    rows = [_row(name, score) for name, score in scores.items()]
    notes = _notes(key, answers)
    table = f"{tabulate(rows, HEADINGS, tablefmt='github', disable_numparse=True)}\n\n{notes}\n"
    content = {
        "schema": SCHEMA,
        "study": key["study"],
        "participants": sorted(answers),
        "missing": missing_answers(key, answers),
        "groups": scores,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "human_study_scores.json", json.dumps(content, indent=1))
        _write(folder / "human_study_scores.md", f"# Human verification\n\n{table}")
    except OSError as error:
        raise UserError(
            f"the scores cannot be written to {folder}: {error.strerror}; choose another --output"
        ) from None
    say(tabulate(rows, HEADINGS, disable_numparse=True), sys.stdout)
    say(
        f"\n{notes}\nscores: {folder / 'human_study_scores.json'}, {folder / 'human_study_scores.md'}",
        sys.stdout,
    )


def _write(path: Path, text: str) -> None:
    write_whole(path, text.encode())


def _row(name: str, score: Mapping) -> list[str]:
    def interval(low: str, high: str) -> str:
        return "–" if score[low] is None else f"{score[low]:.1f}–{score[high]:.1f}"

    group = GROUPS[name]
    percent = [number(score[key], 1) for key in ("accuracy", "said_same", "paper", "reid_rank1")]
    return [
        group.title,
        group.pair.replace("-", "→"),
        percent[0],
        interval("low", "high"),
        interval("participants_low", "participants_high"),
        percent[1],
        str(score["answered"]),
        str(score["missing"]),
        percent[2],
        percent[3],
    ]


def _notes(key: Mapping, answers: Mapping) -> str:
    missing = missing_answers(key, answers)
    silent = [str(participant) for participant in missing if participant not in answers]
    partly = [
        f"{count} of participant {participant}"
        for participant, count in missing.items()
        if participant in answers
    ]
    return (
        "Accuracy in percent of the answers; 50 is chance, lower protects better. Intervals: Wilson's, as if "
        "all answers were independent, and of a bootstrap over participants. Paper: Market-1501, 100 answers "
        "for each row. Re-ID rank-1: of the group's own model on query→gallery, – where "
        f"{key['runs']} has no results.json of it. Answers of {len(answers)} of "
        f"{key['participants']} participants"
        + (f"; none of {', '.join(silent)}" if silent else "")
        + (f"; missing: {', '.join(partly)}." if partly else ".")
    )
