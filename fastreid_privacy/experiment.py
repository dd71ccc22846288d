"""A whole experiment: the Base model and the upper bound where the config asks for them, the model itself, its test and its report.

Every model of an experiment trains on the same images, with the same budget and seed; a finished one is reused, nothing is overwritten.
"""

from __future__ import annotations

import logging
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import nn

from . import __version__
from .checkpoint import PrivacyCheckpointer, read_checkpoint
from .checkpoint_files import some_of
from .config import comparable, flat_keys, given_rank1
from .errors import UserError
from .evaluation.bootstrap import compare_with, save_query_ranks
from .evaluation.results import build_results, results_path, save_results
from .report import format_terminal, read_results, save_samples, write_report
from .trainer import PrivacyTrainer, unwrap

logger = logging.getLogger(__name__)

Results = dict[str, dict]  # of each test set, by its name

TRAINING_ONLY = ("centers", "supervision", "anonymization_discriminator", "recovery_discriminator")


def run_experiment(cfg: CfgNode, resume: bool = False) -> Results:
    """Train and test what the config describes, after the models that it is compared with.

    Args:
        cfg: checked and frozen.
        resume: continue whatever part was interrupted.

    Returns:
        The results by test set on rank 0, {} on other ranks.

    Raises:
        UserError: when OUTPUT_DIR holds another run, or one that is neither finished nor to be resumed.
    """
    rank1, baseline = None, {}
    if upgrades(cfg):
        given = given_rank1(cfg)
        if isinstance(given, float):
            rank1 = given
        else:
            baseline = _sibling(cfg, "conventional", "baseline", resume) if given is None else _given(cfg, given)
            rank1 = comm.all_gather(validation_rank1(baseline) if comm.is_main_process() else None)[0]
    upper_bound = {}
    if cfg.PRIVACY.UPPER_BOUND:
        path = cfg.PRIVACY.UPPER_BOUND
        upper_bound = _sibling(cfg, "none", "upper_bound", resume) if path == "auto" else _given(cfg, Path(path))
    return train_and_test(cfg, resume, rank1, baseline, upper_bound)


def upgrades(cfg: CfgNode) -> bool:
    """Whether supervision is upgraded, for which Base's rank-1 is needed."""
    return cfg.PRIVACY.PROTECTION == "learned" and cfg.PRIVACY.UPGRADE.ENABLED


def check_outputs(cfg: CfgNode, resume: bool) -> None:
    """Read what ``run_experiment`` will read of other runs, and refuse what it would refuse, before anything is trained.

    Raises:
        UserError: as :func:`run_experiment`.
    """
    _refuse_to_overwrite(cfg, resume)
    siblings = {"upper_bound": ("none", cfg.PRIVACY.UPPER_BOUND)}
    if upgrades(cfg):
        siblings["baseline"] = ("conventional", cfg.PRIVACY.UPGRADE.BASELINE_RANK1)
        given = given_rank1(cfg)
        if isinstance(given, Path):
            validation_rank1({str(given): read_results(given)})
    for folder, (protection, source) in siblings.items():
        if source == "auto":
            sibling = _sibling_config(cfg, protection, folder)
            if not _finished(sibling, Path(sibling.OUTPUT_DIR)):
                _refuse_to_overwrite(sibling, resume)
        elif folder == "upper_bound" and source:
            read_results(source)


def train_and_test(
    cfg: CfgNode, resume: bool, rank1: float | None = None, baseline: Results | None = None, upper_bound: Results | None = None
) -> Results:
    """Train one model and test its best (or final) checkpoint; results.json and report.html are in OUTPUT_DIR then."""
    _refuse_to_overwrite(cfg, resume)
    comm.synchronize()  # rank 0 writes from here on
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    trainer = PrivacyTrainer(cfg, rank1)
    trainer.resume_or_load(resume)
    trainer.train()
    best = Path(cfg.OUTPUT_DIR, "model_best.pth")
    tested = best if cfg.TEST.CHECKPOINT == "best" and best.is_file() else best.with_name("model_final.pth")
    trainer.checkpointer.load_weights(str(tested))
    evaluations = trainer.test(trainer.cfg, unwrap(trainer.model))
    return _report(trainer.cfg, evaluations, tested.name, trainer.record.state_dict(), baseline or {}, upper_bound or {})


def evaluate_only(cfg: CfgNode) -> Results:
    """Test the weights of ``MODEL.WEIGHTS``, or of OUTPUT_DIR's best or final checkpoint, without training.

    Raises:
        UserError: when there is no checkpoint, it lacks networks that the config asks for, or results of another one would be overwritten.
    """
    path, checkpoint = checkpoint_to_evaluate(cfg)
    weights = checkpoint["model"]
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEADS.NUM_CLASSES = classes_of(weights)
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.freeze()
    tested = _name_of_tested(cfg, path)
    model = PrivacyTrainer.build_model(cfg)
    PrivacyCheckpointer(model).load_weights(str(path))
    check_complete(model, weights, path)
    evaluations = PrivacyTrainer.test(cfg, model.eval())
    siblings = [_finished(cfg, Path(cfg.OUTPUT_DIR, folder)) or {} for folder in ("baseline", "upper_bound")]
    return _report(cfg, evaluations, tested, checkpoint.get("upgrade_record"), *siblings)


def checkpoint_to_evaluate(cfg: CfgNode) -> tuple[Path, dict]:
    """The path and the content of the checkpoint that ``evaluate_only`` tests.

    Raises:
        UserError: as :func:`evaluate_only`.
    """
    named = [cfg.MODEL.WEIGHTS] if cfg.MODEL.WEIGHTS else [str(Path(cfg.OUTPUT_DIR, f"model_{kind}.pth")) for kind in ("best", "final")]
    path = next((Path(name) for name in named if Path(name).is_file()), None)
    if path is None:
        raise UserError(f"no weights to evaluate: {' and '.join(named)} not found; name a checkpoint with MODEL.WEIGHTS")
    for name in cfg.DATASETS.TESTS:
        file, tested = results_path(cfg, name), _name_of_tested(cfg, path)
        if file.is_file() and read_results(file)["checkpoint"] != tested:
            raise UserError(f"{file} holds results of {read_results(file)['checkpoint']}; choose another OUTPUT_DIR for those of {path}")
    checkpoint = read_checkpoint(path)
    if cfg.PRIVACY.PROTECTION == "learned" and not any(key.startswith("anonymizer.") for key in checkpoint["model"]):
        raise UserError(f"{path} holds no anonymizer; evaluate it with PRIVACY.PROTECTION none (AGW) or conventional (Base)")
    return path, checkpoint


def classes_of(weights: dict) -> int:
    """How many identities a checkpoint was trained on, or 1 where its head does not say: evaluation uses no classifier."""
    return len(weights["heads.weight"]) if "heads.weight" in weights else 1


def check_complete(model: nn.Module, weights: dict, path: Path) -> None:
    """Refuse to test networks that the file does not hold: they would be tested with random weights.

    Classifiers may differ in shape, and what only training uses may be absent.

    Raises:
        UserError: naming the networks and the file.
    """
    missing = []
    for name, value in model.state_dict().items():
        part = name.split(".")[0]
        if part not in TRAINING_ONLY and (name not in weights or (weights[name].shape != value.shape and "head" not in part)):
            missing.append(name)
    if missing:
        parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in missing))
        raise UserError(f"{path} does not hold the {parts} of this config ({some_of(missing)}); evaluate it with the config it was "
                        "trained with, which it carries")  # fmt: skip


def _name_of_tested(cfg: CfgNode, path: Path) -> str:
    return path.name if path.parent.resolve() == Path(cfg.OUTPUT_DIR).resolve() else str(path)


def validation_rank1(baseline: Results) -> float:
    """Base's OI→DI rank-1 on the validation split, percent: what the first upgrade is measured against (section 3.4)."""
    name, results = next(iter(baseline.items()))
    try:
        return results["validation"]["OI-DI"]["Rank-1"]
    except (KeyError, TypeError):
        raise UserError(f"the baseline's results ({name}) hold no validation OI-DI rank-1; give results.json of a Base model") from None


def _sibling(cfg: CfgNode, protection: str, folder: str, resume: bool) -> Results:
    """Base or the upper bound beside this model: the same config but for the method, in a folder below OUTPUT_DIR; reused when finished."""
    cfg = _sibling_config(cfg, protection, folder)
    finished = comm.all_gather(_finished(cfg, Path(cfg.OUTPUT_DIR)) if comm.is_main_process() else None)[0]
    if finished:
        logger.info("Reusing %s", cfg.OUTPUT_DIR)
        return finished
    logger.info("Training PRIVACY.PROTECTION %s first, into %s", protection, cfg.OUTPUT_DIR)
    return train_and_test(cfg, resume)


def _sibling_config(cfg: CfgNode, protection: str, folder: str) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.PRIVACY.PROTECTION, cfg.PRIVACY.UPPER_BOUND, cfg.TEST.PAPER_RESULTS = protection, "", []
    cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR, folder))
    cfg.freeze()
    return cfg


def _finished(cfg: CfgNode, folder: Path) -> Results | None:
    """The results in a folder, or None where there are none.

    Raises:
        UserError: when they are of other data, networks, budget or seed.
    """
    files = {name: folder / results_path(cfg, name).name for name in cfg.DATASETS.TESTS}
    if not all(file.is_file() for file in files.values()):
        return None
    results = {name: read_results(file) for name, file in files.items()}
    for name, found in results.items():
        differing = differences(cfg, found["config"])
        if differing:
            raise UserError(f"{files[name]} is of another run ({'; '.join(differing[:3])}); choose another OUTPUT_DIR, or move it away")
    return results


def differences(cfg: CfgNode, other: dict) -> list[str]:
    """Where two runs differ in what a comparison must share, desensitizer included, as "KEY this ≠ that"."""
    ours, theirs = ({**comparable(config), **_desensitizer(config)} for config in (cfg, other))
    return [f"{key} {ours.get(key)} ≠ {theirs.get(key)}" for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]


def _desensitizer(config: CfgNode | dict) -> dict:
    return {key: value for key, value in flat_keys(config).items() if key.startswith("PRIVACY.DESENSITIZER.")}


def _given(cfg: CfgNode, path: Path) -> Results:
    """Results that the user names, taken as given; what differs from this run is logged."""
    results = read_results(path)
    differing = differences(cfg, results["config"])
    if differing:
        logger.warning("%s was run differently: %s", path, "; ".join(differing))
    return dict.fromkeys(cfg.DATASETS.TESTS, results)


def _refuse_to_overwrite(cfg: CfgNode, resume: bool) -> None:
    folder = Path(cfg.OUTPUT_DIR)
    found = sorted(path.name for path in folder.glob("model_*.pth")) + [path.name for path in folder.glob("results*.json")]
    if found and not resume:
        raise UserError(f"{folder} holds a run already ({', '.join(found[:3])}); continue it with --resume, or choose another OUTPUT_DIR")


def _baseline_file(cfg: CfgNode, name: str) -> Path:
    given = given_rank1(cfg)
    return given if isinstance(given, Path) else Path(cfg.OUTPUT_DIR, "baseline", name)


def _report(cfg: CfgNode, evaluations: dict, tested: str, record: dict | None, baseline: Results, upper_bound: Results) -> Results:
    if not comm.is_main_process():
        return {}
    all_results = {}
    for name, evaluation in evaluations.items():
        results = build_results(
            cfg, name, evaluation, version=__version__, checkpoint=tested, record=record, baseline=baseline.get(name),
            upper_bound=upper_bound.get(name),
        )  # fmt: skip
        file = results_path(cfg, name)
        save_query_ranks(evaluation["query_ranks"], file)
        if name in baseline:
            results["versus_baseline"] = compare_with(file, _baseline_file(cfg, file.name))
        save_results(results, file)
        save_samples(evaluation["samples"], Path(cfg.OUTPUT_DIR), "" if len(cfg.DATASETS.TESTS) == 1 else name)
        logger.info("Results on %s:\n%s", name, format_terminal(results))
        all_results[name] = results
    logger.info("Report: %s", write_report(Path(cfg.OUTPUT_DIR)))
    return all_results
