"""projects/SecureReID: its masks against plain code, and what row A5 makes of them."""

from __future__ import annotations

from conftest import small_options  # before fastreid: importing the package makes it work
from in_process import train

# isort: split
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

import fastreid_privacy
from fastreid_privacy.attack import differencing, keyed
from fastreid_privacy.attack.subjects import read_subjects
from fastreid_privacy.attack.views import Files, operated
from fastreid_privacy.core.projects import load_projects
from fastreid_privacy.desensitize import Desensitizer

PROJECT = Path(__file__).parent.parent / "projects" / "SecureReID"


@pytest.fixture
def masks(own_imports):
    load_projects([PROJECT])
    import secure_reid

    return secure_reid


def plain_mask(number: int, *shape: int) -> np.ndarray:
    told = (number % 2 ** (8 * 33)).to_bytes(33, "little")  # two's complement
    content = hashlib.shake_256(b"secure_reid mask" + told).digest(int(np.prod(shape)))
    return np.array(list(content)).reshape(shape)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64])
def test_operators_are_sums_of_image_and_mask(masks, kind):
    draw = np.random.default_rng(0)
    raw, people = draw.integers(0, 256, (3, 3, 6, 4)), [7, -1, 2**255]
    images = torch.from_numpy(raw).to(kind)
    added = np.stack([plain_mask(number, 3, 6, 4) for number in people])
    expected = {"label_mask": (raw + added) % 256, "label_mask_clipped": np.minimum(raw + added, 255)}
    for name, levels in expected.items():
        shown = Desensitizer(name)(images, people=people)
        assert shown.dtype == (torch.uint8 if kind is torch.uint8 else torch.float32)
        assert np.array_equal(shown.numpy(), levels)
    fresh = Desensitizer("fresh_mask")(images, seeds=people)
    assert np.array_equal(fresh.numpy(), expected["label_mask"])
    assert torch.equal(masks.unmask(fresh, people).double(), images.double())
    drawn = Desensitizer("fresh_mask")(images)
    assert drawn.shape == images.shape and not torch.equal(drawn, fresh)
    assert Desensitizer("label_mask")(images[:0], people=[]).shape == (0, 3, 6, 4)


def test_row_a5_breaks_a_persons_mask_and_not_an_images(masks, small_dataset, monkeypatch):
    monkeypatch.setattr(keyed, "LABELS", 60)
    monkeypatch.setattr(keyed, "GUESSED_ON", 4)
    folder = str(next(small_dataset.glob("SyntheticPedestrians*")))
    subjects, raw = read_subjects(folder, folder), Files((64, 32))
    views = {name: operated(raw, name) for name in ("label_mask", "label_mask_clipped", "fresh_mask")}
    found = {name: differencing.difference(view, raw, subjects) for name, view in views.items()}
    assert found["label_mask"].name == "sum modulo 256, mask of the person"
    asked = found["label_mask"].asked
    assert asked and torch.equal(found["label_mask"].view(asked), raw(asked))
    assert found["label_mask_clipped"].name == "sum, clipped, mask of the person"
    assert found["fresh_mask"].name == differencing.NOTHING
    cancelled = {name: differencing.two_images(view, raw, subjects) for name, view in views.items()}
    assert cancelled["label_mask"]["sum modulo 256"]["same_person"] == pytest.approx(1)
    for share in cancelled["fresh_mask"].values():
        assert isinstance(share, int) or max(share.values()) < 0.02
    guessed = keyed.guess_labels(
        Desensitizer("label_mask"), views["label_mask"], raw, subjects.query, subjects.known
    )
    assert guessed["found"] == 100 and guessed["PSNR"] is None


def test_the_config_trains_base_on_masked_images(own_imports, small_dataset, tmp_path):
    """It names the operator; a checkpoint of it protects by the label, and needs it."""
    words = ["--project", str(PROJECT), "--config-file", str(PROJECT / "configs" / "label_mask.yml")]
    backbone = {"NAME": "build_osnet_backbone", "DEPTH": "x0_25", "FEAT_DIM": 128}
    options = {f"MODEL.BACKBONE.{key}": value for key, value in backbone.items()}
    pairs = small_options(tmp_path / "run", **options, **{"SOLVER.MAX_EPOCH": 1})
    assert train(*words, *pairs) == 0
    protect = fastreid_privacy.load_anonymizer(tmp_path / "run" / "model_final.pth", "cpu")
    image = torch.full((1, 3, 64, 32), 7, dtype=torch.uint8)
    assert np.array_equal(protect(image, people=[5])[0].numpy(), (7 + plain_mask(5, 3, 64, 32)) % 256)
    with pytest.raises(fastreid_privacy.UserError, match="label_mask depends on the person"):
        protect(image)
