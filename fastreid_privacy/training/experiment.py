"""A whole experiment: the Base model and the upper bound where the config asks for them, the model itself,
its test and its report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode
from fastreid.utils import comm

from ..config import given_rank1
from ..core.errors import UserError
from ..core.version import __version__
from ..evaluation.bootstrap import compare_pairs
from ..report import format_terminal, write_report
from ..results.results_json import build_results, results_path, save_results
from ..results.stored import load_query_ranks, save_embedding, save_query_ranks, save_rank_lists, save_samples
from .siblings import (
    CONFIG_FILE,
    comparisons,
    finished,
    refuse_to_overwrite,
    results_files,
    sibling_config,
    validation_rank1,
)
from .trainer import PrivacyTrainer, unwrap

logger = logging.getLogger(__name__)

Results = dict[str, dict]  # of each test set, by its name


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
    compared = {}
    for kind in comparisons(cfg):
        compared[kind] = comm.all_gather(finished(cfg, kind) if comm.is_main_process() else None)[0]
        if compared[kind]:
            logger.info(
                "The %s is there already: %s", kind, ", ".join(map(str, results_files(cfg, kind).values()))
            )
        else:
            sibling = sibling_config(cfg, kind)
            logger.info(
                "Training PRIVACY.PROTECTION %s first, into %s",
                sibling.PRIVACY.PROTECTION,
                sibling.OUTPUT_DIR,
            )
            compared[kind] = comm.all_gather(train_and_test(sibling, resume))[0]
    rank1 = validation_rank1(compared["baseline"]) if "baseline" in compared else given_rank1(cfg)
    return train_and_test(cfg, resume, rank1, compared)


def train_and_test(
    cfg: CfgNode, resume: bool, rank1: float | None = None, compared: dict[str, Results] | None = None
) -> Results:
    """Train one model and test its best (or final) checkpoint; results.json and report.html are in OUTPUT_DIR
    then.

    Args:
        rank1: Base's OI→DI rank-1 on the validation split, percent, where supervision is upgraded.
        compared: results of "baseline" and "upper_bound" by test set, where they were run.
    """
    refuse_to_overwrite(cfg, resume)
    comm.synchronize()  # rank 0 writes from here on
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = PrivacyTrainer(cfg, rank1)
    if (
        comm.is_main_process()
    ):  # after fastreid, which writes this file too, but not always and not always as configured
        (folder / CONFIG_FILE).write_text(trainer.cfg.dump())
    trainer.resume_or_load(resume)
    trainer.train()
    tested = next(file for file in tested_checkpoints(cfg) if file.is_file())
    if tested.stem != "model_best" and cfg.TEST.CHECKPOINT == "best":
        logger.warning(
            "No check met the privacy constraint: %s is tested, whose protected images are not private",
            tested.name,
        )
    trainer.checkpointer.load_weights(str(tested))
    evaluations = trainer.test(trainer.cfg, unwrap(trainer.model))
    return report_results(cfg, evaluations, tested.name, trainer.record.state_dict(), compared or {})


def tested_checkpoints(cfg: CfgNode) -> list[Path]:
    """The checkpoints of OUTPUT_DIR in the order in which they are to be tested (``TEST.CHECKPOINT``)."""
    kinds = ("best", "final") if cfg.TEST.CHECKPOINT == "best" else ("final",)
    return [Path(cfg.OUTPUT_DIR, f"model_{kind}.pth") for kind in kinds]


def report_results(
    cfg: CfgNode, evaluations: Results, tested: str, record: dict | None, compared: dict[str, Results]
) -> Results:
    """Write results.json, the samples and the report of an evaluation on rank 0, and print its tables.

    Args:
        tested: the checkpoint, relative to OUTPUT_DIR where it lies there.
        record: state of the upgrade record, where the model was trained with one.
    """
    if not comm.is_main_process():
        return {}
    all_results = {}
    for name, evaluation in evaluations.items():
        others = {kind: compared.get(kind, {}).get(name) for kind in ("baseline", "upper_bound")}
        results = build_results(
            cfg, name, evaluation, version=__version__, checkpoint=tested, record=record, **others
        )
        file = results_path(cfg, name)
        places = {pair: ranking.queries.first_places for pair, ranking in evaluation["rankings"].items()}
        save_query_ranks(places, file)
        if others["baseline"]:
            results["versus_baseline"] = versus_baseline(places, results_files(cfg, "baseline")[name])
        save_results(results, file)
        suffix = "" if len(cfg.DATASETS.TESTS) == 1 else name
        for kind, save in (
            ("samples", save_samples),
            ("rank_lists", save_rank_lists),
            ("embedding", save_embedding),
        ):
            save(evaluation[kind], Path(cfg.OUTPUT_DIR), suffix)
        logger.info("Results on %s:\n%s", name, format_terminal(results))
        all_results[name] = results
    logger.info("Report: %s", write_report(Path(cfg.OUTPUT_DIR)))
    return all_results


def versus_baseline(places: Mapping[str, np.ndarray], baseline: Path) -> dict[str, dict[str, float]]:
    """Rank-1 minus Base's on the same queries, by pair of domains; {} where Base's results.json has no query
    ranks beside it, or others.

    Args:
        places: pair → Q places of the first true match.
        baseline: Base's results.json.
    """
    try:
        return compare_pairs(places, load_query_ranks(baseline))
    except UserError as error:  # results that the user names may be of another test set
        logger.warning("No bootstrap against %s: %s", baseline, error)
        return {}
