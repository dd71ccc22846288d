"""Desensitizing before padding and cropping: the loader's images are fastreid's, and desensitized ones are
cut at the same places."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from fastreid.data.transforms import build_transforms
from PIL import Image
from test_meta_arch import make_model

from fastreid_privacy.config import load_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.placing import placed
from fastreid_privacy.data.loaders import build_train_loader, epoch_iterator
from fastreid_privacy.data.placing import PlacedTransform

KEY = "PRIVACY.DESENSITIZE_BEFORE_CROP"
PADDING = 5  # of the synthetic configs
NUMPY_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}


def by_numpy(image: np.ndarray, place, padding: int, mode: str = "constant") -> np.ndarray:
    """One image 3×H×W."""
    top, left, mirrored = place
    height, width = image.shape[1:]
    padded = np.pad(image, [(0, 0), (padding, padding), (padding, padding)], mode=NUMPY_MODES[mode])
    cut = padded[:, top : top + height, left : left + width]
    return cut[:, :, ::-1] if mirrored else cut


def small(tmp_path, **overrides):
    return load_config(SMALL_CONFIG, small_options(tmp_path, **overrides))


def batches(cfg) -> list[dict]:
    """The first two; the sampler has no end."""
    return list(islice(epoch_iterator(build_train_loader(cfg), seed=3, epoch=1), 2))


@pytest.mark.parametrize("mode", list(NUMPY_MODES))
def test_placed_equals_numpy(mode):
    images = torch.rand(4, 3, 12, 8, generator=torch.Generator().manual_seed(0))
    places = torch.tensor([[0, 0, 0], [6, 6, 1], [3, 3, 1], [1, 5, 0]])
    got = placed(images, places, 3, mode)
    expected = [
        by_numpy(image, place, 3, mode) for image, place in zip(images.numpy(), places.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(got.numpy(), np.stack(expected))
    centre = torch.tensor([[3, 3, 0]] * 4)
    assert torch.equal(placed(images, centre, 3, mode), images)
    assert torch.equal(placed(images, torch.tensor([[0, 0, 1]] * 4), 0), images.flip(3))


@pytest.mark.parametrize(
    "options",
    [{}, {"INPUT.FLIP.ENABLED": False}, {"INPUT.PADDING.ENABLED": False}, {"INPUT.PADDING.MODE": "reflect"}],
    ids=["all", "crop", "flip", "mirrored border"],
)
def test_batches_are_those_without_and_say_where_they_were_cut(small_dataset, tmp_path, options):
    """Draw by draw."""
    plain = batches(small(tmp_path, **options))
    with_places = batches(small(tmp_path, **{KEY: True, **options}))
    padding = 0 if "INPUT.PADDING.ENABLED" in options else PADDING
    places = []
    for before, after in zip(plain, with_places, strict=True):
        assert before.keys() | {"whole", "places"} == after.keys() and "whole" not in before
        assert torch.equal(before["images"], after["images"]) and before["img_paths"] == after["img_paths"]
        assert torch.equal(before["targets"], after["targets"])
        assert after["whole"].dtype == torch.uint8 and after["whole"].shape == after["images"].shape
        mode = options.get("INPUT.PADDING.MODE", "constant")
        cut = placed(after["whole"].float(), after["places"], padding, mode)
        assert torch.equal(cut, after["images"])
        places += after["places"].tolist()
    tops, lefts, mirrored = (set(values) for values in zip(*places, strict=True))
    assert (len(tops) > 1) == (len(lefts) > 1) == (padding > 0)
    assert mirrored == ({0} if "INPUT.FLIP.ENABLED" in options else {0, 1})


def test_the_data_set_travels_to_a_worker(small_dataset, tmp_path):
    images = build_train_loader(small(tmp_path, **{KEY: True})).dataset
    copy = pickle.loads(pickle.dumps(images))
    assert len(copy) == len(images) > 0 and copy.num_classes == images.num_classes
    assert {"images", "whole", "places", "targets", "img_paths"} <= copy[0].keys()


def test_the_upper_bound_needs_no_whole_images(small_dataset, tmp_path):
    (first, *_) = batches(small(tmp_path, **{KEY: True, "PRIVACY.PROTECTION": "none"}))
    assert "whole" not in first


def pixelated(image: np.ndarray, block: int) -> np.ndarray:
    """One image 3×H×W, each block in the colour of its corner, from the top left of the whole image."""
    result = np.empty_like(image)
    for y, x in np.ndindex(*image.shape[1:]):
        result[:, y, x] = image[:, y // block * block, x // block * block]
    return result


@pytest.mark.parametrize("protection", ["conventional", "learned"])
def test_the_grid_of_blocks_moves_with_the_crop(protection, monkeypatch):
    """What the losses see of desensitized images, against numpy; the border of padding stays sharp."""
    model, cfg = make_model(
        PRIVACY__PROTECTION=protection,
        PRIVACY__DESENSITIZER__NAME="pixelate",
        PRIVACY__DESENSITIZER__PIXEL_REDUCE="corner",
        PRIVACY__DESENSITIZE_BEFORE_CROP=True,
    )
    assert (cfg.INPUT.PADDING.SIZE, cfg.PRIVACY.DESENSITIZER.PIXEL_BLOCK * 64 // 256) == (PADDING, 6)
    generator = torch.Generator().manual_seed(4)
    whole = torch.randint(0, 256, (4, 3, 64, 32), generator=generator, dtype=torch.uint8)
    places = torch.tensor([[5, 5, 0], [0, 0, 0], [7, 2, 1], [10, 10, 1]])
    batch = {
        "images": placed(whole.float(), places, PADDING),
        "targets": torch.tensor([0, 0, 1, 1]),
        "whole": whole,
        "places": places,
    }
    seen = {}
    monkeypatch.setattr(model, "reid_losses", lambda domains, targets: seen.update(domains=domains) or {})
    monkeypatch.setattr(
        model, "anonymization_losses", lambda raw, desensitized, protected: seen.update(y=desensitized) or {}
    )
    model.train()(batch)
    got = seen["domains"][1] if protection == "conventional" else seen["y"]
    expected = [
        by_numpy(pixelated(image, 6), place, PADDING)
        for image, place in zip(whole.numpy(), places.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(got.numpy(), np.stack(expected))
    assert not got[1, :, :PADDING].any() and torch.equal(seen["domains"][0], batch["images"])
    del batch["whole"]
    model(batch)
    after = seen["domains"][1] if protection == "conventional" else seen["y"]
    assert torch.equal(after[0], got[0]) and not torch.equal(after[2], got[2])


@pytest.mark.parametrize("name", ["AUTOAUG", "CJ", "AFFINE", "AUGMIX"])
def test_other_augmentations_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=rf"{KEY} True .* INPUT\.{name}\.ENABLED True do not go together"):
        small(tmp_path, **{KEY: True, f"INPUT.{name}.ENABLED": True})
    small(tmp_path, **{f"INPUT.{name}.ENABLED": True})


def test_steps_that_cannot_be_done_again(tmp_path):
    cfg = small(tmp_path, **{"INPUT.CJ.ENABLED": True, "INPUT.REA.ENABLED": False})
    with pytest.raises(ValueError, match="cannot be placed"):
        PlacedTransform(build_transforms(cfg, is_train=True))
    plain = small(tmp_path, **{"INPUT.REA.ENABLED": False})
    item = PlacedTransform(build_transforms(plain, is_train=True))(Image.new("RGB", (20, 50), (9, 8, 7)))
    assert item["whole"][:, 0, 0].tolist() == [9, 8, 7] and item["images"].shape == (3, 64, 32)
