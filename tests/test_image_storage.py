"""Image storage against real files, written and read back by Pillow."""

import doctest
import io
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.model import storage as image_storage
from fastreid_privacy.model.storage import ImageStorage, subsample_chroma

SIZES = [(128, 64), (16, 16), (37, 21), (8, 9), (1, 1)]
QUALITIES = [10, 50, 75, 95]


def textured(*size, count=2, seed=0):
    """Float images of 0–255 with coarse and fine structure, like photographs: N×3×H×W."""
    generator = torch.Generator().manual_seed(seed)
    coarse = functional.interpolate(torch.rand(count, 3, 4, 4, generator=generator), size, mode="bilinear")
    return (coarse * 255 + torch.randn(count, 3, *size, generator=generator) * 12).clamp(0, 255)


def levels(images):
    """uint8 N×H×W×3 by numpy."""
    return np.rint(np.clip(images.detach().numpy(), 0, 255)).astype(np.uint8).transpose(0, 2, 3, 1)


def through_files(images, folder, extension, **parameters):
    """The reference: write each image with Pillow, read it back with Pillow."""
    read = []
    for index, image in enumerate(levels(images)):
        path = folder / f"{index}{extension}"
        Image.fromarray(image).save(path, **parameters)
        read.append(np.array(Image.open(path)))
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).float()


def test_examples_in_docstrings():
    assert doctest.testmod(image_storage) == (0, 1)


@pytest.mark.parametrize("size", SIZES)
def test_png_equals_the_file(size, tmp_path):
    images = textured(*size) * 1.2 - 20  # beyond the range on both sides
    stored = ImageStorage("png")(images)
    assert stored.dtype == torch.float32
    assert torch.equal(stored, through_files(images, tmp_path, ".png"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quality", QUALITIES)
def test_jpeg_equals_the_file(size, quality, tmp_path):
    images = textured(*size) * 1.2 - 20
    stored = ImageStorage(f"jpeg{quality}")(images)
    assert stored.dtype == torch.float32
    assert torch.equal(stored, through_files(images, tmp_path, ".jpg", quality=quality))


@pytest.mark.parametrize("name", ["none", "png", "jpeg1", "jpeg10", "jpeg75", "jpeg95"])
@pytest.mark.parametrize("contrast", [1.0, 3.0])
def test_the_forward_pass_of_training_is_that_of_test(name, contrast):
    images = (textured(128, 64) - 128) * contrast + 128
    storage = ImageStorage(name)
    assert torch.equal(storage(images.clone().requires_grad_()).detach(), storage(images))


def test_halves_go_to_the_even_level():
    values = torch.tensor([-3.0, -0.4, 0.5, 1.5, 2.5, 254.5, 255.4, 300.0])
    stored = ImageStorage("png")(values.expand(1, 3, 1, 8))
    assert stored[0, 0, 0].tolist() == [0, 0, 0, 2, 2, 254, 255, 255]


def test_png_is_idempotent():
    once = ImageStorage("png")(textured(37, 21))
    assert torch.equal(ImageStorage("png")(once), once)


def test_none_changes_nothing():
    images = textured(37, 21) * 1.2 - 20
    assert torch.equal(ImageStorage("none")(images), images)


@pytest.mark.parametrize("name", ["none", "png"])
def test_gradient_is_the_identity(name):
    images = (textured(16, 16) * 1.2 - 20).requires_grad_()
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    (ImageStorage(name)(images) * weights).sum().backward()
    assert torch.equal(images.grad, weights)


def reference_jpeg(images, quality):
    """JPEG by the standard and libjpeg, with straight-through rounding, by loops over blocks and values."""
    luma_steps = [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
    chroma_steps = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
    chroma_steps = [row + [99] * 4 for row in chroma_steps] + [[99] * 8] * 4
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    cosines = torch.tensor(
        [
            [np.cos((2 * x + 1) * u * np.pi / 16) * (0.5 if u else 0.125**0.5) for x in range(8)]
            for u in range(8)
        ]
    ).float()

    def quantized(plane, steps):
        steps = torch.tensor(
            [[min(max((step * scale + 50) // 100, 1), 255) for step in row] for row in steps]
        ).float()
        rows = []
        for top in range(0, plane.shape[0], 8):
            row = []
            for left in range(0, plane.shape[1], 8):
                coefficients = cosines @ plane[top : top + 8, left : left + 8] @ cosines.T / steps
                coefficients = coefficients + (coefficients.round() - coefficients).detach()
                row.append(cosines.T @ (coefficients * steps) @ cosines)
            rows.append(torch.cat(row, dim=1))
        return torch.cat(rows, dim=0)

    results = []
    for red, green, blue in images:
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        planes = [quantized(luma - 128, luma_steps) + 128]
        for difference in ((blue - luma) / 1.772, (red - luma) / 1.402):
            small = (
                difference[::2, ::2] + difference[1::2, ::2] + difference[::2, 1::2] + difference[1::2, 1::2]
            ) / 4
            small = quantized(small, chroma_steps)[None, None]
            planes.append(
                functional.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)[0, 0]
            )
        luma, blueness, redness = planes
        red, blue = luma + 1.402 * redness, luma + 1.772 * blueness
        results.append(torch.stack([red, (luma - 0.299 * red - 0.114 * blue) / 0.587, blue]))
    return torch.stack(results)


@pytest.mark.parametrize("quality", QUALITIES)
def test_jpeg_gradient_is_that_of_a_differentiable_jpeg(quality):
    images = textured(48, 32)
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    reference, ours = images.clone().requires_grad_(), images.clone().requires_grad_()
    result = reference_jpeg(reference, quality)
    stored = ImageStorage(f"jpeg{quality}")(ours)
    # The reference really is a JPEG: within two levels of libjpeg's integer arithmetic on average.
    assert (result.clamp(0, 255) - stored).detach().abs().mean() < 2
    (result * weights).sum().backward()
    (stored * weights).sum().backward()
    torch.testing.assert_close(ours.grad, reference.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [(37, 21), (8, 9), (1, 1)])
def test_odd_sizes_keep_grey_and_flat_images(size):
    grey = torch.rand(1, 1, *size).expand(-1, 3, -1, -1) * 255
    torch.testing.assert_close(subsample_chroma(grey), grey, rtol=0, atol=0.01)
    flat = torch.tensor([200.0, 30.0, 90.0]).view(1, 3, 1, 1).expand(-1, -1, *size)
    torch.testing.assert_close(subsample_chroma(flat), flat, rtol=0, atol=0.01)


@pytest.mark.parametrize("size", [(37, 21), (36, 20)])
def test_the_stand_in_is_close_to_a_jpeg_of_quality_100(size):
    images = textured(*size)
    difference = (subsample_chroma(images).clamp(0, 255) - ImageStorage("jpeg100")(images)).abs()
    assert difference.mean() < 1
    assert difference.max() < 6


@pytest.mark.parametrize("quality", [50, 90])
def test_steps_along_the_jpeg_gradient_bring_the_stored_image_closer(quality):
    storage, target = ImageStorage(f"jpeg{quality}"), textured(32, 32, seed=1)
    images = textured(32, 32, seed=2).requires_grad_()
    losses = []
    for _ in range(20):
        loss = (storage(images) - target).square().mean()
        losses.append(loss.item())
        (gradient,) = torch.autograd.grad(loss * images.numel(), images)
        images = (images - 0.2 * gradient).detach().requires_grad_()
    assert losses[-1] < 0.1 * losses[0]


def test_works_under_autocast_in_float32():
    images = textured(32, 32)
    results = []
    for enabled in (False, True):
        inputs = images.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            stored = ImageStorage("jpeg75")(inputs)
        stored.square().sum().backward()
        results.append((stored.detach(), inputs.grad))
    assert all(torch.equal(plain, autocast) for plain, autocast in zip(*results, strict=True))


@pytest.mark.parametrize("name", ["png", "jpeg75"])
def test_nan_stays_visible(name):
    images = textured(16, 16)
    images[1, 0, 3, 3] = float("nan")
    stored = ImageStorage(name)(images)
    assert stored[1].isnan().any()
    assert torch.equal(stored[0], ImageStorage(name)(images[:1])[0])


@pytest.mark.parametrize(
    "name", ["jpeg", "jpeg0", "jpeg101", "jpeg075", "JPEG75", "png8", "jpeg-5", "", 75, None]
)
def test_wrong_names(name):
    with pytest.raises(UserError, match=r"PRIVACY\.STORAGE is .*none, png, or jpeg") as error:
        ImageStorage(name)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize(
    ("name", "extension"), [("none", ".png"), ("png", ".png"), ("jpeg1", ".jpg"), ("jpeg100", ".jpg")]
)
def test_saved_file_is_what_training_saw(name, extension, tmp_path):
    storage, image = ImageStorage(name), textured(37, 21, count=1)[0]
    assert storage.extension == extension
    path = tmp_path / f"0002_c1s1_000451_03{extension}"
    storage.save(image, path)
    read = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).float()
    assert torch.equal(read, ImageStorage(name.replace("none", "png"))(image[None])[0])
    assert os.listdir(tmp_path) == [path.name]
    # uint8 images are saved alike, over the file that is there.
    storage.save(image.round().byte(), path)
    assert torch.equal(torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).float(), read)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("none", {"format": "PNG"}),
        ("png", {"format": "PNG"}),
        ("jpeg75", {"format": "JPEG", "quality": 75, "subsampling": "4:2:0"}),
        ("jpeg20", {"format": "JPEG", "quality": 20, "subsampling": "4:2:0"}),
    ],
)
def test_files_are_those_of_pillow(tmp_path, name, parameters):
    image, storage, expected = textured(33, 16, count=1), ImageStorage(name), io.BytesIO()
    Image.fromarray(levels(image)[0]).save(expected, **parameters)
    path = tmp_path / f"image{storage.extension}"
    storage.save(image[0], path)
    assert path.read_bytes() == storage.encode(levels(image)[0]) == expected.getvalue()


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    storage, path = ImageStorage("png"), tmp_path / "image.png"
    storage.save(textured(8, 8, count=1)[0], path)
    before = path.read_bytes()

    def fail(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space"):
        storage.save(textured(8, 8, count=1, seed=3)[0], path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["image.png"]


@pytest.mark.parametrize(
    ("image", "name", "message"),
    [
        (torch.zeros(3, 8, 8), "image.jpg", "does not end in .png"),
        (torch.zeros(1, 3, 8, 8), "image.png", "3×H×W"),
        (torch.zeros(8, 8, 3), "image.png", "3×H×W"),
        (torch.full((3, 8, 8), float("nan")), "image.png", "NaN"),
    ],
)
def test_what_cannot_be_saved(image, name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        ImageStorage("png").save(image, tmp_path / name)
    assert os.listdir(tmp_path) == []
