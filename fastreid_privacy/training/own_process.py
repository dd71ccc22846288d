"""A training in a process of its own, for commands that need one: its config, its command, its log."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fastreid.config import CfgNode

from ..core.errors import UserError
from ..core.files import write_whole
from ..core.projects import project_words
from ..core.signals import SignalsHeld, sigterm_interrupts

POLL_SECONDS = 1.0


def save_config(cfg: CfgNode, path: Path) -> None:
    """Write a whole config, which ``load_config`` reads back as it is."""
    write_whole(path, cfg.dump().encode())


def training_command(config: Path, *more: str) -> list[str]:
    """The command that trains what a config describes, or goes on with it, with this process's projects."""
    words = [*project_words(), "--resume", f"--config-file={config}", *more]
    return [sys.executable, "-m", "fastreid_privacy", "train", *words]


def run_logged(
    words: Sequence[str],
    log: Path,
    name: str,
    descriptor: int | None = None,
    while_waiting: Callable[[], object] = lambda: None,
) -> None:
    """Run a process to its end, or end it with this one, also by SIGTERM.

    Args:
        words: the command.
        log: of all that it says, behind what is there already.
        name: what failed, for messages.
        descriptor: of a lock that it keeps; see :func:`fastreid_privacy.core.lock.locked`.
        while_waiting: called every second.

    Raises:
        UserError: when it fails; it names the log and the last error line.
    """
    with log.open("ab") as output, sigterm_interrupts(), SignalsHeld() as held:
        start = output.tell()
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[] if descriptor is None else [descriptor],
        )
        try:
            held.release()
            while process.poll() is None:
                while_waiting()
                try:
                    process.wait(POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode == 130:
        raise KeyboardInterrupt
    if process.returncode:
        raise UserError(
            f"{name} failed with exit code {process.returncode}: {last_error(log, start)} (its "
            f"log: {log}). The same command goes on from what is finished"
        )


def last_error(log: Path, start: int = 0) -> str:
    """The last line of a log that begins with "error:", else the last line, from a byte on."""
    with log.open("rb") as file:
        file.seek(start)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("error: ")
