"""LPIPS against torchmetrics' own function, with an AlexNet of random weights in the place of the trained
one."""

from __future__ import annotations

import logging
import pickle
import shutil
import socket

import pytest
import torch
import torchmetrics.functional.image.lpips as theirs
from torchvision.models import AlexNet

from fastreid_privacy import UserError
from fastreid_privacy.config import default_config
from fastreid_privacy.evaluation import ImageQuality, lpips
from fastreid_privacy.evaluation.lpips import Lpips, cached_alexnet, check_lpips, lpips_of_config


@pytest.fixture(scope="module")
def alexnet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AlexNet().features


@pytest.fixture(scope="module")
def weights(alexnet, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save({f"features.{name}": value for name, value in alexnet.state_dict().items()}, path)
    return path


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No socket can be opened, torch hub's cache is an empty folder, and nothing is remembered."""

    def refuse(*args, **kwargs):
        pytest.fail("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    lpips._load.cache_clear()
    yield
    lpips._load.cache_clear()


def batch(seed, count=3, height=128, width=64):
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randint(0, 256, (count, 3, height, width), generator=generator).float()
    noise = 30 * torch.arange(1, count + 1).reshape(-1, 1, 1, 1) * torch.randn(raw.shape, generator=generator)
    return (raw + noise).round().clamp(0, 255), raw


def expected(monkeypatch, alexnet, images, raw):
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda net, pretrained: alexnet)
    return theirs.learned_perceptual_image_patch_similarity(
        images / 255, raw / 255, "alex", reduction="none", normalize=True
    )


def config(weights="", side=64):
    cfg = default_config()
    cfg.MODEL.DEVICE, cfg.TEST.LPIPS_WEIGHTS, cfg.INPUT.SIZE_TEST = "cpu", str(weights), [2 * side, side]
    return cfg


@pytest.mark.parametrize(("height", "width"), [(128, 64), (31, 31), (256, 128)])
def test_equals_torchmetrics(monkeypatch, alexnet, weights, height, width):
    images, raw = batch(0, 3, height, width)
    ours = Lpips(weights)(images, raw)
    torch.testing.assert_close(ours, expected(monkeypatch, alexnet, images, raw), atol=1e-6, rtol=1e-4)
    assert ours.shape == (3,) and (ours.diff() > 0).all()  # each copy is noisier than the one before


def test_whole_levels_autocast_and_gradients_change_nothing(weights):
    images, raw = batch(1)
    measure = Lpips(weights)
    plain = measure(images, raw)
    assert torch.equal(measure(images.to(torch.uint8), raw.to(torch.uint8)), plain)
    with torch.autocast("cpu", torch.bfloat16):
        low = measure(images.clone().requires_grad_(), raw)
    assert torch.equal(low, plain) and not low.requires_grad
    assert torch.equal(measure(raw, raw), torch.zeros(3))
    torch.testing.assert_close(measure(images[:1], raw[:1]), plain[:1])


def test_making_the_network_draws_no_random_numbers(weights):
    torch.manual_seed(5)
    Lpips(weights)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


def test_the_mean_over_a_data_set_in_parts(weights):
    images, raw = batch(2, count=5)
    measure = Lpips(weights)
    parts = [ImageQuality(lpips=measure), ImageQuality(lpips=measure)]
    for index, part in ((slice(0, 2), 0), (slice(2, 3), 1), (slice(3, 5), 0)):
        parts[part].update(images[index], raw[index])
    merged = ImageQuality()
    for part in parts:
        sent = pickle.dumps(part)
        assert len(sent) < 1000  # sums, no network
        merged.merge(pickle.loads(sent))
    assert merged.compute()["LPIPS"] == pytest.approx(measure(images, raw).mean().item(), rel=1e-5)
    unmeasured = ImageQuality()
    unmeasured.update(images, raw)
    assert unmeasured.compute()["LPIPS"] is None
    merged.merge(unmeasured)
    assert merged.compute()["LPIPS"] is None  # not of all images


def test_weights_named_in_the_config(weights):
    measure = lpips_of_config(config(weights))
    images, raw = batch(3)
    assert torch.equal(measure(images, raw), Lpips(weights)(images, raw))
    assert lpips_of_config(config(weights)) is measure  # not read again for every evaluation
    check_lpips(config(weights))


def test_weights_in_the_cache(weights):
    assert cached_alexnet().name == "alexnet-owt-7be5be79.pth"
    cached_alexnet().parent.mkdir(parents=True)
    shutil.copy(weights, cached_alexnet())
    assert isinstance(lpips_of_config(config()), Lpips)


@pytest.mark.parametrize(
    ("cached", "side", "reason"),
    [
        (None, 64, "no alexnet-owt-7be5be79.pth in"),
        (b"torn", 64, "holds no weights that can be read"),
        ("good", 16, "at least 31 pixels"),
    ],
)
def test_without_weights_one_line_says_so(caplog, weights, cached, side, reason):
    if cached:
        cached_alexnet().parent.mkdir(parents=True)
        cached_alexnet().write_bytes(weights.read_bytes() if cached == "good" else cached)
    with caplog.at_level(logging.INFO, logger=lpips.__name__):
        assert lpips_of_config(config(side=side)) is None
        assert lpips_of_config(config(side=side)) is None
    (line,) = caplog.messages
    assert (
        line.startswith("LPIPS not available: ")
        and reason in line
        and line.endswith("give TEST.LPIPS_WEIGHTS")
    )
    check_lpips(config(side=side))


@pytest.mark.parametrize("content", [None, b"", b"no weights", [1, 2], {}, "shape", {"features.0.weight": 3}])
def test_a_named_file_that_cannot_serve(tmp_path, alexnet, content):
    path = tmp_path / "mine.pth"
    if content == "shape":
        content = {f"features.{name}": value[:1] for name, value in alexnet.state_dict().items()}
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    for use in (check_lpips, lpips_of_config):
        with pytest.raises(UserError) as error:
            use(config(path))
        assert str(path) in str(error.value) and "TEST.LPIPS_WEIGHTS" in str(error.value)


def test_named_weights_with_images_that_are_too_small(weights):
    for use in (check_lpips, lpips_of_config):
        with pytest.raises(UserError, match=r"at least 31 pixels, INPUT\.SIZE_TEST has 16"):
            use(config(weights, side=16))
