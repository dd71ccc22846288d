"""What a training command asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingRequest:
    """A training or a test, as a command line asks for it.

    Attributes:
        config_file: a YAML file; empty: the defaults.
        overrides: KEY VALUE pairs, one word each, over the file's.
        eval_only: test a checkpoint, do not train.
        resume: continue what was interrupted in OUTPUT_DIR.
        processes: on each machine; one GPU each, where the device is one.
        machines: each runs the same command.
        machine_rank: which of them this one is, from 0.
        dist_url: where the processes meet; "auto": a free port of this machine.
        projects: folders whose packages each process imports first.
    """

    config_file: str = ""
    overrides: tuple[str, ...] = ()
    eval_only: bool = False
    resume: bool = False
    processes: int = 1
    machines: int = 1
    machine_rank: int = 0
    dist_url: str = "auto"
    projects: tuple[str, ...] = ()
