"""A whole experiment: Base and the upper bound where asked for, the model itself, its test and report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode
from fastreid.utils import comm

from ..config import given_rank1
from ..core.errors import UserError
from ..core.lock import locked
from ..core.version import __version__
from ..evaluation import Evaluation
from ..evaluation.bootstrap import compare_pairs
from ..model.verdict import verdict
from ..report import format_terminal, write_report
from ..results.results_json import BEST, CONFIG_FILE, FINAL, build_results, results_path, save_results
from ..results.stored import EMBEDDING, RANK_LISTS, SAMPLES, load_query_ranks, save_query_ranks
from . import testing
from .image_lists import TEST, TRAIN, test_images
from .own_process import save_config
from .siblings import (
    comparisons,
    finished,
    is_of,
    refuse_to_overwrite,
    results_files,
    sibling_config,
    teachers_results,
    validation_rank1,
)
from .teaching import teacher_of
from .trainer import PrivacyTrainer

logger = logging.getLogger(__name__)

Results = dict[str, dict]  # of each test set, by its name


def hold_folder(cfg: CfgNode) -> AbstractContextManager[object]:
    """Keep other runs out of OUTPUT_DIR, where rank 0 writes.

    Loader workers that a killed run has left do not hold it; its own processes may take a moment to end.

    Raises:
        UserError: when another run holds it.
    """
    if not comm.is_main_process():
        return nullcontext()
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    return locked(
        folder,
        f"OUTPUT_DIR {folder} is in use by another run; wait for its end, or choose another OUTPUT_DIR",
        patience=5.0,
    )


def run_experiment(cfg: CfgNode, resume: bool = False) -> Results:
    """Train and test what the config describes, after the models that it is compared with.

    OUTPUT_DIR is held by the caller (:func:`hold_folder`), the folders of those models here.

    Args:
        cfg: checked and frozen.
        resume: continue whatever part was interrupted.

    Returns:
        The results by test set on rank 0, {} on other ranks.

    Raises:
        UserError: when OUTPUT_DIR holds another run, or one that is neither finished nor to be resumed.
    """
    compared: dict[str, Results] = {}
    for kind in comparisons(cfg):
        found = comm.all_gather(finished(cfg, kind) if comm.is_main_process() else None)[0]
        if found:
            files = ", ".join(map(str, results_files(cfg, kind).values()))
            logger.info("The %s is there already: %s", kind, files)
        else:
            sibling = sibling_config(cfg, kind)
            protection = sibling.PRIVACY.PROTECTION
            logger.info("Training PRIVACY.PROTECTION %s first, into %s", protection, sibling.OUTPUT_DIR)
            with hold_folder(sibling):
                results = train_and_test(sibling, resume)
            found = comm.all_gather(results)[0]
        compared[kind] = found
    given = given_rank1(cfg)
    rank1 = given if isinstance(given, float) else None
    if "baseline" in compared:
        rank1 = validation_rank1(compared["baseline"])
    return train_and_test(cfg, resume, rank1, compared)


def train_and_test(
    cfg: CfgNode, resume: bool, rank1: float | None = None, compared: dict[str, Results] | None = None
) -> Results:
    """Train one model, test its best (or final) checkpoint, and write results.json and report.html.

    Args:
        cfg: checked and frozen.
        resume: continue what OUTPUT_DIR holds.
        rank1: Base's OI→DI rank-1 on the validation split, percent, where supervision is upgraded.
        compared: results of "baseline" and "upper_bound" by test set, where they were run.

    Returns:
        The results by test set on rank 0, {} on other ranks.
    """
    refuse_to_overwrite(cfg, resume)
    comm.synchronize()  # rank 0 writes from here on
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = PrivacyTrainer(cfg, rank1, teacher_of(cfg, teachers_results(cfg)))
    if comm.is_main_process():
        save_config(trainer.cfg, folder / CONFIG_FILE)
    trainer.resume_or_load(resume)
    trainer.train()
    tested = next(file for file in tested_checkpoints(cfg) if file.is_file())
    record = trainer.record.state_dict()
    private = verdict(cfg, record)
    if tested.name == BEST and private is not None:
        private = True  # at the check that chose it, whatever the last one found
    if tested.name != BEST and cfg.TEST.CHECKPOINT == "best":
        logger.warning(
            "No check met the privacy constraint: %s is tested, whose protected images are not private",
            tested.name,
        )
    trainer.checkpointer.load_weights(str(tested))
    evaluations = testing.test(trainer.cfg, trainer.model)
    teacher = trainer.teacher.fingerprint if trainer.teacher else None
    images = trainer.checkpointer.about["data"]
    return report_results(cfg, evaluations, tested.name, record, compared or {}, private, teacher, images)


def tested_checkpoints(cfg: CfgNode) -> list[Path]:
    """The checkpoints of OUTPUT_DIR in the order in which they are to be tested (``TEST.CHECKPOINT``)."""
    names = (BEST, FINAL) if cfg.TEST.CHECKPOINT == "best" else (FINAL,)
    return [Path(cfg.OUTPUT_DIR, name) for name in names]


def report_results(
    cfg: CfgNode,
    evaluations: Mapping[str, Evaluation],
    tested: str,
    record: dict | None,
    compared: Mapping[str, Results],
    private: bool | None,
    teacher: str | None = None,
    trained_on: Mapping | None = None,
) -> Results:
    """Write results.json, what the report shows, and the report, on rank 0, and print the tables.

    Args:
        cfg: of the run.
        evaluations: by test set.
        tested: the checkpoint, relative to OUTPUT_DIR where it lies there.
        record: state of the upgrade record, where the model was trained with one.
        compared: results of "baseline" and "upper_bound" by test set, where there are any.
        private: of the tested checkpoint, as of ``model.verdict``.
        teacher: its fingerprint; None where there was none, or it is not known.
        trained_on: what is known of the training images, as of :func:`.image_lists.training_images`.

    Returns:
        What results.json holds by test set; {} on other ranks.
    """
    if not comm.is_main_process():
        return {}
    folder = Path(cfg.OUTPUT_DIR)
    all_results = {}
    for name, evaluation in evaluations.items():
        found = {kind: results[name] for kind, results in compared.items() if name in results}
        fitting = {kind: results for kind, results in found.items() if is_of(cfg, results, name)}
        results = build_results(
            cfg,
            name,
            evaluation.figures,
            version=__version__,
            checkpoint=tested,
            record=record,
            private=private,
            baseline=fitting.get("baseline"),
            upper_bound=fitting.get("upper_bound"),
            teacher=teacher,
            data={TRAIN: trained_on or None, TEST: test_images(cfg, name)},
        )
        places = {pair: ranking.queries.first_places for pair, ranking in evaluation.rankings.items()}
        if "baseline" in fitting:
            base = results_files(cfg, "baseline")[name]
            results["versus_baseline"] = versus_baseline(places, base, evaluation.query_pids)
        file = results_path(cfg, name)
        save_query_ranks(places, file)
        save_results(results, file)
        suffix = "" if len(cfg.DATASETS.TESTS) == 1 else name
        SAMPLES.save(evaluation.sample_images, folder, suffix)
        RANK_LISTS.save(evaluation.rank_lists, folder, suffix)
        EMBEDDING.save(evaluation.embedding, folder, suffix)
        logger.info("Results on %s:\n%s", name, format_terminal(results))
        all_results[name] = results
    logger.info("Report: %s", write_report(folder))
    return all_results


def versus_baseline(
    places: Mapping[str, np.ndarray], baseline: Path, people: np.ndarray
) -> dict[str, dict[str, float]]:
    """Rank-1 minus Base's on the same queries, by pair of domains.

    Args:
        places: pair → Q places of the first true match.
        baseline: Base's results.json.
        people: Q identities of the queries.

    Returns:
        As of :func:`compare_pairs`; {} where Base's results.json has no query ranks beside it, others, or
        damaged ones.
    """
    try:
        return compare_pairs(places, load_query_ranks(baseline), people)
    except UserError as error:  # results that the user names may be of another test set
        logger.warning("No bootstrap against %s: %s", baseline, error)
        return {}
