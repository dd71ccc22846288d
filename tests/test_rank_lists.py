"""The pictures of rankings, against images that are told apart by one grey level each."""

# before fastreid: importing the package makes it work
from fastreid_privacy.evaluation.rank_lists import LARGEST_HEIGHT, picture_rank_lists

# isort: split
import numpy as np
import pytest
import torch

from fastreid_privacy.evaluation.ranking import Ranking

NUM_QUERY = 3
PIDS = [5, 6, 7, 5, 5, 6, 7]


class GreyImages(torch.utils.data.Dataset):
    """Image i is all of level i; loaded items are counted."""

    def __init__(self, height=8):
        self.height, self.loaded = height, []

    def __len__(self):
        return len(PIDS)

    def __getitem__(self, index):
        self.loaded.append(index)
        image = torch.full((3, self.height, 4), float(index))
        return {"images": image, "targets": PIDS[index], "camids": 0, "img_paths": f"{index}.jpg"}


def domains(batch):
    return {"OI": batch["images"], "PI": batch["images"] + 100.4}


def ranking(best):
    return Ranking(None, {}, np.array(best))


def test_queries_and_gallery_come_from_their_domains():
    data = GreyImages()
    rankings = {"OI-PI": ranking([[0, 2], [1, 0]]), "PI-OI": ranking([[3, 1], [2, -1]])}
    lists = picture_rank_lists(rankings, [0, 2], data, NUM_QUERY, domains)
    assert lists.keys() == {"OI-PI", "OI-PI.matches", "PI-OI", "PI-OI.matches"}
    levels = {pair: lists[pair][:, :, 0, 0, 0].tolist() for pair in rankings}
    assert levels == {"OI-PI": [[0, 103, 105], [2, 104, 103]], "PI-OI": [[100, 6, 4], [102, 5, 0]]}
    assert all(lists[pair].dtype == np.uint8 and lists[pair].shape == (2, 3, 8, 4, 3) for pair in rankings)
    assert lists["OI-PI.matches"].tolist() == [[1, 0], [0, 0]]
    assert lists["PI-OI.matches"].tolist() == [[0, 1], [0, -1]]
    assert sorted(data.loaded) == [0, 2, 3, 4, 5, 6]  # each once


@pytest.mark.parametrize(
    ("height", "stored"), [(8, 8), (LARGEST_HEIGHT, LARGEST_HEIGHT), (2 * LARGEST_HEIGHT, LARGEST_HEIGHT)]
)
def test_large_pictures_are_stored_smaller(height, stored):
    lists = picture_rank_lists({"OI-OI": ranking([[0]])}, [1], GreyImages(height), NUM_QUERY, domains)
    assert lists["OI-OI"].shape == (1, 2, stored, 4 * stored // height, 3)
    assert lists["OI-OI"][0, 0].min() == lists["OI-OI"][0, 0].max() == 1


def test_nothing_to_show():
    assert (
        picture_rank_lists(
            {"OI-OI": ranking(np.zeros((0, 2), dtype=int))}, [], GreyImages(), NUM_QUERY, domains
        )
        == {}
    )
