"""Protects a folder or a video in forks that are killed, until one ends: used by tests of killed runs.

``python killed_protecting.py '[POINT, …]' WORDS``: the words are of ``anonymize``; everything is imported
once. Each run is killed at its n-th point of these: a file gets its name, the journal a line, a raw image is
read, a frame is written. Prints the list of how the runs ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from tqdm import tqdm

from fastreid_privacy.collection import making, run
from fastreid_privacy.commands.anonymize import main
from fastreid_privacy.video import writer


def ends_of_killed_runs(points: Sequence[int], *words: object) -> list[int]:
    """How runs of ``anonymize`` ended that were killed at their n-th points, up to the first that was not."""
    command = [sys.executable, __file__, json.dumps(list(points)), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])
    assert ends[-1] == 0 and set(ends[:-1]) <= {-signal.SIGKILL}, (ends, done.stderr)
    return ends


def die_at(point: int) -> None:
    """Make this process die at its n-th point."""
    points = count(1)

    def counted(function: Callable) -> Callable:
        def wrapper(*args, **kwargs):
            if next(points) == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapper

    os.replace, making._load = counted(os.replace), counted(making._load)
    for owner, name in ((run.Journal, "add"), (writer.VideoWriter, "write")):
        setattr(owner, name, counted(getattr(owner, name)))


if __name__ == "__main__":
    tqdm.set_lock(threading.RLock())  # by default one of all processes, which a killed one may hold
    points, words = json.loads(sys.argv[1]), sys.argv[2:]
    ends: list[int] = []
    while not ends or ends[-1] != 0:
        child = os.fork()
        if not child:
            die_at(points[len(ends)])
            os._exit(main(words))
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        for file in Path(words[words.index("--output") + 1]).rglob("*"):
            assert not file.is_file() or file.read_bytes()[:2] != b"\xff\xd8", "a raw JPEG in the output"
    print(json.dumps(ends))
