"""Commands in processes of their own, under limits of time and memory."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CPU_SECONDS = 10  # of a case; a healthy one takes a tenth, an evaluation two
STILL_SECONDS = 8  # without a hundredth of a second of work: it waits for something that never comes
PROCESSES = 40  # that a case may have begun
MEMORY = 2 * 2**30  # bytes beyond those of the program itself
LARGEST_FILE = 2**28  # bytes that a case may write
OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "allocate memory", "Unable to allocate")
CRASHED = 70  # exit code of a command that ended in an exception
BROKEN = 99  # of a process that could not even begin a command


@dataclass(frozen=True)
class Task:
    """A command to be run.

    Attributes:
        command: what is run; returns the exit code.
        folder: it is run in.
        log: file for what it says.
    """

    command: Callable[[], int]
    folder: Path
    log: Path


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code; minus the signal's number where one killed it.
        said: standard output and standard error.
        exceeded: the limit that it ran into, "" without.
    """

    code: int
    said: str
    exceeded: str


def run_limited(tasks: Sequence[Task]) -> Iterator[Ended]:
    """Run commands one after the other in a forked process, and in another one from each that breaks it.

    A fork costs more than most commands, which are refused at once.

    Args:
        tasks: in the order in which they are run.

    Yields:
        How each ended.
    """
    done = 0
    while done < len(tasks):
        sys.stdout.flush()
        sys.stderr.flush()
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            _run(tasks[done:], writer)
        os.close(writer)
        os.set_blocking(reader, False)
        try:
            before = done
            for code, exceeded in _results(child, reader):
                yield _ended(code, exceeded, tasks[done].log)
                done += 1
            if done == before:
                raise RuntimeError("a process ended without a word")
        finally:
            os.close(reader)


def _run(tasks: Sequence[Task], writer: int) -> None:
    """What the child does; it does not return."""
    code = BROKEN
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, resource.RLIM_INFINITY))
        for task in tasks:
            os.write(writer, bytes([_run_one(task) % 256]))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _run_one(task: Task) -> int:
    words = os.open(task.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for new, old in ((nothing, 0), (words, 1), (words, 2)):
        os.dup2(new, old)
    os.close(nothing)
    os.close(words)
    # whoever called may have put something else in the place of both
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(task.folder)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, resource.RLIM_INFINITY))
    try:
        return task.command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return CRASHED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _results(child: int, reader: int) -> Iterator[tuple[int, str]]:
    """(exit code, limit that was exceeded) of each task, until the child ends or one exceeds a limit."""
    begun, worked, since, pause = _cpu_seconds(child), -1.0, time.monotonic(), 0.002
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        try:
            codes = os.read(reader, 1000)
        except BlockingIOError:
            codes = b""
        for code in codes:
            yield code, ""
        if ended:
            if status and os.waitstatus_to_exitcode(status) != BROKEN:  # killed by a signal, as by a crash
                yield os.waitstatus_to_exitcode(status), ""
            return
        seconds = _cpu_seconds(child)
        if codes:
            begun, worked, pause = seconds, -1.0, 0.002
        if seconds > worked:
            worked, since = seconds, time.monotonic()
        still = time.monotonic() - since > STILL_SECONDS
        many = _children(child) > PROCESSES
        if still or many or seconds - begun > CPU_SECONDS:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            yield -signal.SIGKILL, "stands still" if still else "processes" if many else "time"
            return
        time.sleep(pause)
        pause = min(0.05, pause * 1.3)


def _ended(code: int, exceeded: str, log: Path) -> Ended:
    said = log.read_text(errors="replace") if log.exists() else ""
    if not exceeded and any(words in said for words in OUT_OF_MEMORY):
        exceeded = "memory"
    return Ended(code, said, exceeded)


def _children(process: int) -> int:
    try:
        return len(Path(f"/proc/{process}/task/{process}/children").read_text().split())
    except OSError:  # it has just ended
        return 0


def _cpu_seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
