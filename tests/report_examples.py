"""Results, pictures and folders that the tests of the report share."""

from __future__ import annotations

import json

import numpy as np

from fastreid_privacy.results.stored import EMBEDDING, RANK_LISTS, SAMPLES

METRICS = ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP")
NASTY = '<script>alert("x")</script> & "quotes" | pipe'


def entry(seed: int, excluded: int = 0) -> dict:
    values = np.random.default_rng(seed).uniform(1, 99, 5)
    return {**dict(zip(METRICS, map(float, values), strict=True)), "excluded_queries": excluded}


def upper_results() -> dict:
    return {
        "schema": 1,
        "dataset": "Market1501",
        "checkpoint": "model_best.pth",
        "version": "0.1.0",
        "seed": 3,
        "storage": "png",
        "config": {
            "PRIVACY": {"PROTECTION": "none", "DESENSITIZER": {"NAME": "blur"}},
            "MODEL": {"BACKBONE": {"NAME": "build_resnet_backbone", "DEPTH": "50x"}},
        },
        "retrieval": {"OI-OI": entry(1), "OI-DI": entry(2)},
        "image_quality": {},
        "checks": [{"epoch": 2, "rank1": 51.25, "best": None, "decision": "keep"}],
        "baseline": None,
        "upper_bound": None,
    }


def base_results() -> dict:
    results = upper_results()
    results["config"] = {"PRIVACY": {"PROTECTION": "conventional", "DESENSITIZER": {"NAME": "pixelate"}}}
    results["retrieval"] = {
        pair: entry(10 + i) for i, pair in enumerate(("OI-OI", "OI-PI", "PI-OI", "PI-PI", "OI-DI"))
    }
    results["image_quality"] = {"desensitized": {"PSNR": 19.873, "PSNR_per_image": 20.116, "SSIM": 0.5871}}
    results["validation"] = {"OI-DI": {"Rank-1": 43.21}}
    return results


def full_results() -> dict:
    results = upper_results()
    results["config"] = {
        "PRIVACY": {"PROTECTION": "learned", "UPGRADE": {"ENABLED": True}, "DESENSITIZER": {"NAME": "blur"}},
        "SOLVER": {"MAX_EPOCH": 120, "IMS_PER_BATCH": 64, "BASE_LR": 0.00035},
        "INPUT": {"SIZE_TRAIN": [256, 128]},
        "TEST": {
            "PAPER_RESULTS": [
                ["OI-PI", "Rank-1", 88.2],
                ["OI-PI", "mAP", 72.0],
                ["recovered", "PSNR", 26.78],
                ["recovered", "SSIM", 0.92],
                ["upper_bound", "Rank-1", 95.7],
            ]
        },
    }
    pairs = ("OI-OI", "OI-PI", "PI-OI", "PI-PI", "OI-DI", "RI-RI")
    results["retrieval"] = {
        pair: entry(20 + i, excluded=2 if pair == "RI-RI" else 0) for i, pair in enumerate(pairs)
    }
    results["image_quality"] = {
        "protected": {"PSNR": 20.512, "PSNR_per_image": 20.937, "SSIM": 0.6034},
        "desensitized": {"PSNR": 20.901, "PSNR_per_image": 21.305, "SSIM": 0.6122},
        "recovered": {"PSNR": 27.118, "PSNR_per_image": 27.802, "SSIM": 0.9311},
    }
    results["checks"] = [
        check(2, 30.0, 38.0, "keep"),
        check(4, 41.5, 38.0, "upgrade"),
        check(6, 47.25, 41.5, "fall back"),
    ]
    results["baseline"], results["upper_bound"] = base_results(), upper_results()
    return results


def check(epoch: int, rank1: float, best: float, decision: str) -> dict:
    return {
        "epoch": epoch,
        "rank1": rank1,
        "psnr_protected": 20.25 + epoch,
        "ssim_protected": 0.6,
        "psnr_desensitized": 20.9,
        "ssim_desensitized": 0.612,
        "best": best,
        "decision": decision,
    }


def pictures(
    count: int = 3, height: int = 128, width: int = 64, domains: tuple = ("OI", "DI", "PI", "RI")
) -> dict:
    rng = np.random.default_rng(0)
    return {domain: rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8) for domain in domains}


def rank_lists(
    pairs: tuple = ("OI-OI", "OI-PI"), n: int = 2, k: int = 3, height: int = 32, width: int = 16
) -> dict:
    """The first image of each list a true match, the second not, others there as far as the gallery has them:
    not in the last list."""
    rng = np.random.default_rng(1)
    lists = {}
    for pair in pairs:
        lists[pair] = rng.integers(0, 256, (n, 1 + k, height, width, 3), dtype=np.uint8)
        lists[f"{pair}.matches"] = np.array(
            [[1, 0, *[0] * (k - 2)]] * (n - 1) + [[1, 0, *[-1] * (k - 2)]], dtype=np.int8
        )
    return lists


def embedding(
    domains: tuple = ("OI", "DI", "PI", "RI"), people: tuple = (3, 8, 11), images: int = 4, dimension: int = 8
) -> dict:
    """Features around one direction for each person; those of the protected domains moved off."""
    rng = np.random.default_rng(2)
    centers = {person: rng.normal(size=dimension) for person in range(12)}
    pids = np.repeat(np.array(people), images)
    directions = np.stack([centers[person] for person in pids])
    return {
        "pids": pids,
        **{
            domain: (directions + 0.3 * rng.normal(size=directions.shape)).astype(np.float16)
            for domain in domains
        },
    }


def put(folder, results: dict, name: str = "results.json", samples: bool = True, log: bool = True):
    """A folder with a run's results and, with ``samples``, all that the evaluation stores beside them."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text(json.dumps(results))
    if samples:
        SAMPLES.save(pictures(), folder)
        RANK_LISTS.save(rank_lists(), folder)
        EMBEDDING.save(embedding(), folder)
    if log:
        lines = [
            {"iteration": 9 + 10 * i, "total_loss": 5.0 / (i + 1), "loss_cls": 3.0 / (i + 1), "lr": 1e-4}
            for i in range(6)
        ]
        (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def put_reproduction(folder, operators: tuple = ("blur", "pixelate", "noise"), seeds: tuple = (0,)):
    """The folders of the runs of a reproduction; raw images are the same in all."""
    for seed in seeds:
        put(folder / f"seed{seed}" / "upper_bound", upper_results())
        for operator in operators:
            for kind, results in (
                ("base", base_results()),
                ("wo_upgrade", full_results()),
                ("full", full_results()),
            ):
                results["config"]["PRIVACY"]["DESENSITIZER"] = {"NAME": operator}
                put(folder / f"seed{seed}" / f"{kind}_{operator}", results)
    return folder
