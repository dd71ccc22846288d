"""The validation split on random data: disjoint identities, shares, a true match for every query."""

import numpy as np
import pytest

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.data import split_training_set
from fastreid_privacy.data.validation_split import _draw_queries


def random_items(seed: int, identities: int = 60, cameras: int = 6) -> list:
    draw = np.random.default_rng(seed)
    items = []
    for pid in range(identities):
        for camera in draw.choice(cameras, size=draw.integers(1, cameras + 1), replace=False):
            items += [
                (f"{pid:04d}_c{camera}_{k}.jpg", f"market1501_{pid}", f"market1501_{camera}")
                for k in range(draw.integers(1, 6))
            ]
    return items


@pytest.mark.parametrize("seed", range(20))
def test_split_properties(seed):
    items = random_items(seed)
    split = split_training_set(items, 0.2, 0.2, seed)
    validation = split.query + split.gallery
    identity_of = {path: pid for path, pid, _ in items}
    train_ids = {pid for _, pid, _ in split.train}
    validation_ids = {identity_of[path] for path, _, _ in validation}
    assert not train_ids & validation_ids
    assert {path for path, *_ in split.train} | {path for path, *_ in validation} == set(identity_of)
    assert len(split.train) + len(validation) == len(items)
    assert 0.2 <= len(validation) / len(items) < 0.2 + 30 / len(items)  # at most one identity too many
    assert 0.1 < len(split.query) / len(validation) <= 0.21
    for _, pid, camera in split.query:
        assert any(pid == other and camera != cam for _, other, cam in split.gallery)


@pytest.mark.parametrize("seed", range(10))
def test_queries_against_a_plain_loop(seed):
    """Every image is drawn once, and taken where each query of its identity, itself too, keeps a match."""
    validation = random_items(seed, identities=12, cameras=3)
    queries: list[int] = []
    for index in np.random.default_rng(seed).permutation(len(validation)).tolist():
        trial = [*queries, index]
        gallery = [item for i, item in enumerate(validation) if i not in trial]
        own = [i for i in trial if validation[i][1] == validation[index][1]]
        if all(
            any(pid == validation[i][1] and camera != validation[i][2] for _, pid, camera in gallery)
            for i in own
        ):
            queries = trial
    assert _draw_queries(validation, len(validation), np.random.default_rng(seed)) == sorted(queries)


def test_the_draw_is_linear_in_the_images():
    """How often an image's identity is looked up or compared does not grow with the number of the others."""

    class Counted(str):
        lookups = 0

        def __hash__(self):
            Counted.lookups += 1
            return super().__hash__()

        def __eq__(self, other):
            Counted.lookups += 1
            return super().__eq__(other)

    per_image = []
    for identities in (20, 200):
        items = [
            ("", Counted(pid), camera) for pid in range(identities) for camera in range(3) for _ in range(2)
        ]
        Counted.lookups = 0
        _draw_queries(items, len(items), np.random.default_rng(0))
        per_image.append(Counted.lookups / len(items))
    assert per_image[1] < 1.1 * per_image[0]


def test_same_seed_same_split_whatever_the_order_of_files():
    items = random_items(3)
    assert split_training_set(items, seed=5) == split_training_set(items[::-1], seed=5)
    assert split_training_set(items, seed=5) != split_training_set(items, seed=6)


def test_identities_of_one_camera_are_never_validation():
    items = [
        (f"{pid}_{camera}_{k}", pid, camera)
        for pid in range(10)
        for camera in range(1 if pid < 5 else 3)
        for k in range(3)
    ]
    split = split_training_set(items, 0.4)
    assert {path.split("_")[0] for path, *_ in split.query + split.gallery} <= {
        str(pid) for pid in range(5, 10)
    }


def test_one_camera_is_refused():
    with pytest.raises(UserError, match=r"two cameras; with DATASETS\.VALIDATION\.SAME_CAMERA True"):
        split_training_set([(f"{i}", i % 4, 0) for i in range(20)])


@pytest.mark.parametrize("seed", range(5))
def test_same_camera_takes_any_other_image_for_a_match(seed):
    """One camera is enough; of each query another image of the person is in the gallery, and counts."""
    draw = np.random.default_rng(seed)
    items = [(f"{pid}_{k}", pid, 0) for pid in range(30) for k in range(draw.integers(1, 6))]
    split = split_training_set(items, 0.3, 0.2, seed, same_camera=True)
    validation = split.query + split.gallery
    assert {path for path, *_ in split.train} | {path for path, *_ in validation} == {
        path for path, *_ in items
    }
    assert split.query and 0.3 <= len(validation) / len(items) < 0.3 + 6 / len(items)
    people = {path.split("_")[0] for path, *_ in validation}
    assert not people & {str(pid) for _, pid, _ in split.train}
    alone = {str(pid) for pid in range(30) if sum(item[1] == pid for item in items) == 1}
    assert alone and not people & alone
    for path, pid, camera in split.query:
        mates = [other for other, mate, _ in split.gallery if mate == pid]
        counted = [other for other, mate, cam in split.gallery if mate == pid and cam != camera]
        assert (
            mates == counted and all(other.split("_")[0] == path.split("_")[0] for other in mates) and mates
        )


def test_same_camera_wants_two_images():
    with pytest.raises(UserError, match="none of the 9 training identities has two images"):
        split_training_set([(f"{pid}", pid, 0) for pid in range(9)], same_camera=True)


def test_too_few_identities_are_refused():
    with pytest.raises(UserError, match=r"DATASETS\.VALIDATION\.FRACTION"):
        split_training_set([(f"{pid}{camera}", pid, camera) for pid in range(2) for camera in range(2)], 0.5)
