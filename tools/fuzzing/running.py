"""Many cases: valid inputs made once, then a process for each case, some side by side."""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from .cases import Case, Content, Found, draw_case, output_of_intact, run_cases
from .inputs import PASSPHRASE, make_inputs
from .kinds import Target
from .product import Product

BATCH = 25  # cases of one process


class Run:
    """Cases of one tree and one seed.

    Args:
        tree: of the project.
        folder: for inputs and cases.
        seed: of all that is drawn.
        jobs: processes side by side.
    """

    def __init__(self, tree: Path, folder: Path, seed: int, jobs: int):
        self.product = Product(tree)
        self.world, self.folder, self.seed, self.jobs = folder / "inputs", folder, seed, jobs
        self.world.mkdir()
        os.environ.update({"FASTREID_DATASETS": "datasets", PASSPHRASE: "fuzz"})
        self._in_child(lambda: make_inputs(self.product, self.world), self.world)
        self._intact: dict[tuple[str, ...], Content] = {}
        gc.collect()
        gc.freeze()  # a collection in a child would copy all memory

    def folder_of(self, kind: str, number: int) -> Path:
        """Where a case is tried."""
        return self.folder / f"{kind} {number}".replace(" ", "_")

    def all(self, cases: Sequence[tuple[str, int]]) -> list[Found]:
        """Try cases, each a kind and a number; in their order."""
        results = [self.folder / f"found{job}.jsonl" for job in range(self.jobs)]
        children = []
        for job, path in enumerate(results):
            child = os.fork()
            if not child:
                self._exit_after(lambda job=job, path=path: self._some(cases[job :: self.jobs], path))
            children.append(child)
        if any([os.waitpid(child, 0)[1] for child in children]):
            raise RuntimeError("a process that runs cases has failed")
        found = [Found(**json.loads(line)) for path in results for line in path.read_text().splitlines()]
        order = {case: place for place, case in enumerate(cases)}
        return sorted(found, key=lambda case: order[case.kind, case.number])

    def _some(self, cases: Sequence[tuple[str, int]], path: Path) -> None:
        def folder_of(case: Case) -> Path:
            return self.folder_of(case.kind, case.number)

        with path.open("w") as file:
            for start in range(0, len(cases), BATCH):
                batch = [draw_case(*case, self.seed, self.world) for case in cases[start : start + BATCH]]
                for found in run_cases(batch, self.product, self.world, folder_of, self._output):
                    file.write(json.dumps(found.as_json()) + "\n")
                if len(cases) > 1:
                    for case in batch:
                        shutil.rmtree(folder_of(case), ignore_errors=True)
                file.flush()
                if sys.stderr.isatty():
                    print(f"\r{start + len(batch):,} of {len(cases):,}", end="", file=sys.stderr)

    def _output(self, target: Target) -> Content:
        """What the command of a target writes with intact inputs, made when it is first asked for."""
        if target.words not in self._intact:
            folder = self.folder / f"intact{os.getpid()}"
            self._intact[target.words] = output_of_intact(target, self.product, self.world, folder)
        return self._intact[target.words]

    def _in_child(self, action, folder: Path) -> None:
        """Do something in a process of its own, so that this one begins no thread."""
        child = os.fork()
        if not child:
            os.chdir(folder)
            log = os.open(folder.parent / "inputs.log", os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            self._exit_after(action)
        if os.waitpid(child, 0)[1]:
            raise RuntimeError("the inputs cannot be made:\n" + (folder.parent / "inputs.log").read_text())

    @staticmethod
    def _exit_after(action) -> None:
        code = 1
        try:
            action()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
