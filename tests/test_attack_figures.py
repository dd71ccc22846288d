"""What attack.json makes of the cells: which seeds are set against each other, who counts as a member."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid_privacy.attack import measures
from fastreid_privacy.attack.cells import Cell, Found, Means, Target
from fastreid_privacy.attack.grid import Outcome
from fastreid_privacy.attack.judging import looked_at, recovered
from fastreid_privacy.attack.learned import Attacker
from fastreid_privacy.attack.measures import Hits
from fastreid_privacy.attack.pairing import Pairing
from fastreid_privacy.attack.request import AttackRequest
from fastreid_privacy.attack.stored import result_of
from fastreid_privacy.attack.subjects import Subject, Subjects
from fastreid_privacy.attack.views import Files
from fastreid_privacy.compare.utility import settings_of
from fastreid_privacy.core.domains import SETTINGS
from fastreid_privacy.evaluation import evaluate_retrieval
from fastreid_privacy.evaluation.distances import METRICS

# -- seeds ---------------------------------------------------------------------------------------------------


def recovering(psnr: float | None, hits: int) -> Found:
    """A cell of row A3 with so many hits of 100 people."""
    first = (np.arange(100) < hits).astype(int)
    figures = {"recovery": {"PSNR": psnr, "SSIM": 0.5, "rank1": float(hits), "mAP": 0.0}}
    return Found(figures, {"recovery": Hits(first, np.arange(100))})


def grid_of(cells: dict[str, list[Found]]) -> dict:
    """attack.json of row A3, of cells by target and in the order of their seeds."""
    outcome = Outcome(
        {
            Cell("A3", target, "all", seed): found
            for target, seeds in cells.items()
            for seed, found in enumerate(seeds)
        },
        Subjects([], [], [], (4, 2), 0),
        dict.fromkeys(cells, np.zeros(1)),
        {target: {"PSNR": 10.0, "SSIM": 0.1} for target in cells},
        raw=None,
        targets=dict.fromkeys(cells),
        rows=["A3"],
        judge={},
        pairing=Pairing(0, 0, 0.0, 0.0, ("", "")),
    )
    seeds = tuple(range(len(cells["protected"])))
    return result_of(AttackRequest("raw", "protected", Path("out"), seeds=seeds), outcome)


@pytest.mark.parametrize("best", [24.0, None])  # None: nothing differs
def test_the_strongest_seed_is_set_against_the_strongest_of_blur(best):
    cells = {
        "protected": [recovering(20, 10), recovering(25, 60)],
        "blur": [recovering(best, 55), recovering(21, 5)],
    }
    result = grid_of(cells)
    found = result["rows"]["A3"]["all"]["recovery"]
    assert found["PSNR"] == 25 and found["rank1_minus_blur"]["difference"] == pytest.approx(60 - 55)
    beside = result["beside"]["blur"]["rows"]["A3"]["all"]
    assert beside["recovery"] == {"PSNR": best, "SSIM": 0.5, "rank1": 55.0, "mAP": 0.0}
    assert beside["per_seed"] == {"0": best, "1": 21}


def test_two_methods_that_are_alike_differ_by_nothing_in_the_mean():
    draw, differences = np.random.default_rng(0), []
    for _ in range(300):
        hits = draw.integers(20, 61, size=(2, 5))
        sides = [[recovering(20 + each / 10, each) for each in side] for side in hits.tolist()]
        found = grid_of(dict(zip(("protected", "blur"), sides, strict=True)))["rows"]["A3"]["all"]
        differences.append(found["recovery"]["rank1_minus_blur"]["difference"])
    assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(len(differences))


# -- membership ----------------------------------------------------------------------------------------------


def image(name: str, pid: int, camid: int) -> Subject:
    return Subject(name, pid, camid, Path(), Path())


def crowd(people: int, cameras: int = 2) -> Subjects:
    """Known people 1001 to 1020, and so many measured ones, each with two images by each of the cameras."""
    known = [image(f"k{pid}_{camid}", pid, camid) for pid in range(1001, 1021) for camid in (0, 1)]
    gallery = [
        image(f"{pid}_{camid}_{number}", pid, camid)
        for pid in range(1, people + 1)
        for camid in range(cameras)
        for number in (0, 1)
    ]
    return Subjects(known, gallery[::2], gallery, (4, 2), 0)


def people_of(side: list[Subject]) -> np.ndarray:
    """Features of who recognises everybody: a value for each identity."""
    return np.array([np.eye(1100)[each.pid] for each in side])


class Knowing:
    """An observer who has learned the known people: raw, they look as protected files do; others do not."""

    name, metric = "stranger", "cosine"

    def look(self, view, subjects):
        if view.protected:
            return np.tile([1.0, 0.0], (len(subjects), 1))
        near = np.array([1.0 if each.pid > 1000 else 0.001 * each.pid for each in subjects])
        return np.stack([near, np.sqrt(1 - near**2)], axis=1)


def test_who_knows_the_known_people_tells_no_members_of_files_that_hold_nothing():
    files = {"protected": Target("protected", Files((4, 2), protected=True), "blur")}
    attacker = Attacker(8, 1, "cpu")
    means = Means(crowd(31), files, attacker, Knowing(), None, (), (), 1, Path())
    found = looked_at(means.judge, files["protected"], means).figures["membership"]
    assert found["AUC"] == pytest.approx(0.5)


def test_membership_of_random_features_is_guessed():
    subjects, draw = crowd(400), np.random.default_rng(0)
    sides = (draw.normal(size=(len(side), 8)) for side in (subjects.query, subjects.gallery))
    found = measures.membership(*sides, subjects, "cosine")
    assert found["AUC"] == pytest.approx(0.5, abs=0.03) and found["TPR@FPR=1%"] < 3


@pytest.mark.parametrize("metric", METRICS)
def test_who_recognises_everybody_knows_all_members(metric):
    """Also where some images can tell nothing: of people under one camera, and of distractors."""
    subjects = crowd(7)
    alone, nobody = image("alone", 50, 0), image("nobody", 0, 1)
    subjects = Subjects([], [*subjects.query, alone], [*subjects.gallery, alone, nobody], (4, 2), 0)
    found = measures.membership(people_of(subjects.query), people_of(subjects.gallery), subjects, metric)
    assert found == {"AUC": 1.0, "TPR@FPR=1%": None}  # of so few others, more than 1 % are always above


@pytest.mark.parametrize("metric", METRICS)
def test_membership_is_auc_and_hits_at_few_false_alarms_of_both_halves(metric):
    """Against loops over all pairs; the same camera does not count."""
    subjects, draw = crowd(311), np.random.default_rng(0)
    centres = draw.normal(size=(400, 12))
    raw, protected = (
        {each.name: centres[each.pid] + strength * draw.normal(size=12) for each in side}
        for side, strength in ((subjects.query, 0.3), (subjects.gallery, 0.6))
    )
    found = measures.membership(
        np.array([raw[each.name] for each in subjects.query]),
        np.array([protected[each.name] for each in subjects.gallery]),
        subjects,
        metric,
    )

    def nearness(one, other):
        if metric == "euclidean":
            return -np.linalg.norm(one - other)
        return one @ other / np.linalg.norm(one) / np.linalg.norm(other)

    def nearest(each, people):
        return max(
            nearness(raw[each.name], protected[other.name])
            for other in subjects.gallery
            if other.pid in people and other.camid != each.camid
        )

    drawn = np.random.default_rng(0).permutation(range(1, 312)).tolist()
    halves = set(drawn[:155]), set(drawn[155:])
    areas, shares = [], []
    for inside, outside in (halves, halves[::-1]):
        members, others = (
            [nearest(each, inside) for each in subjects.query if each.pid in people]
            for people in (inside, outside)
        )
        areas.append(np.mean([(one > other) + (one == other) / 2 for one in members for other in others]))
        allowed = len(others) // 100  # so many others may lie above
        threshold = sorted(others)[-allowed - 1]
        assert np.mean([other > threshold for other in others]) <= 0.01
        shares.append(100 * np.mean([one > threshold for one in members]))
    assert found["AUC"] == pytest.approx(np.mean(areas)) and 0.6 < found["AUC"] < 0.99
    assert found["TPR@FPR=1%"] == pytest.approx(np.mean(shares))


@pytest.mark.parametrize(("people", "cameras"), [(1, 2), (5, 1)])
def test_fewer_than_two_people_to_ask_for_have_no_membership(people, cameras):
    subjects = crowd(people, cameras)
    found = measures.membership(people_of(subjects.query), people_of(subjects.gallery), subjects, "cosine")
    assert found == {"AUC": None, "TPR@FPR=1%": None}


# -- the metric of a model -----------------------------------------------------------------------------------


class Seeing:
    """An observer of a metric: of each image random features, whose lengths differ much."""

    def __init__(self, name: str, metric: str):
        self.name, self.metric = name, metric

    def look(self, view, subjects):
        draw = np.random.default_rng(len(subjects) + getattr(view, "protected", False))
        return draw.normal(size=(len(subjects), 4)) * draw.uniform(0.1, 4, size=(len(subjects), 1))


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_ranks_by_its_own_metric(metric):
    """In attack and in compare, as the evaluation ranks for its owner; other models of the run by theirs."""
    subjects, views = crowd(60), {"OI": Files((4, 2)), "PI": Files((4, 2), protected=True)}
    (other,) = set(METRICS) - {metric}
    observers = {name: Seeing(name, which) for name, which in (("stranger", metric), ("authorised", other))}
    target = Target("protected", views["PI"], "blur")
    attacker = Attacker(8, 1, "cpu")
    means = Means(subjects, {"protected": target}, attacker, *observers.values(), (), (), 1, Path())

    def expected(observer, setting):
        sides = zip(setting.split("-"), (subjects.query, subjects.gallery), strict=True)
        features = [observer.look(views[domain], side) for domain, side in sides]
        labels = (
            [getattr(each, what) for each in side]
            for what in ("pid", "camid")
            for side in (subjects.query, subjects.gallery)
        )
        figures = evaluate_retrieval(*features, *labels, observer.metric)
        return {"rank1": figures["Rank-1"], "mAP": figures["mAP"]}

    for observer in observers.values():
        figures = looked_at(observer, target, means).figures
        assert figures["linkage"].items() >= expected(observer, "PI-OI").items()
        assert figures["singling_out"].items() >= expected(observer, "PI-PI").items()
        assert figures["linkage"]["raw"] == expected(observer, "OI-OI")["rank1"]
        used, _ = settings_of(observer, views["OI"], views["PI"], subjects)
        assert used == {setting: expected(observer, setting) for setting in SETTINGS}

    def black(some):
        return torch.zeros(len(some), 3, 16, 16)

    vars(means)["raw"] = black
    back = recovered(black, means, {}).figures["recovery"]
    assert back.items() >= expected(observers["stranger"], "OI-OI").items()
