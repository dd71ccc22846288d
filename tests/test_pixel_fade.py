"""projects/PixelFade: images fade into noise, and the model still finds the person on the stored files."""

from __future__ import annotations

# isort: split
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import anonymize, recover
from PIL import Image

from fastreid_privacy import UserError, load_config
from fastreid_privacy.collection import making
from fastreid_privacy.compare.methods import read_methods
from fastreid_privacy.core.projects import load_projects
from fastreid_privacy.data.synthetic.plan import SyntheticOptions
from fastreid_privacy.desensitize import Desensitizer
from fastreid_privacy.desensitize.noise_stream import standard_normal
from fastreid_privacy.manifest import JOURNAL, MANIFEST, read_manifest
from fastreid_privacy.retrieval import load_extractor

PROJECT = Path(__file__).parent.parent / "projects" / "PixelFade"
NODE = "PRIVACY.DESENSITIZER"


@pytest.fixture
def fading(own_imports):
    load_projects([PROJECT])
    import pixel_fade

    return pixel_fade


def raw_images(count=3, height=16, width=8):
    draw = np.random.default_rng(0)
    return torch.from_numpy(draw.integers(0, 256, (count, 3, height, width))).float()


def means(images):
    """Features that many images share: the means of the colours of the halves of an image, in units."""
    top, bottom = images.chunk(2, dim=2)
    return torch.cat([top.mean((2, 3)), bottom.mean((2, 3))], 1) / 32


# fading


def test_noise_and_order_are_functions_of_the_seed(fading):
    noise, order = fading.noise_and_order((2, 3, 6, 4), [7, 2**255])
    for place, seed in enumerate([7, 2**255]):
        drawn = standard_normal(seed, 4 * 24)
        levels = np.clip(np.rint(drawn[:72] * np.float32(64) + np.float32(127.5)), 0, 255)
        assert np.array_equal(noise[place].numpy().ravel(), levels)
        places = np.empty(24)
        places[np.argsort(drawn[72:], kind="stable")] = np.arange(24) / 24
        assert np.allclose(order[place].numpy().ravel(), places)
    other, _ = fading.noise_and_order((1, 3, 6, 4), None)
    assert other.shape == (1, 3, 6, 4) and not torch.equal(other[0], noise[0])
    assert fading.noise_and_order((0, 3, 6, 4), [])[0].shape == (0, 3, 6, 4)


def test_images_become_noise_within_the_constraint(fading):
    images = raw_images()
    noise, order = fading.noise_and_order(images.shape, range(3))
    far = fading.feature_distance(images, noise, means)
    faded = fading.fade(images, noise, order, means, mse=0.002, iterations=100, share=0.05)
    near = fading.feature_distance(images, faded, means)
    assert (far > 0.01).all() and (near <= 0.002).all()
    assert torch.equal(faded, faded.round()) and faded.min() >= 0 and faded.max() <= 255
    correlation = torch.corrcoef(torch.stack([image.flatten() for image in (*images, *faded, *noise)]))
    assert (correlation[range(3), range(3, 6)].abs() < 0.25).all()  # nothing of the raw image
    assert (correlation[range(3, 6), range(6, 9)] > 0.9).all()


def test_fading_is_the_same_under_inference_mode(fading, weights):
    """Also that the model, which is kept, has its gradients afterwards."""
    images = raw_images(2, 64, 32)
    words = {"pixel_fade_model": str(weights), "pixel_fade_iterations": 3, "pixel_fade_mse": 1e-6}
    with torch.inference_mode():
        operator = Desensitizer("pixel_fade", **words)
        found = operator(images.clone(), seeds=[1, 2])
    assert torch.equal(operator(images, seeds=[1, 2]), found)
    noise, order = fading.noise_and_order(images.shape, [1, 2])
    with torch.inference_mode():
        under = fading.fade(
            images.clone(), noise.clone(), order.clone(), means, mse=0.002, iterations=9, share=0.05
        )
    assert torch.equal(under, fading.fade(images, noise, order, means, mse=0.002, iterations=9, share=0.05))


def test_no_raw_pixel_is_left_where_the_constraint_cannot_be_met(fading):
    images = raw_images()
    noise, order = fading.noise_and_order(images.shape, range(3))

    def every_pixel(batch):
        return batch.flatten(1) / 255

    faded = fading.fade(images, noise, order, every_pixel, mse=1e-9, iterations=5, share=0.3)
    assert torch.equal(faded, noise)


def test_what_is_kept_is_the_last_that_met_the_constraint(fading):
    """A share at a time in the order of the pixels, as a loop over pixels does it, where all is allowed."""
    images = raw_images(2)
    noise, order = fading.noise_and_order(images.shape, [1, 2])
    faded = fading.fade(images, noise, order, means, mse=1e9, iterations=3, share=0.5)
    assert torch.equal(faded, noise)
    assert fading.fade(images[:0], noise[:0], order[:0], means, mse=1, iterations=3, share=0.5).shape[0] == 0
    looked_at = []

    def listening(batch):
        looked_at.append(batch.detach().clone())
        return means(batch)

    fading.fade(images, noise, order, listening, mse=1e9, iterations=3, share=0.25)
    raw, first, second, third = looked_at
    assert torch.equal(raw, images) and torch.equal(first, images)
    for share, seen in ((0.25, second), (0.5, third)):
        for image in range(2):
            for row in range(16):
                for column in range(8):
                    source = noise if order[image, 0, row, column] < share else images
                    assert torch.equal(seen[image, :, row, column], source[image, :, row, column])


# the operator


def options(weights, **values):
    pairs = {"PIXEL_FADE_MODEL": weights, "PIXEL_FADE_MSE": 50.0, "PIXEL_FADE_ITERATIONS": 12, **values}
    pairs |= {"PIXEL_FADE_SHARE": 0.2} if "PIXEL_FADE_SHARE" not in values else {}
    return [word for key, value in pairs.items() for word in (f"{NODE}.{key}", str(value))]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("PIXEL_FADE_MSE", 0.0, "PIXEL_FADE_MSE is 0.0; it must be a positive number"),
        ("PIXEL_FADE_MSE", "nan", "PIXEL_FADE_MSE is 'nan'|PIXEL_FADE_MSE is nan"),
        ("PIXEL_FADE_ITERATIONS", 0, "it lies between 1 and 10,000"),
        ("PIXEL_FADE_SHARE", 1.5, "above 0, and at most at 1"),
        ("PIXEL_FADE_MODEL", "absent.pth", "PIXEL_FADE_MODEL absent.pth is missing"),
        ("PIXEL_FADE_MODEL", "/tmp", "PIXEL_FADE_MODEL /tmp is missing, or no regular file"),
        ("PIXEL_FADE_MODEL", "", "pixel_fade needs PRIVACY.DESENSITIZER.PIXEL_FADE_MODEL"),
        ("PIXEL_FADE_MODEL", __file__, "no checkpoint|cannot be read|damaged"),
    ],
)
def test_bad_options_are_refused(fading, weights, key, value, message):
    words = [f"{NODE}.NAME", "pixel_fade", *options(weights, **{key: value})]
    with pytest.raises(UserError, match=message):
        Desensitizer.from_config(load_config("", words))


def test_images_of_another_size_are_refused(fading, weights):
    operator = Desensitizer("pixel_fade", pixel_fade_model=str(weights))
    with pytest.raises(UserError, match=r"makes images of 64×32.*these have 32×16"):
        operator(raw_images(1, 32, 16), seeds=[1])


def words_of(source, output, weights):
    asked = ["--project", str(PROJECT), "--method", "pixel_fade", "--workers", "1", "--batch-size", "2"]
    return [*asked, "--input", str(source), "--output", str(output), *options(weights)]


def protect(source, output, weights):
    return anonymize(*words_of(source, output, weights))


@pytest.fixture
def collection(small_dataset, tmp_path):
    """Four rendered people, and a larger picture."""
    (tmp_path / "raw").mkdir()
    for file in sorted(small_dataset.rglob("*.jpg"))[:4]:
        shutil.copy(file, tmp_path / "raw")
    Image.open(file).resize((40, 80)).save(tmp_path / "raw" / "larger.png")
    return tmp_path / "raw"


def test_a_collection_fades_is_scored_and_not_recovered(fading, weights, collection, tmp_path, capsys):
    assert protect(collection, tmp_path / "out", weights) == 0
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    told = manifest.header["operator"]
    assert told == {"reid": load_extractor(weights, "cpu").fingerprint, "feature_mse": 50.0, "iterations": 12,
                    "share": 0.2}  # fmt: skip
    assert Image.open(tmp_path / "out" / "larger.png").size == (32, 64)
    # the stored files are what is scored, by a loop over files
    scored = runpy.run_path(str(PROJECT / "score.py"))["main"]
    folders = ["--raw", str(collection), "--protected", str(tmp_path / "out"), "--output"]
    words = ["--model", str(weights), "--mse", "50", "--device", "cpu"]
    assert scored([*folders, str(tmp_path / "scored"), *words]) == 0
    found = json.loads((tmp_path / "scored" / "score.json").read_text())
    extract, distances = load_extractor(weights, "cpu"), []
    for file in sorted((tmp_path / "out").glob("*.png")):
        (original,) = collection.glob(f"{file.stem}.*")
        both = [extract.seen(np.array(Image.open(path))) for path in (original, file)]
        raw, stored = (extract.model.reid_features(image[None])[0].double() for image in both)
        distances.append(((raw - stored) ** 2).mean().item())
    assert found["images"] == 5 and found["feature_mse"]["mean"] == pytest.approx(
        np.mean(distances), rel=1e-4
    )
    assert found["met"] == np.mean(np.array(distances) <= 50)
    assert scored([*folders, str(tmp_path / "scored"), *words]) == 2  # nothing is overwritten
    (collection / "larger.png").unlink()
    assert scored([*folders, str(tmp_path / "again"), *words]) == 2
    assert "lacks 1 of these files, larger.png" in capsys.readouterr().err
    # the method has no way back
    back = ["--key", str(weights), "--input", str(tmp_path / "out"), "--output", str(tmp_path / "back")]
    assert recover(*back) == 2 and not (tmp_path / "back").exists()
    assert "pixel_fade" in capsys.readouterr().err


def test_a_killed_run_goes_on_with_the_same_noise(fading, weights, collection, tmp_path):
    finish, made = making._finish, []

    def kill(job, *rest):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(job.path)
        return finish(job, *rest)

    folders = collection, tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "_finish", kill)
        assert protect(*folders, weights) == 130
    assert (tmp_path / "out" / JOURNAL).exists() and not (tmp_path / "out" / MANIFEST).exists()
    first = {file.name: file.read_bytes() for file in (tmp_path / "out").glob("*.png")}
    assert len(first) == 2 and protect(collection, tmp_path / "out", weights) == 0
    assert len(read_manifest(tmp_path / "out" / MANIFEST).entries) == 5
    assert all((tmp_path / "out" / name).read_bytes() == content for name, content in first.items())


def test_the_configs_are_read(own_imports, tmp_path):
    copy = tmp_path / "projects" / "PixelFade"
    shutil.copytree(PROJECT / "configs", copy / "configs")
    (tmp_path / "configs").symlink_to(PROJECT.parent.parent / "configs")
    cfg = load_config(copy / "configs" / "reid.yml")
    assert (cfg.INPUT.SIZE_TEST, cfg.PRIVACY.PROTECTION) == ([64, 32], "none")
    faded = tmp_path / "output" / "faded" / SyntheticOptions().folder_name
    with pytest.raises(UserError, match=r"pixel_fade.*does not exist"):
        read_methods(copy / "configs" / "compare.yml")
    faded.mkdir(parents=True)
    methods = read_methods(copy / "configs" / "compare.yml").methods
    assert [method.name for method in methods] == ["none", "blur", "pixel_fade"]
    assert methods[2].protected.resolve() == faded
