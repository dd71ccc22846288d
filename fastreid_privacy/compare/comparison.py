"""Every method's stages, each made once and kept: what was interrupted goes on from what is finished."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from fastreid.config import CfgNode

from ..attack.grid import run_attacks
from ..attack.measures import Hits
from ..attack.observers import load_observer
from ..attack.page import write_page
from ..attack.request import AttackRequest, check_request
from ..attack.stored import RESULT, result_of, save_result
from ..attack.stranger import check_enough, train_reid
from ..attack.subjects import Subjects, read_subjects
from ..attack.views import Files, View
from ..checkpoints.reading import read_trained
from ..config import comparable, image_device
from ..core.errors import UserError, say
from ..core.files import read_file
from ..core.kept import keep_settings, kept, read_kept
from ..core.lock import locked
from ..results.results_json import config_value
from ..tasks.measure import measure_tasks
from ..tasks.truth import Truth, read_truth
from . import protecting, training
from .methods import Method, Methods, read_methods
from .utility import settings_of

STRANGER = "stranger"  # in the output folder: Re-ID of raw images, which judges every method


@dataclass(frozen=True)
class CompareRequest:
    """What the command is asked for.

    Attributes:
        methods: the file that names them.
        output: folder of the result; an interrupted comparison there goes on.
        schedule: share of each config's schedule that its model is trained for, above 0, at most 1.
        budget: share of the full training of attackers, Re-ID and tasks that learn from protected files.
        pairs: leaked pairs of row A3.
        seed: of everything that is trained.
        stranger: a Re-ID model of raw images, which saves training one.
        width: channels of the attacker's network.
        device: auto, cpu, cuda or cuda:N.
    """

    methods: Path
    output: Path
    schedule: float = 1.0
    budget: float = 0.05
    pairs: Sequence[str] = ("all",)
    seed: int = 0
    stranger: Path | None = None
    width: int = 24
    device: str = "auto"


@dataclass(frozen=True)
class Finding:
    """What is known of one method.

    Attributes:
        kind: "none", "conventional" or "learned"; "files" of another tool.
        operator: the conventional one, or that of the learned method's first target; "" of files.
        files: as :func:`.protecting.protect` gives them.
        attack: the content of its attack.json.
        utility: "joint" (its own model), "raw" (the stranger, of raw images), "protected_only"; each as
            :func:`.utility.settings_of`.
        hits: of the joint model, by setting.
        tasks: as :func:`fastreid_privacy.tasks.measure.measure_tasks` gives them.
    """

    kind: str
    operator: str
    files: dict[str, Any]
    attack: dict[str, Any]
    utility: dict[str, dict[str, dict[str, float]]]
    hits: dict[str, Hits]
    tasks: dict[str, Any]


def run_comparison(request: CompareRequest) -> tuple[Methods, dict[str, Finding]]:
    """Train, protect, attack and use every method that is not finished yet.

    Returns:
        The methods, and what was found of each, in the order of the file.

    Raises:
        UserError: for a file, a config, data or an option that does not serve, before anything is trained;
            for a run that fails; and where the output folder holds the same method with other settings.
    """
    methods = read_methods(request.methods)
    plan = training.Plan(methods.data, request.output, request.schedule, request.seed, request.device)
    if not 0 < request.schedule <= 1:
        raise UserError(f"--schedule {request.schedule}: give a share above 0, at most 1")
    if not 0 <= request.seed < 2**31:
        raise UserError(f"--seed {request.seed}: seeds are whole numbers from 0 to 2147483647")
    device = image_device(request.device, "--device")
    found = training.configs(plan, methods.methods)
    work = _Work(request, methods, plan, found, device)
    for method in methods.methods:
        check_request(work.attack(method))
    check_enough(read_subjects(methods.data, methods.data))
    request.output.mkdir(parents=True, exist_ok=True)
    in_use = f"another comparison writes to {request.output}; wait for its end, or choose another --output"
    with locked(request.output, in_use):
        for method in methods.methods:
            work.keep(method)
        training.check(plan, methods.methods, found)
        for method in training.in_order(methods.methods, found):
            if method.name in found and not training.finished(plan.run(method)):
                say(f"{method.name}: training its model")
                training.train(plan, method, found[method.name])
        return methods, {method.name: work.finding(method) for method in methods.methods}


@dataclass(frozen=True)
class _Work:
    request: CompareRequest
    methods: Methods
    plan: training.Plan
    configs: dict[str, CfgNode]
    device: str
    truths: dict[tuple[int, int], Truth] = field(default_factory=dict)

    def keep(self, method: Method) -> None:
        """Note what the finished stages of a method depend on, or refuse where that differs."""
        cfg = self.configs.get(method.name)
        source = method.run or method.protected
        settings = {
            "data": self.methods.data,
            "method": comparable(cfg, ("OUTPUT_DIR", "MODEL.DEVICE")) if cfg else str(source),
            "seal": method.seal,
            "budget": self.request.budget,
            "pairs": list(self.request.pairs),
            "seed": self.request.seed,
            "width": self.request.width,
            "foreign": self.methods.foreign,
            "stranger": _checksum(self.request.stranger),
            "tasks": {name: str(path) for name, path in self.methods.tasks.items()},
        }
        keep_settings(self.plan.folder(method), settings, f"{method.name}, compared")

    def finding(self, method: Method) -> Finding:
        """Make what is missing of a method."""
        folder = self.plan.folder(method)
        folder.mkdir(parents=True, exist_ok=True)
        kind, operator = self.kind(method)
        say(f"{method.name}: its stored files")
        files = kept(folder / "files.json", lambda: self.files(method))
        say(f"{method.name}: attacked")
        attack = self.attacked(method)
        say(f"{method.name}: used")
        utility = kept(folder / "utility.json", lambda: self.utility(method))
        tasks = kept(folder / "tasks.json", lambda: self.tasks(method))
        hits = {name: Hits(*map(_array, pair)) for name, pair in utility["hits"].items()}
        return Finding(kind, operator, files, attack, utility["figures"], hits, tasks)

    def kind(self, method: Method) -> tuple[str, str]:
        if method.protected:
            return "files", ""
        if method.run:
            results = training.results_of(method.run)
            return config_value(results, "PRIVACY.PROTECTION"), config_value(
                results, "PRIVACY.DESENSITIZER.NAME"
            )
        privacy = self.configs[method.name].PRIVACY
        return privacy.PROTECTION, privacy.DESENSITIZER.NAME

    def checkpoint(self, method: Method) -> Path | None:
        return None if method.protected else training.checkpoint_of(self.plan.run(method))

    def stored(self, method: Method) -> str:
        """The protected files of a method: a folder, or the raw data where nothing is protected."""
        if method.protected:
            return str(method.protected)
        if self.kind(method)[0] == "none":
            return self.methods.data
        return str(self.plan.folder(method) / protecting.PROTECTED)

    def files(self, method: Method) -> dict[str, Any]:
        if method.protected or self.kind(method)[0] == "none":
            return protecting.sizes(self.stored(method))
        checkpoint = self.checkpoint(method)
        assert checkpoint is not None
        return protecting.protect(
            self.methods.data,
            checkpoint,
            self.plan.folder(method),
            seal=method.seal,
            device=self.device,
        )

    def attack(self, method: Method) -> AttackRequest:
        kind, operator = self.kind(method)
        return AttackRequest(
            self.methods.data,
            self.stored(method),
            self.plan.folder(method) / "attack",
            rows=("A0", "A4") if kind == "none" else (),
            pairs=self.request.pairs,
            budget=self.request.budget,
            seeds=(self.request.seed,),
            beside=(),
            operator=operator,
            model=self.checkpoint(method),
            foreign=self.methods.foreign if kind != "none" else "",
            stranger=self.request.stranger,
            width=self.request.width,
            device=self.request.device,
        )

    def attacked(self, method: Method) -> dict[str, Any]:
        request = self.attack(method)
        finished = read_kept(request.output / RESULT)
        if finished is not None:
            return finished
        request = replace(request, stranger=self.stranger)
        outcome = run_attacks(request)
        result = result_of(request, outcome)
        write_page(result, outcome, request.output)
        save_result(result, request.output)  # the last file, so that its presence says that all are there
        return result

    def subjects(self, method: Method) -> Subjects:
        """The images of a method, in the size of its files; where nothing is protected, in its model's."""
        subjects = read_subjects(self.methods.data, self.stored(method))
        checkpoint = self.checkpoint(method)
        if self.kind(method)[0] != "none" or checkpoint is None:
            return subjects
        return replace(subjects, size=tuple(read_trained(checkpoint).cfg.INPUT.SIZE_TEST))

    @cached_property
    def stranger(self) -> Path:
        """The Re-ID model of raw images, trained once for all methods."""
        if self.request.stranger:
            return self.request.stranger
        subjects = self.subjects(self.methods.methods[0])
        say("training the Re-ID model of raw images that judges all methods")
        return self.reid(STRANGER, Files(subjects.size), subjects)

    def reid(self, name: str, view: View, subjects: Subjects) -> Path:
        """A Re-ID model that has learned from the known people as a view shows them."""
        epochs = AttackRequest("", "", Path(), budget=self.request.budget).epochs
        return train_reid(
            self.request.output / name,
            view,
            subjects,
            backbone="resnet18",
            epochs=epochs,
            seed=self.request.seed,
            device=self.device,
        )

    def utility(self, method: Method) -> dict[str, Any]:
        subjects, (raw, protected) = self.subjects(method), self.views(method)
        observers = {"raw": load_observer(self.stranger, self.device, "raw")}
        if checkpoint := self.checkpoint(method):
            observers["joint"] = load_observer(checkpoint, self.device, "joint")
        if self.kind(method)[0] != "none":  # of raw files, it would be the stranger once more
            parrot = self.reid(f"{method.name}/parrot", protected, subjects)
            observers["protected_only"] = load_observer(parrot, self.device, "protected_only")
        figures: dict[str, Any] = {}
        hits: dict[str, Any] = {}
        for name, observer in observers.items():
            figures[name], found = settings_of(observer, raw, protected, subjects)
            if name == "joint":
                hits = {setting: [each.first.tolist(), each.pids.tolist()] for setting, each in found.items()}
        return {"figures": figures, "hits": hits}

    def views(self, method: Method) -> tuple[View, View]:
        size = self.subjects(method).size
        return Files(size), Files(size, protected=True)

    def truth(self, size: tuple[int, int]) -> Truth:
        """Of all raw images, read once for all methods whose files have this size."""
        if size not in self.truths:
            subjects = replace(read_subjects(self.methods.data, self.methods.data), size=size)
            self.truths[size] = read_truth(subjects, self.methods.data, **self.methods.tasks)
        return self.truths[size]

    def tasks(self, method: Method) -> dict[str, Any]:
        subjects, (raw, protected) = self.subjects(method), self.views(method)
        truth = self.truth(subjects.size)
        view = raw if self.kind(method)[0] == "none" else protected
        budget, seed = self.request.budget, self.request.seed
        return measure_tasks(truth, view, raw, subjects, budget=budget, seed=seed, device=self.device)


def _array(values: Sequence[int]) -> np.ndarray:
    return np.array(values, dtype=int)


def _checksum(path: Path | None) -> str | None:
    return hashlib.sha256(read_file(path)).hexdigest() if path else None
