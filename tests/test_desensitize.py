"""Desensitizers against exact references: scipy, OpenCV and loops over pixels."""

import copy
import doctest
import hashlib
import inspect
import struct
from statistics import NormalDist

import cv2
import numpy as np
import pytest
import torch
from fastreid.config import CfgNode
from scipy import ndimage, stats
from torch.utils._python_dispatch import TorchDispatchMode

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.desensitize import (
    DESENSITIZER_REGISTRY,
    Desensitizer,
    desensitizer,
    gaussian_blur,
    gaussian_noise,
    mask_out,
    noise_stream,
    operations,
    pixelate,
)

OPERATIONS = {
    "blur": lambda images: gaussian_blur(images, 2.5),
    "pixelate": lambda images: pixelate(images, 5),
    "noise": lambda images: gaussian_noise(images, 0.3, seeds=range(len(images))),
    "mask": lambda images: mask_out(images, (0.1, 0.2, 0.5, 0.5)),
}


def random_images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 255


def config(**keys):
    node = {
        "NAME": "blur",
        "BLUR_SIGMA": 12.0,
        "PIXEL_BLOCK": 24,
        "PIXEL_REDUCE": "mean",
        "NOISE_STD": 0.5,
        "MASK_REGION": [],
    }
    return CfgNode({"PRIVACY": {"DESENSITIZER": node | keys}})


@pytest.fixture
def register(monkeypatch):
    """Register operators for one test only."""
    monkeypatch.setattr(DESENSITIZER_REGISTRY, "_obj_map", dict(DESENSITIZER_REGISTRY._obj_map))
    return DESENSITIZER_REGISTRY.register


@pytest.mark.parametrize("module", [operations, desensitizer])
def test_examples_in_docstrings(module, monkeypatch):
    monkeypatch.setattr(DESENSITIZER_REGISTRY, "_obj_map", dict(DESENSITIZER_REGISTRY._obj_map))
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


# Blur


@pytest.mark.parametrize("sigma", [0.4, 1.0, 6.0, 12.0])
@pytest.mark.parametrize("size", [(128, 64), (37, 21), (9, 40), (2, 5), (1, 7), (1, 1)])
def test_blur_equals_scipy(size, sigma):
    images = random_images(2, 3, *size)
    expected = ndimage.gaussian_filter(
        images.double().numpy(), sigma, axes=(2, 3), mode="mirror", truncate=4.0
    )
    torch.testing.assert_close(
        gaussian_blur(images, sigma), torch.from_numpy(expected).float(), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("sigma", [1.5, 6.0, 12.0])
def test_blur_equals_opencv(sigma):
    image = random_images(1, 3, 256, 128)
    side = 2 * int(4 * sigma + 0.5) + 1
    expected = cv2.GaussianBlur(
        image[0].permute(1, 2, 0).numpy(), (side, side), sigma, borderType=cv2.BORDER_REFLECT_101
    )
    torch.testing.assert_close(
        gaussian_blur(image, sigma)[0].permute(1, 2, 0), torch.from_numpy(expected), rtol=0, atol=1e-2
    )


@pytest.mark.parametrize("sigma", [3.0, 70.0, 900.0])
@pytest.mark.parametrize("size", [(1500, 3), (3, 1031)])
def test_blur_of_long_lines_equals_scipy(size, sigma):
    images = random_images(1, 3, *size)
    expected = ndimage.gaussian_filter(
        images.double().numpy(), sigma, axes=(2, 3), mode="mirror", truncate=4.0
    )
    torch.testing.assert_close(
        gaussian_blur(images, sigma), torch.from_numpy(expected).float(), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("side", [1, 2, 9, 1500])
def test_the_widest_blur_is_the_mean_of_the_mirrored_line(side):
    images = random_images(1, 3, side, 1)
    line = images[0, :, :, 0]
    mean = torch.cat([line, line[:, 1:-1]], dim=1).mean(1)
    for sigma in (15.9 * max(2 * side - 2, 1), 17.0 * max(2 * side - 2, 1), 1e308):
        expected = mean.view(1, 3, 1, 1).expand_as(images)
        torch.testing.assert_close(gaussian_blur(images, sigma), expected, rtol=0, atol=0.01)


class LargestTensor(TorchDispatchMode):
    """Remembers how many values the largest tensor had that was made."""

    values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **kwargs or {})
        for tensor in made if isinstance(made, list | tuple) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.values = max(self.values, tensor.untyped_storage().nbytes() // tensor.element_size())
        return made


@pytest.mark.parametrize("name", ["blur", "pixelate", "mask"])
@pytest.mark.parametrize("size", [(6000, 20), (20, 6000), (6000, 1)])
def test_memory_is_bounded_whatever_the_shape(name, size):
    images = random_images(1, 3, *size).byte()
    options = {"blur_sigma": 24.0, "pixel_block": 300}
    with LargestTensor() as largest:
        protected = Desensitizer(name, **options)(images)
    assert protected.shape == images.shape
    # the matrix of a long side alone would have 36 million values
    assert largest.values <= 3 * images.numel()


def test_a_gradient_goes_through_blur_that_was_used_under_inference_mode():
    size, sigma = (1, 3, 19, 11), 2.345  # whose matrices nobody has made before
    with torch.inference_mode():
        gaussian_blur(torch.rand(size), sigma)
    images = torch.rand(size, requires_grad=True)
    gaussian_blur(images, sigma).sum().backward()
    assert images.grad is not None and (images.grad > 0).all()


def test_blur_of_a_point_is_the_sampled_kernel():
    image = torch.zeros(1, 3, 33, 33)
    image[..., 16, 16] = 255.0
    kernel = np.array([np.exp(-(offset**2) / (2 * 1.5**2)) for offset in range(-6, 7)])
    kernel /= kernel.sum()
    expected = np.zeros((33, 33))
    for row in range(13):
        for column in range(13):
            expected[10 + row, 10 + column] = 255 * kernel[row] * kernel[column]
    np.testing.assert_allclose(gaussian_blur(image, 1.5)[0, 1].numpy(), expected, atol=1e-4)


# Pixelation


def pixelate_by_loops(image, block, reduce):
    result = np.empty_like(image)
    for channel in range(image.shape[0]):
        for top in range(0, image.shape[1], block):
            for left in range(0, image.shape[2], block):
                tile = image[channel, top : top + block, left : left + block]
                result[channel, top : top + block, left : left + block] = (
                    tile.mean() if reduce == "mean" else tile[0, 0]
                )
    return result


@pytest.mark.parametrize("reduce", ["mean", "corner"])
@pytest.mark.parametrize(
    ("size", "block"),
    [((256, 128), 24), ((128, 64), 12), ((12, 8), 4), ((13, 7), 4), ((5, 9), 1), ((5, 9), 7), ((5, 9), 50)],
)
def test_pixelation_equals_loops_over_blocks(size, block, reduce):
    images = random_images(2, 3, *size)
    expected = np.stack([pixelate_by_loops(image, block, reduce) for image in images.double().numpy()])
    np.testing.assert_allclose(pixelate(images, block, reduce).numpy(), expected, atol=1e-3)


def test_corner_pixelation_of_uint8_keeps_levels_exactly():
    images = random_images(2, 3, 30, 20).byte()
    expected = np.stack([pixelate_by_loops(image, 7, "corner") for image in images.numpy()])
    assert np.array_equal(pixelate(images, 7, "corner").numpy(), expected)


# Noise


def test_noise_has_the_moments_asked_for():
    noisy = gaussian_noise(torch.full((8, 3, 128, 64), 127.5), 0.1, seeds=range(8))
    noise = noisy - 127.5
    assert noise.mean().item() == pytest.approx(0, abs=0.3)
    assert noise.std().item() == pytest.approx(25.5, rel=0.01)
    # Independent between pixels, channels and images.
    for a, b in (
        (noise[..., 1:], noise[..., :-1]),
        (noise[..., 1:, :], noise[..., :-1, :]),
        (noise[:, 0], noise[:, 1]),
        (noise[0], noise[1]),
    ):
        assert abs(np.corrcoef(a.flatten(), b.flatten())[0, 1]) < 0.03


def test_noise_of_the_paper_is_clipped():
    noisy = gaussian_noise(torch.full((4, 3, 128, 64), 127.5), 0.5, seeds=range(4))
    assert noisy.min() == 0
    assert noisy.max() == 255
    # A standard deviation of half the range puts what lies beyond one of them, 15.87 % on either side, onto
    # the borders.
    for border in (0, 255):
        assert (noisy == border).float().mean().item() == pytest.approx(0.1587, abs=0.005)


def test_noise_of_an_image_depends_on_its_seed_only():
    images = random_images(4, 3, 32, 16)
    together = gaussian_noise(images, 0.5, seeds=[5, 6, 7, 5])
    for index, seed in enumerate([5, 6, 7, 5]):
        assert torch.equal(
            gaussian_noise(images[index : index + 1], 0.5, seeds=torch.tensor([seed]))[0], together[index]
        )
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert torch.equal(gaussian_noise(images.flip(0), 0.5, seeds=[5, 7, 6, 5]).flip(0), together)
    # seeded noise does not disturb training's random numbers
    assert torch.equal(torch.get_rng_state(), state)
    same_image = images[:1].expand(2, -1, -1, -1)
    assert not torch.equal(*gaussian_noise(same_image, 0.5, seeds=[5, 6]))


@pytest.mark.parametrize("seed", [0, 42, 2**31, 2**256 - 1])
def test_noise_of_a_seed_stays_the_same_over_time(seed):
    noise = gaussian_noise(torch.full((1, 3, 8, 4), 127.5), 0.1, seeds=[seed])[0] - 127.5
    stream = hashlib.shake_256(b"fastreid_privacy noise" + seed.to_bytes(32, "little") + bytes(8))
    places = [(number + 0.5) / 2**32 for number in struct.unpack("<96I", stream.digest(4 * 96))]
    expected = torch.tensor([NormalDist(0, 25.5).inv_cdf(place) for place in places]).view(3, 8, 4)
    torch.testing.assert_close(noise, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("std", [0.05, 0.1])
def test_noise_is_normal(std):
    """Of so few levels that no value is clipped."""
    size = (1, 3, 400, 300) if std == 0.05 else (1, 3, 64, 32)
    noise = gaussian_noise(torch.full(size, 127.5), std, seeds=[secrets_of_a_picture(std)])[0] - 127.5
    unclipped = noise[noise.abs() < 127.4].double().numpy()
    assert unclipped.size == noise.numel()
    assert stats.kstest(unclipped, "norm", (0, 255 * std)).pvalue > 0.01
    for axis in range(3):  # channels and neighbours
        one, other = (
            noise.narrow(axis, 1, noise.shape[axis] - 1),
            noise.narrow(axis, 0, noise.shape[axis] - 1),
        )
        few = 4 / one.numel() ** 0.5
        assert abs(np.corrcoef(one.flatten(), other.flatten())[0, 1]) < few
        assert abs(np.corrcoef(one.flatten().abs(), other.flatten().abs())[0, 1]) < few


def secrets_of_a_picture(*picture):
    return int.from_bytes(hashlib.sha256(repr(picture).encode()).digest(), "little")


@pytest.mark.parametrize("bit", [0, 31, 32, 63, 64, 127, 128, 255])
def test_every_bit_of_a_seed_gives_other_noise(bit):
    seed = secrets_of_a_picture("one")
    grey = torch.full((2, 3, 64, 32), 127.5)
    first, second = gaussian_noise(grey, 0.05, seeds=[seed, seed ^ 1 << bit]) - 127.5
    assert (first == second).float().mean() < 1e-3
    assert abs(np.corrcoef(first.flatten(), second.flatten())[0, 1]) < 4 / first.numel() ** 0.5
    # nor are they the same values in another order
    assert len(np.intersect1d(first, second)) < 60  # of 6,144; float32 lets some coincide


def test_noise_of_many_values_does_not_repeat(monkeypatch):
    whole = noise_stream.standard_normal(5, 1000)
    monkeypatch.setattr(noise_stream, "BLOCK", 300)
    parts = noise_stream.standard_normal(5, 1000)
    assert np.array_equal(parts[:300], whole[:300])
    assert len(np.unique(parts)) == 1000


def test_noise_has_finite_tails(monkeypatch):
    for byte, end in ((b"\0", -1), (b"\xff", 1)):
        monkeypatch.setattr(noise_stream, "_stream", lambda key, block, length, byte=byte: byte * length)
        assert noise_stream.standard_normal(0, 4) == pytest.approx([end * 6.3379] * 4, abs=1e-3)


@pytest.mark.parametrize("seed", [-1, 2**256])
def test_seeds_that_no_stream_has(seed):
    with pytest.raises(ValueError, match=f"at most 256 bits, not {seed}"):
        gaussian_noise(torch.zeros(1, 3, 2, 2), 0.1, seeds=[seed])


def test_noise_without_seeds_follows_the_default_generator():
    images = random_images(2, 3, 16, 8)
    torch.manual_seed(3)
    first, second = gaussian_noise(images, 0.2), gaussian_noise(images, 0.2)
    torch.manual_seed(3)
    assert torch.equal(gaussian_noise(images, 0.2), first)
    assert not torch.equal(first, second)


def test_no_noise_changes_nothing():
    images = random_images(2, 3, 16, 8)
    assert torch.equal(gaussian_noise(images, 0), images)


# Mask


def test_mask_of_everything_leaves_nothing():
    assert (mask_out(random_images(2, 3, 16, 8)) == 127.5).all()
    assert (mask_out(random_images(2, 3, 16, 8).byte()) == 128).all()


@pytest.mark.parametrize(
    ("region", "rows", "columns"),
    [
        ((0, 0, 1, 1), (0, 10), (0, 20)),
        ((0, 0, 0.5, 1), (0, 5), (0, 20)),
        ((0.1, 0.25, 0.2, 0.5), (1, 3), (5, 15)),
        ((0.25, 0.01, 0.01, 0.02), (2, 3), (0, 1)),  # less than a pixel: every pixel that is touched
        ((0.99, 0.99, 0.01, 0.01), (9, 10), (19, 20)),
        ((0.7, 0.0, 0.3, 1.0), (7, 10), (0, 20)),
    ],
)
def test_mask_of_a_region(region, rows, columns):
    images = random_images(2, 3, 10, 20)
    expected = images.clone()
    for row in range(*rows):
        for column in range(*columns):
            expected[:, :, row, column] = 127.5
    assert torch.equal(mask_out(images, region), expected)


# What all have in common


@pytest.mark.parametrize("name", OPERATIONS)
def test_inputs_are_left_alone_and_images_do_not_mix(name):
    images = random_images(3, 3, 20, 12)
    before = images.clone()
    result = OPERATIONS[name](images)
    assert torch.equal(images, before)
    assert not torch.equal(result, images)
    assert result.min() >= 0
    assert result.max() <= 255
    torch.testing.assert_close(OPERATIONS[name](images[:1]), result[:1])


@pytest.mark.parametrize("name", OPERATIONS)
def test_uint8_is_rounded_and_floats_are_not(name):
    images = random_images(2, 3, 20, 12).byte()
    from_bytes, from_floats = OPERATIONS[name](images), OPERATIONS[name](images.float())
    assert from_bytes.dtype == torch.uint8
    assert np.array_equal(from_bytes.numpy(), np.rint(from_floats.numpy()).astype(np.uint8))
    assert (from_floats != from_floats.round()).any()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_worked_on_in_float32(name, dtype):
    images = random_images(2, 3, 20, 12).to(dtype)
    result = OPERATIONS[name](images)
    assert result.dtype == torch.float32
    assert torch.equal(result, OPERATIONS[name](images.float()))


@pytest.mark.parametrize("name", OPERATIONS)
def test_autocast_changes_nothing(name):
    images = random_images(2, 3, 20, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = OPERATIONS[name](images)
    assert torch.equal(result, OPERATIONS[name](images))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("layout", ["channels_last", "cropped"])
def test_memory_layout_does_not_matter(name, layout):
    images = random_images(2, 3, 20, 12)
    other = (
        images.to(memory_format=torch.channels_last)
        if layout == "channels_last"
        else random_images(2, 3, 24, 16)[..., 2:22, 1:13]
    )
    torch.testing.assert_close(OPERATIONS[name](other), OPERATIONS[name](other.contiguous()))


@pytest.mark.parametrize("name", OPERATIONS)
def test_empty_batch(name):
    assert OPERATIONS[name](torch.zeros(0, 3, 20, 12)).shape == (0, 3, 20, 12)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(
    "images",
    [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 8, 8, 3), torch.zeros(1, 3, 0, 8)],
)
def test_wrong_shapes(name, images):
    with pytest.raises(ValueError, match="N×3×H×W, not " + "×".join(map(str, images.shape))):
        OPERATIONS[name](images)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_wrong_kind_of_numbers(dtype):
    with pytest.raises(ValueError, match=str(dtype)):
        gaussian_blur(torch.zeros(1, 3, 8, 8, dtype=dtype), 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda images: gaussian_blur(images, 0), "sigma .*not 0"),
        (lambda images: gaussian_blur(images, -1.5), r"sigma .*not -1\.5"),
        (lambda images: gaussian_blur(images, float("nan")), "sigma .*not nan"),
        (lambda images: gaussian_blur(images, float("inf")), "sigma .*not inf"),
        (lambda images: pixelate(images, 0), "block .*not 0"),
        (lambda images: pixelate(images, 2.5), r"block .*not 2\.5"),
        (lambda images: pixelate(images, 4, "median"), "reduce .*not 'median'"),
        (lambda images: gaussian_noise(images, -0.1), r"std .*not -0\.1"),
        (lambda images: gaussian_noise(images, float("nan")), "std .*not nan"),
        (lambda images: gaussian_noise(images, 0.1, seeds=[1]), "2 images .*not 1"),
        (lambda images: gaussian_noise(images, 0.1, seeds=torch.arange(3)), "2 images .*not 3"),
        (lambda images: mask_out(images, (0, 0, 1)), r"region .*not \(0, 0, 1\)"),
        (lambda images: mask_out(images, (0.5, 0, 0.6, 1)), "region .*fractions"),
        (lambda images: mask_out(images, (-0.1, 0, 0.5, 1)), "region .*fractions"),
        (lambda images: mask_out(images, (0, 0, 0, 1)), "region .*fractions"),
        (lambda images: mask_out(images, (0, 0, 64, 32)), "region .*fractions"),
    ],
)
def test_wrong_options(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("BLUR_SIGMA", 1e308, "the blur's sigma must be at most 10,000, not 1e"),
        ("PIXEL_BLOCK", 10**30, "the pixelation's block must be at most 10,000, not 1000"),
        ("NOISE_STD", 1e308, "the noise's std must be at most 1,000, not 1e"),
    ],
)
def test_numbers_that_nobody_means_are_refused(key, value, message):
    with pytest.raises(UserError, match=message):
        Desensitizer.from_config(config(**{key: value}))


# The module


@pytest.mark.parametrize("height", [256, 128, 64, 8])
def test_lengths_scale_with_the_height(height):
    images = random_images(2, 3, height, height // 2)
    scale = height / 256
    torch.testing.assert_close(Desensitizer("blur")(images), gaussian_blur(images, 12 * scale))
    torch.testing.assert_close(
        Desensitizer("pixelate")(images), pixelate(images, {256: 24, 128: 12, 64: 6, 8: 1}[height])
    )
    torch.testing.assert_close(Desensitizer("pixelate", pixel_block=1)(images), images)
    assert torch.equal(Desensitizer("noise")(images, seeds=[1, 2]), gaussian_noise(images, 0.5, seeds=[1, 2]))
    assert torch.equal(Desensitizer("mask")(images), mask_out(images))


def test_every_option_reaches_its_operator():
    images = random_images(2, 3, 256, 128)
    assert torch.equal(Desensitizer("blur", blur_sigma=3.0)(images), gaussian_blur(images, 3.0))
    assert torch.equal(
        Desensitizer("pixelate", pixel_block=9, pixel_reduce="corner")(images), pixelate(images, 9, "corner")
    )
    assert torch.equal(
        Desensitizer("noise", noise_std=0.1)(images, seeds=[3, 4]), gaussian_noise(images, 0.1, seeds=[3, 4])
    )
    region = (0.0, 0.0, 0.3, 1.0)
    assert torch.equal(Desensitizer("mask", mask_region=region)(images), mask_out(images, region))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"NAME": "blur", "BLUR_SIGMA": 4.0}, lambda images: gaussian_blur(images, 2.0)),
        (
            {"NAME": "pixelate", "PIXEL_BLOCK": 16, "PIXEL_REDUCE": "corner"},
            lambda images: pixelate(images, 8, "corner"),
        ),
        ({"NAME": "noise", "NOISE_STD": 0.2}, lambda images: gaussian_noise(images, 0.2, [8, 9])),
        ({"NAME": "mask", "MASK_REGION": []}, mask_out),
        (
            {"NAME": "mask", "MASK_REGION": [0.0, 0.0, 0.5, 0.5]},
            lambda images: mask_out(images, (0, 0, 0.5, 0.5)),
        ),
    ],
)
def test_from_config(keys, expected):
    images = random_images(2, 3, 128, 64)
    assert torch.equal(Desensitizer.from_config(config(**keys))(images, seeds=[8, 9]), expected(images))


def test_the_module_has_no_state_and_can_be_copied():
    module = Desensitizer("pixelate", pixel_block=8)
    assert not module.state_dict()
    images = random_images(1, 3, 64, 32)
    assert torch.equal(copy.deepcopy(module)(images), module(images))
    assert str(module) == "Desensitizer('pixelate', pixel_block=8, pixel_reduce='mean')"


def test_unknown_name_lists_the_known_ones():
    for build in (lambda: Desensitizer("blurr"), lambda: Desensitizer.from_config(config(NAME="blurr"))):
        with pytest.raises(
            UserError, match=r"PRIVACY\.DESENSITIZER\.NAME is 'blurr'.*blur, mask, noise, pixelate"
        ):
            build()


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ({"BLUR_SIGMA": 0.0}, "0.0"),
        ({"PIXEL_BLOCK": -2}, "-2"),
        ({"NOISE_STD": -0.5}, "-0.5"),
        ({"MASK_REGION": [0.5, 0.5]}, r"\(0.5, 0.5\)"),
    ],
)
def test_values_in_the_config_that_make_no_sense(keys, value):
    with pytest.raises(UserError, match=rf"PRIVACY\.DESENSITIZER.*not {value}"):
        Desensitizer.from_config(config(**keys))


def test_operators_of_others_get_what_they_name(register):
    seen = {}

    def shade(images, scale, seeds, shade_by, noise_std, softly=True):
        seen.update(scale=scale, seeds=seeds, shade_by=shade_by, noise_std=noise_std, softly=softly)
        return images * shade_by

    register(shade)
    images = random_images(1, 3, 64, 32)
    # A key that another operator of theirs has (OTHER_KEY) does not disturb.
    module = Desensitizer.from_config(config(NAME="shade", SHADE_BY=0.5, OTHER_KEY=1))
    assert torch.equal(module(images, seeds=[3]), images * 0.5)
    assert seen == {"scale": 0.25, "seeds": [3], "shade_by": 0.5, "noise_std": 0.5, "softly": True}
    with pytest.raises(UserError, match=r"shade needs PRIVACY\.DESENSITIZER\.SHADE_BY"):
        Desensitizer.from_config(config(NAME="shade"))
    with pytest.raises(UserError, match=r"shade has no option shade_bye; it knows .*shade_by"):
        Desensitizer("shade", shade_bye=0.5)


def test_registered_names_are_the_documented_ones():
    assert {"blur", "pixelate", "noise", "mask"} <= set(DESENSITIZER_REGISTRY._obj_map)
    assert "pixelate" in inspect.getdoc(Desensitizer)
