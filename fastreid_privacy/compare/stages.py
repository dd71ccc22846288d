"""Every stage of a method, made once and kept: what was interrupted goes on from what is finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from fastreid.config import CfgNode

from ..attack.grid import attack_settings, run_attacks
from ..attack.measures import Hits
from ..attack.observers import load_observer
from ..attack.page import write_page
from ..attack.request import AttackRequest
from ..attack.stored import RESULT, result_of, save_result
from ..attack.stranger import train_reid
from ..attack.subjects import Subjects, read_subjects
from ..attack.views import Files, View
from ..config import comparable, differing, value_of
from ..core.errors import say
from ..core.kept import differing_settings, keep_settings, kept, read_kept, stamp_of
from ..desensitize.desensitizer import about_operator, about_regions
from ..results.results_json import checkpoint_of, config_value, is_finished
from ..tasks.measure import measure_tasks
from ..tasks.truth import Truth, read_truth
from . import protecting, training
from .learned import check_teacher, learned_from_others
from .methods import Method, Methods
from .request import CompareRequest
from .utility import settings_of

STRANGER = "stranger"  # in the output folder: Re-ID of raw images, which judges every method
USED = "used"  # in a method's folder: what its files are good for
# a begun run keeps its start; whether a finished one had the teacher of now is asked of both
NOT_KEPT = ("OUTPUT_DIR", "MODEL.DEVICE", "PRIVACY.UPGRADE.BASELINE_RANK1", "PRIVACY.UPPER_BOUND")
NEWER = ("data_files", "regions")  # settings that a folder of an older version may lack: it goes on


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
        trained_on_others: as :func:`.learned.learned_from_others` gives it.
    """

    kind: str
    operator: str
    files: dict[str, Any]
    attack: dict[str, Any]
    utility: dict[str, dict[str, dict[str, float]]]
    hits: dict[str, Hits]
    tasks: dict[str, Any]
    trained_on_others: bool | None


@dataclass(frozen=True)
class Stages:
    """What is made of the methods of one comparison.

    Attributes:
        request: what the command is asked for.
        methods: what its file names.
        plan: how models are trained.
        configs: of the methods that have one, by name.
        device: where networks run.
    """

    request: CompareRequest
    methods: Methods
    plan: training.Plan
    configs: dict[str, CfgNode]
    device: str

    def keep(self, method: Method) -> None:
        """Note what the model and the files of a method depend on.

        Raises:
            UserError: where that differs from what is there, or its finished model had another teacher.
        """
        cfg = self.configs.get(method.name)
        settings = {
            "data": self.methods.data,
            "method": comparable(cfg, NOT_KEPT) if cfg else str(method.run or method.protected),
            "seal": method.seal,
            "guard": method.guard or None,  # older versions knew none
            "operator": about_operator(cfg) if cfg else None,  # likewise
            "regions": about_regions(cfg) if cfg else None,
            "data_files": self._raw_settings["files"],
        }
        keep_settings(self.plan.folder(method), settings, f"the method {method.name}", _other_settings)
        if cfg and is_finished(self.plan.run(method)):
            check_teacher(method, cfg, self.plan.run(method))

    def finding(self, method: Method) -> Finding:
        """Make what is missing of a method.

        Raises:
            UserError: when a stage fails, or was made with other settings.
        """
        folder = self.plan.folder(method)
        if cfg := self.configs.get(method.name):
            check_teacher(method, cfg, self.plan.run(method))  # which may have been trained again meanwhile
        kind, operator = self.kind(method)
        say(f"{method.name}: its stored files")
        files = kept(folder / "files.json", lambda: self._files(method))
        subjects = replace(read_subjects(self.methods.data, self._stored(method)), size=self.size)
        request = replace(self.attack(method), stranger=self.stranger)
        settings = attack_settings(request, subjects)
        say(f"{method.name}: attacked")
        attack = _attacked(request, settings)
        say(f"{method.name}: used")
        about = {key: settings[key] for key in ("budget", "files", "metrics", "model", "stranger")}
        truth = self.methods.tasks
        about |= {"seed": self.request.seed, "tasks": {name: str(path) for name, path in truth.items()}}
        # None in what an older version made, too
        about["tasks_files"] = {name: stamp_of(path) for name, path in truth.items()} or None
        keep_settings(folder / USED, about, f"the use of {method.name}")
        utility = kept(folder / USED / "utility.json", lambda: self._utility(method, subjects))
        tasks = kept(folder / USED / "tasks.json", lambda: self._tasks(method, subjects))
        hits = {name: Hits(*map(_array, pair)) for name, pair in utility["hits"].items()}
        others = self.trained_on_others[method.name]
        return Finding(kind, operator, files, attack, utility["figures"], hits, tasks, others)

    def attack(self, method: Method) -> AttackRequest:
        """How a method is attacked, but for the stranger who is trained first."""
        kind, operator = self.kind(method)
        return AttackRequest(
            self.methods.data,
            self._stored(method),
            self.plan.folder(method) / "attack",
            rows=("A0", "A4") if kind == "none" else (),
            pairs=self.request.pairs,
            budget=self.request.budget,
            seeds=(self.request.seed,),
            beside=(),
            operator=operator,
            model=self._checkpoint(method),
            foreign=self.methods.foreign if kind != "none" else "",
            stranger=self.request.stranger,
            width=self.request.width,
            device=self.request.device,
            size=self.size_of(method) if kind == "none" else None,
        )

    def size_of(self, method: Method) -> tuple[int, int]:
        """(height, width) of a method's files, or of its model where nothing is protected."""
        if method.protected:
            return read_subjects(self.methods.data, str(method.protected)).size
        height, width = self._value(method, "INPUT.SIZE_TEST")
        return height, width

    @cached_property
    def size(self) -> tuple[int, int]:
        """Of all methods."""
        return self.size_of(self.methods.methods[0])

    @cached_property
    def trained_on_others(self) -> dict[str, bool | None]:
        """Of each method, by name: as :func:`.learned.learned_from_others`, looked at once."""
        measured = self._raw.measured
        return {
            method.name: learned_from_others(method, self.configs.get(method.name), measured)
            for method in self.methods.methods
        }

    @cached_property
    def truth(self) -> Truth:
        """Of all raw images, read once for all methods."""
        return read_truth(self._raw, self.methods.data, **self.methods.tasks)

    @cached_property
    def stranger(self) -> Path:
        """The Re-ID model of raw images, trained once for all methods."""
        if self.request.stranger:
            return self.request.stranger
        folder = self.plan.output / STRANGER
        about = {key: self._raw_settings[key] for key in ("raw", "budget", "files")}
        about |= {"seed": self.request.seed, "size": self.size}
        keep_settings(folder, about, "the Re-ID of raw images")
        if not is_finished(folder / training.RUN):
            say("training the Re-ID model of raw images that judges all methods")
        return self._reid(folder, Files(self.size))

    @cached_property
    def _raw(self) -> Subjects:
        return replace(read_subjects(self.methods.data, self.methods.data), size=self.size)

    @cached_property
    def _raw_settings(self) -> dict[str, Any]:
        """What an attack on the raw images would depend on: "files" stands for all of them."""
        folder = self.plan.output / STRANGER
        alone = AttackRequest(self.methods.data, self.methods.data, folder, budget=self.request.budget)
        return attack_settings(alone, self._raw)

    def _value(self, method: Method, key: str) -> Any:
        """Of a method's config; of a finished run, that of its results."""
        if method.run:
            return config_value(training.results_of(method.run), key)
        return value_of(self.configs[method.name], key)

    def kind(self, method: Method) -> tuple[str, str]:
        """What protects: none, conventional, learned or files; and the operator's name, where it is known."""
        if method.protected:
            return "files", ""
        kind, operator = (
            self._value(method, f"PRIVACY.{key}") for key in ("PROTECTION", "DESENSITIZER.NAME")
        )
        return kind, operator

    def _checkpoint(self, method: Method) -> Path | None:
        return None if method.protected else checkpoint_of(self.plan.run(method))

    def _stored(self, method: Method) -> str:
        """The protected files of a method: a folder, or the raw data where nothing is protected."""
        if method.protected:
            return str(method.protected)
        if self.kind(method)[0] == "none":
            return self.methods.data
        return str(self.plan.folder(method) / protecting.PROTECTED)

    def _files(self, method: Method) -> dict[str, Any]:
        if method.protected or self.kind(method)[0] == "none":
            return protecting.sizes(self._stored(method))
        checkpoint = self._checkpoint(method)
        assert checkpoint is not None
        folder = self.plan.folder(method)
        return protecting.protect(
            self.methods.data, checkpoint, folder, seal=method.seal, guard=method.guard, device=self.device
        )

    def _reid(self, folder: Path, view: View, subjects: Subjects | None = None) -> Path:
        """A Re-ID model that has learned from the known people as a view shows them."""
        epochs = AttackRequest("", "", Path(), budget=self.request.budget).epochs
        return train_reid(
            folder,
            view,
            subjects or self._raw,
            backbone="resnet18",
            epochs=epochs,
            seed=self.request.seed,
            device=self.device,
        )

    def _utility(self, method: Method, subjects: Subjects) -> dict[str, Any]:
        raw, protected = self._views()
        observers = {"raw": load_observer(self.stranger, self.device, "raw")}
        if checkpoint := self._checkpoint(method):
            observers["joint"] = load_observer(checkpoint, self.device, "joint")
        if self.kind(method)[0] != "none":  # of raw files, it would be the stranger once more
            parrot = self._reid(self.plan.folder(method) / "parrot", protected, subjects)
            observers["protected_only"] = load_observer(parrot, self.device, "protected_only")
        figures: dict[str, Any] = {}
        hits: dict[str, Any] = {}
        for name, observer in observers.items():
            figures[name], found = settings_of(observer, raw, protected, subjects)
            if name == "joint":
                hits = {setting: [each.first.tolist(), each.pids.tolist()] for setting, each in found.items()}
        return {"figures": figures, "hits": hits}

    def _views(self) -> tuple[View, View]:
        return Files(self.size), Files(self.size, protected=True)

    def _tasks(self, method: Method, subjects: Subjects) -> dict[str, Any]:
        raw, protected = self._views()
        view = raw if self.kind(method)[0] == "none" else protected
        budget, seed = self.request.budget, self.request.seed
        return measure_tasks(self.truth, view, raw, subjects, budget=budget, seed=seed, device=self.device)


def _other_settings(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """What differs between the settings of a method; those of older versions, configs included, lack keys."""
    ours = {key: ours[key] for key in ours if key not in NEWER or theirs.get(key) is not None}
    if not all(isinstance(each.get("method"), dict) for each in (theirs, ours)):
        return differing_settings(theirs, ours)
    about = ({key: each[key] for key in each if key != "method"} for each in (theirs, ours))
    return differing_settings(*about) + differing(theirs["method"], ours["method"], "→")


def _attacked(request: AttackRequest, settings: dict[str, Any]) -> dict[str, Any]:
    """What attack.json holds; the attack is made first where it is not there yet."""
    keep_settings(request.output / "cells", settings, "attacks")
    finished = read_kept(request.output / RESULT)
    if finished is not None and _covers(finished, request):
        return finished
    outcome = run_attacks(request)
    result = result_of(request, outcome)
    write_page(result, outcome, request.output)
    save_result(result, request.output)  # the last file, so that its presence says that all are there
    return result


def _covers(finished: dict[str, Any], request: AttackRequest) -> bool:
    """Whether a finished attack has the pairs and the seed that are asked for."""
    pairs = finished["rows"].get("A3", request.pairs)
    return set(pairs) == set(request.pairs) and finished["seeds"] == list(request.seeds)


def _array(values: Sequence[int]) -> np.ndarray:
    return np.array(values, dtype=int)
