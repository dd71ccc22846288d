"""PSNR and SSIM against formulas written out in numpy, one image and one window at a time."""

import math
import pickle

import numpy as np
import pytest
import torch

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.evaluation import ImageQuality, psnr_of_mse, psnr_of_sum


def image_batch(seed, count=3, height=20, width=14):
    """Raw images and noisy copies, float32 0–255 whole levels; each copy noisier than the one before."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (count, 3, height, width)).astype(np.float32)
    noise = rng.normal(0, 1, raw.shape) * 10 * np.arange(1, count + 1).reshape(-1, 1, 1, 1)
    return np.clip(np.round(raw + noise), 0, 255).astype(np.float32), raw


def evaluate(images, reference):
    quality = ImageQuality()
    quality.update(torch.from_numpy(images), torch.from_numpy(reference))
    return quality.compute()


def measured(figures):
    """The figures without those that are None, which pytest.approx takes with its default tolerance only."""
    return {name: value for name, value in figures.items() if value is not None}


def ssim_reference(image, reference):
    """Wang et al. 2004, eq. 13, per channel, every window of 11×11 with Gaussian weights (σ 1.5) that lies
    within the mirrored border."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for channel, original in zip(image.astype(np.float64), reference.astype(np.float64), strict=True):
        x_padded, y_padded = (np.pad(plane, 5, mode="reflect") for plane in (channel, original))
        for row in range(channel.shape[0]):
            for column in range(channel.shape[1]):
                x, y = (plane[row : row + 11, column : column + 11] for plane in (x_padded, y_padded))
                mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
                variance_x, variance_y = (
                    (weights * (x - mean_x) ** 2).sum(),
                    (weights * (y - mean_y) ** 2).sum(),
                )
                covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
                values.append(
                    (2 * mean_x * mean_y + c1)
                    * (2 * covariance + c2)
                    / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
                )
    return np.mean(values)


def test_psnr_of_mse():
    assert psnr_of_mse(255.0**2) == 0
    assert psnr_of_mse(100.0) == pytest.approx(20 * math.log10(255 / 10))
    assert psnr_of_mse(0.0) == math.inf


def test_psnr_of_sum():
    assert psnr_of_sum(300 * 100.0, 300) == psnr_of_mse(100.0)
    assert psnr_of_sum(0.0, 300) is None


@pytest.mark.parametrize("seed", range(3))
def test_figures_against_numpy(seed):
    images, raw = image_batch(seed)
    figures = evaluate(images, raw)
    errors = ((images.astype(np.float64) - raw) ** 2).mean((1, 2, 3))
    assert figures["PSNR"] == pytest.approx(10 * np.log10(255**2 / errors.mean()), abs=1e-6)
    assert figures["PSNR_per_image"] == pytest.approx(np.mean(10 * np.log10(255**2 / errors)), abs=1e-4)
    # the two differ: a mean of logarithms is not the logarithm of a mean
    assert figures["PSNR_per_image"] > figures["PSNR"] + 0.1
    assert figures["SSIM"] == pytest.approx(
        np.mean([ssim_reference(*pair) for pair in zip(images, raw, strict=True)]), abs=1e-4
    )
    assert figures["identical_images"] == 0


def test_batches_of_any_size_give_the_same():
    images, raw = (torch.from_numpy(array) for array in image_batch(3, count=7))
    quality = ImageQuality()
    for start in range(0, 7, 3):
        quality.update(images[start : start + 3], raw[start : start + 3])
    assert measured(quality.compute()) == pytest.approx(
        measured(evaluate(images.numpy(), raw.numpy())), rel=1e-6
    )


def test_merged_parts_equal_the_whole_after_pickling():
    images, raw = (torch.from_numpy(array) for array in image_batch(4, count=5))
    images[1] = raw[1]
    whole, parts = ImageQuality(), [ImageQuality(), ImageQuality(), ImageQuality()]
    for index in range(5):
        whole.update(images[index : index + 1], raw[index : index + 1])
        parts[index % 2].update(images[index : index + 1], raw[index : index + 1])
    merged = ImageQuality()
    for part in parts:
        merged.merge(pickle.loads(pickle.dumps(part)))
    assert merged.images == 5
    assert measured(merged.compute()) == pytest.approx(measured(whole.compute()), rel=1e-12)


def test_identical_images_are_left_out_of_the_mean_and_counted():
    images, raw = image_batch(5)
    alone = evaluate(images[:2], raw[:2])
    images[2] = raw[2]
    figures = evaluate(images, raw)
    assert figures["identical_images"] == 1
    assert figures["PSNR_per_image"] == pytest.approx(alone["PSNR_per_image"])
    # two thirds of the error
    assert figures["PSNR"] == pytest.approx(alone["PSNR"] + 10 * math.log10(3 / 2), abs=1e-6)


def test_nothing_but_identical_images():
    _, raw = image_batch(6)
    assert evaluate(raw, raw) == {
        "PSNR": None,
        "PSNR_per_image": None,
        "SSIM": pytest.approx(1),
        "LPIPS": None,
        "identical_images": 3,
    }


def test_accumulators_share_nothing():
    images, raw = image_batch(7)
    evaluate(raw, raw)
    assert evaluate(images, raw) == evaluate(images, raw)
    assert ImageQuality() == ImageQuality(0, 0, 0, 0.0, 0.0, 0.0, 0, 0.0)


def test_lpips_is_a_mean_over_all_images():
    """With a distance that anyone can compute in its place."""
    images, raw = (torch.from_numpy(array) for array in image_batch(11, count=5))
    quality, other = (
        ImageQuality(lpips=lambda ours, theirs: (ours - theirs).abs().mean((1, 2, 3))) for _ in range(2)
    )
    quality.update(images[:3], raw[:3])
    other.update(images[3:], raw[3:])
    quality.merge(other)
    assert quality.compute()["LPIPS"] == pytest.approx((images - raw).abs().mean().item(), rel=1e-6)
    assert evaluate(images.numpy(), raw.numpy())["LPIPS"] is None


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_other_types_are_computed_in_float32(dtype):
    images, raw = image_batch(8)
    quality = ImageQuality()
    quality.update(torch.from_numpy(images).to(dtype), torch.from_numpy(raw).to(dtype))
    assert quality.compute() == evaluate(images, raw)


def test_autocast_and_gradients_change_nothing():
    images, raw = image_batch(9)
    quality = ImageQuality()
    with torch.autocast("cpu", torch.bfloat16):
        quality.update(torch.from_numpy(images).requires_grad_(), torch.from_numpy(raw))
    assert quality.compute() == evaluate(images, raw)


def test_inputs_and_settings_are_not_changed():
    images, raw = image_batch(10)
    copies, enabled = (images.copy(), raw.copy()), torch.backends.cudnn.enabled
    evaluate(images, raw)
    np.testing.assert_array_equal(images, copies[0])
    np.testing.assert_array_equal(raw, copies[1])
    assert torch.backends.cudnn.enabled == enabled


@pytest.mark.parametrize(
    ("shape", "reference_shape", "message"),
    [
        ((2, 3, 16, 16), (1, 3, 16, 16), r"got \(2, 3, 16, 16\) and \(1, 3, 16, 16\)"),
        ((3, 16, 16), (3, 16, 16), r"got \(3, 16, 16\)"),
        (
            (2, 3, 16, 10),
            (2, 3, 16, 10),
            "SSIM needs at least 11×11 pixels, these are 16×10: raise INPUT.SIZE_TEST",
        ),
    ],
)
def test_bad_input_is_named(shape, reference_shape, message):
    with pytest.raises(UserError, match=message):
        ImageQuality().update(torch.zeros(shape), torch.zeros(reference_shape))


def test_no_images_have_no_figures():
    with pytest.raises(UserError, match="no images"):
        ImageQuality().compute()
