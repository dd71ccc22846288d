"""``tools/fuzz.py``: a short run finds no fault, and faults that are put in are found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "tools"
sys.path.insert(0, str(TOOLS))

from fuzzing.cases import HANG, HARMLESS, REFUSED, TRACEBACK, WRONG, Case, judge  # noqa: E402
from fuzzing.child import Ended, Task, run_limited  # noqa: E402
from fuzzing.kinds import EQUAL, NAMES, Target  # noqa: E402

PLANTED = """
import sys
sys.path[:0] = [{tools!r}]
import fuzz, fastreid_privacy.checkpoints.reading as reading
reading.check_checksum = lambda *_: None
sys.exit(fuzz.main(sys.argv[1:]))
"""


def fuzz(*words):
    """The exit code, and the JSON that is written to the last word."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, *map(str, words)], env=environment, capture_output=True, text=True
    )
    assert Path(words[-1]).exists(), ended.stderr
    return ended.returncode, json.loads(Path(words[-1]).read_text()), ended.stdout


def test_a_short_run_finds_no_fault(tmp_path):
    code, found, said = fuzz(
        TOOLS / "fuzz.py", "--seed", 0, "--cases", 340, "--output", tmp_path / "found.json"
    )
    assert not found["faults"], said
    assert code == 0
    counts = {kind: sum(outcomes.values()) for kind, outcomes in found["table"].items()}
    assert len(counts) == 19 and min(counts.values()) >= 6 and sum(counts.values()) >= 340
    assert all(REFUSED in outcomes for outcomes in found["table"].values())


def test_a_planted_fault_is_found_and_shown_again(tmp_path):
    """Without the checksum of ``recovery.safetensors``, damaged weights recover other pictures."""
    (tmp_path / "planted.py").write_text(PLANTED.format(tools=str(TOOLS)))
    words = [tmp_path / "planted.py", "--kinds", "safetensors"]
    code, found, _ = fuzz(*words, "--cases", 30, "--output", tmp_path / "found.json")
    faults = found["faults"]
    assert code == 1 and {fault["outcome"] for fault in faults} == {WRONG}
    only = ["--only", f"safetensors:{faults[0]['number']}", "--keep", tmp_path / "case"]
    code, again, _ = fuzz(*words[:1], *only, "--output", tmp_path / "again.json")
    assert code == 1 and again["faults"] == faults[:1]
    assert list((tmp_path / "case").rglob("*.safetensors"))


# -- limits and judging --------------------------------------------------------------------------------------


def fails():
    raise ValueError("a planted fault")


def crashes():
    os.kill(os.getpid(), signal.SIGSEGV)


def computes_for_ever():
    while True:
        pass


def test_each_end_of_a_command_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("fuzzing.child.CPU_SECONDS", 0.5)
    monkeypatch.setattr("fuzzing.child.STILL_SECONDS", 1.5)
    commands = [
        lambda: print("said") or 0,
        fails,
        lambda: sys.exit(2),
        crashes,
        lambda: len(bytearray(2**33)),
        lambda: time.sleep(100),
        computes_for_ever,
        lambda: 0,
    ]
    tasks = [Task(command, tmp_path, tmp_path / f"{place}.log") for place, command in enumerate(commands)]
    ended = list(run_limited(tasks))
    assert [end.code for end in ended] == [0, 70, 2, -signal.SIGSEGV, 70, -signal.SIGKILL, -signal.SIGKILL, 0]
    assert [end.exceeded for end in ended] == ["", "", "", "", "memory", "stands still", "time", ""]
    assert ended[0].said == "said\n" and "a planted fault" in ended[1].said


TRACE = "Traceback (most recent call last):\nValueError: x\n"
JUDGED = [
    (Ended(2, "error: no", ""), {}, EQUAL, REFUSED),
    (Ended(2, "", ""), {}, EQUAL, TRACEBACK),
    (Ended(2, TRACE, ""), {}, EQUAL, TRACEBACK),
    (Ended(70, TRACE, ""), {}, EQUAL, TRACEBACK),
    (Ended(-11, "", ""), {}, EQUAL, TRACEBACK),
    (Ended(-9, "", "time"), {}, EQUAL, HANG),
    (Ended(2, "error: no", "memory"), {}, EQUAL, HANG),
    (Ended(0, "", ""), {"out/a.png": b"same"}, EQUAL, HARMLESS),
    (Ended(0, "", ""), {"out/a.png": b"other"}, EQUAL, WRONG),
    (Ended(0, "", ""), {"out/a.png": b"other"}, NAMES, HARMLESS),
    (Ended(0, "", ""), {"out/b.png": b"same"}, NAMES, WRONG),
    (Ended(0, "", ""), {}, NAMES, WRONG),
    (Ended(2, "error: no", ""), {"elsewhere.png": b"x"}, EQUAL, WRONG),
    (Ended(2, "error: no", ""), {"PROOF": b""}, EQUAL, WRONG),
]


@pytest.mark.parametrize(("ended", "written", "level", "outcome"), JUDGED)
def test_outcomes(tmp_path, ended, written, level, outcome):
    for name, content in written.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    case = Case("kind", 0, Target("in.png", ("anonymize",), ()), "", None, level)
    assert judge(case, ended, tmp_path, {}, {"out/a.png": b"same"})[0] == outcome
