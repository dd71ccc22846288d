"""projects/RealisticBody: what is filled in and what stays, its training and its file, and bad input."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import anonymize, recover, train

# isort: split
import hashlib
import hmac
import importlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from skimage.exposure import match_histograms

from fastreid_privacy import UserError
from fastreid_privacy.attack.subjects import Subject
from fastreid_privacy.compare.methods import read_methods
from fastreid_privacy.config import load_config
from fastreid_privacy.core.projects import load_projects, project_words
from fastreid_privacy.data.synthetic.truth import JOINTS
from fastreid_privacy.desensitize import Desensitizer
from fastreid_privacy.desensitize.noise_stream import standard_normal
from fastreid_privacy.manifest import MANIFEST, read_manifest
from fastreid_privacy.training.preflight import check_regions

PROJECT = Path(__file__).parent.parent / "projects" / "RealisticBody"
NODE = "PRIVACY.DESENSITIZER.REALISTIC_BODY"
SIZE = 32, 16


@pytest.fixture
def project(own_imports):
    """The modules of the project, by name."""
    load_projects([PROJECT])

    class Modules:
        def __getattr__(self, name):
            return importlib.import_module(f"realistic_body.{name}")

    return Modules()


def small_network(project, joints=(), part="full_body", size=SIZE):
    """A network of random weights, whose pictures have contrast and depend on z."""
    torch.manual_seed(0)
    network = project.networks.BodyNetwork(project.networks.Shape(part, size, 4, 3, joints))
    network.generator.last.weight.data *= 10
    return network.requires_grad_(False).eval()


def write_model(project, path, **options):
    path.write_bytes(project.model_file.model_content(small_network(project, **options), "test"))
    return path


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def region(height, width):
    """One person, a rectangle."""
    mask = np.zeros((height, width), bool)
    mask[height // 8 : -height // 8, width // 3 : -width // 3] = True
    return mask


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def batch(*pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def regions_of(*masks):
    return torch.from_numpy(np.stack(masks))[:, None].float()


# -- windows -------------------------------------------------------------------------------------------------


def test_a_window_holds_its_person_and_lies_in_the_image(project):
    mask = np.zeros((100, 300), bool)
    mask[20:80, 50:70] = True
    mask[10:90, 200:230] = True
    large, small = project.windows.windows_of(mask, SIZE, "full_body")
    assert large.mask.sum() == 80 * 30 and small.mask.sum() == 60 * 20  # the largest first
    assert small.size == (72, 36) and (small.rows.start, small.columns.start) == (14, 42)  # 1.2 times, 2:1
    assert (large.mask | small.mask).sum() == mask.sum()
    edge = np.zeros((40, 20), bool)
    edge[:, :9] = True
    (window,) = project.windows.windows_of(edge, SIZE, "full_body")
    assert (window.rows, window.columns) == (slice(0, 40), slice(0, 20))
    assert project.windows.windows_of(np.zeros((5, 5), bool), SIZE, "full_body") == []


def test_pieces_that_nearly_touch_are_one_person(project):
    mask = np.zeros((60, 60), bool)
    mask[5:55, 10:20] = mask[5:55, 23:30] = True
    assert len(project.windows.windows_of(mask, SIZE, "full_body")) == 1
    mask[:, 45:50] = True
    windows = project.windows.windows_of(mask, SIZE, "full_body")
    assert [int(window.mask.sum()) for window in windows] == [50 * 17, 60 * 5]


@pytest.mark.parametrize("size", [(70, 50), (20, 12)])
def test_no_hidden_pixel_is_seen_at_another_size(project, size):
    mask = region(*size)
    one, other = picture(*size), picture(*size)
    other[mask] = 255 - other[mask]
    windows = project.windows.windows_of(mask, SIZE, "full_body")
    seen = [project.windows.seen(batch(each)[0].float(), windows, SIZE) for each in (one, other)]
    outside = seen[0].regions == 0
    assert torch.equal(seen[0].regions, seen[1].regions) and 0 < outside.float().mean() < 1
    assert torch.equal(seen[0].around * outside, seen[1].around * outside)
    assert not torch.equal(seen[0].raw, seen[1].raw)


def test_what_is_around_at_the_own_size_is_the_image(project):
    mask, pixels = region(*SIZE), picture(*SIZE)
    windows = [project.windows.Window(mask, slice(0, 32), slice(0, 16))]
    seen = project.windows.seen(batch(pixels)[0].float(), windows, SIZE)
    assert np.array_equal(seen.regions[0, 0].numpy() > 0, mask)
    for y, x in np.argwhere(~mask):
        assert seen.around[0, :, y, x].tolist() == pixels[y, x].tolist()


# -- filling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [SIZE, (64, 32), (37, 90)])
def test_outside_every_pixel_stays_and_inside_is_the_network(project, tmp_path, kind, size):
    model = write_model(project, tmp_path / "body.safetensors")
    masks, images = [region(*size)] * 2, batch(picture(*size), picture(*size, seed=1)).to(kind)
    operator = Desensitizer("realistic_body", realistic_body_model=str(model))
    filled = operator(images, seeds=[5, 6], regions=regions_of(*masks))
    assert filled.dtype == kind and filled.shape == images.shape
    outside = ~torch.from_numpy(masks[0])
    assert torch.equal(filled[..., outside], images[..., outside])
    assert (filled[..., ~outside] != images[..., ~outside]).float().mean() > 0.9
    assert filled.min() >= 0 and filled.max() <= 255


def test_what_is_pasted_is_what_the_network_makes_of_the_drawn_latent(project):
    """By plain calls, at the network's own size, where nothing is scaled."""
    network, mask, pixels = small_network(project), np.zeros(SIZE, bool), picture(*SIZE)
    mask[1:31, 5:11] = True  # so high that the window is the whole image
    filled = project.filling.fill(network, batch(pixels).float(), regions_of(mask), [7])
    z = torch.from_numpy(standard_normal(7, 3))[None]
    blanked = np.where(mask[..., None], 127.5, pixels) / 127.5 - 1
    told = np.concatenate([blanked, mask[..., None]], axis=2).transpose(2, 0, 1)
    made = (network.generator(torch.from_numpy(told)[None].float(), z)[0] + 1) * 127.5
    expected = np.where(mask, made.numpy(), pixels.transpose(2, 0, 1))
    np.testing.assert_allclose(filled[0].numpy(), expected, atol=5e-3)


def test_draws_differ_by_the_number_and_by_nothing_else(project, tmp_path):
    model = str(write_model(project, tmp_path / "body.safetensors"))
    images, parts = batch(picture(40, 20)), regions_of(region(40, 20))
    operator = Desensitizer("realistic_body", realistic_body_model=model)
    one, again, other = (operator(images, seeds=[seed], regions=parts) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    unseeded = [operator(images, regions=parts) for _ in range(2)]
    assert not torch.equal(*unseeded)
    hidden = torch.where(parts > 0, 255 - images, images)
    assert torch.equal(one, operator(hidden, seeds=[1], regions=parts))  # the raw person plays no part
    together = operator(images.repeat(2, 1, 1, 1), seeds=[2, 1], regions=parts.repeat(2, 1, 1, 1))
    assert (together.int() - torch.cat([other, one]).int()).abs().max() <= 1


def test_of_the_raw_person_only_the_places_of_joints_are_seen(project):
    network = small_network(project, ("head", "neck"))
    with torch.no_grad():
        network.pose.head.weight.zero_()
        network.pose.head.bias.zero_()  # every joint is found in the first corner, whoever is shown
    images, parts = batch(picture(*SIZE)).float(), regions_of(region(*SIZE))
    hidden = torch.where(parts > 0, 255 - images, images)
    made = [project.filling.fill(network, each, parts, [3]) for each in (images, hidden)]
    assert torch.equal(*made)
    maps = network.found_joints(images)
    assert maps.shape == (1, 2, *SIZE) and maps[0, :, 0, 0].tolist() == [1, 1]
    network.pose.head.bias.data[0] = 1
    torch.nn.init.normal_(network.pose.head.weight)
    assert not torch.equal(network.found_joints(images), maps)


def test_joint_maps_are_gaussians_around_the_points(project):
    points = torch.tensor([[[3.0, 10.0], [8.0, 20.0]]])
    maps = project.networks.joint_maps(points, SIZE, torch.tensor([[1, 0]]))
    spread = 0.03 * SIZE[0]
    for y, x in [(10, 3), (11, 3), (10, 5), (20, 8)]:
        expected = np.exp(-((x - 3) ** 2 + (y - 10) ** 2) / (2 * spread**2))
        assert maps[0, 0, y, x].item() == pytest.approx(expected, abs=1e-6)
    assert not maps[0, 1].any()


def test_several_people_get_different_bodies_and_an_empty_region_none(project):
    network, pixels = small_network(project), np.full((40, 90, 3), 90, np.uint8)
    mask = np.zeros((40, 90), bool)
    mask[5:35, 10:20] = mask[5:35, 60:70] = True
    images, parts = batch(pixels, pixels).float(), regions_of(mask, np.zeros_like(mask))
    filled = project.filling.fill(network, images, parts, [1, 1])
    assert torch.equal(filled[1], images[1])
    assert (filled[0, :, 5:35, 10:20] - filled[0, :, 5:35, 60:70]).abs().mean() > 1
    nobody = project.filling.fill(network, images, torch.zeros_like(parts), [1, 1])
    assert torch.equal(nobody, images)


@pytest.mark.parametrize("look", ["none", "match", "optimize"])
def test_nobody_is_filled_in_from_the_clothes_of_a_neighbour(project, look):
    network, pixels = small_network(project), picture(40, 60)
    mask = np.zeros((40, 60), bool)
    mask[5:35, 10:14] = mask[8:32, 19:29] = True
    _, small = project.windows.windows_of(mask, network.shape.size, "full_body")
    assert small.mask[:, 10:14].any() and (small.columns.start, small.columns.stop) == (3, 21)
    others = pixels.copy()
    others[8:32, 19:29] = 255 - others[8:32, 19:29]
    images = batch(pixels, others).float()
    filled = project.filling.fill(network, images, regions_of(mask, mask), [1, 1], look)
    assert not torch.equal(images[0], images[1]) and torch.equal(filled[0], filled[1])


def test_a_person_keeps_the_new_body_under_one_key(project, tmp_path):
    model = str(write_model(project, tmp_path / "body.safetensors"))
    (tmp_path / "key").write_bytes(bytes(range(32)))
    (tmp_path / "other").write_bytes(bytes(32))
    images, parts = (each.repeat(3, 1, 1, 1) for each in (batch(picture(*SIZE)), regions_of(region(*SIZE))))
    one, two = (
        Desensitizer("realistic_person", realistic_body_model=model, realistic_body_key=str(tmp_path / key))(
            images, people=[4, 9, 4], regions=parts
        )
        for key in ("key", "other")
    )
    assert torch.equal(one[0], one[2]) and not torch.equal(one[0], one[1]) and not torch.equal(one[0], two[0])
    digest = hmac.new(bytes(range(32)), b"realistic person 4", hashlib.sha256).digest()
    assert project.operators.number_of(bytes(range(32)), 4) == int.from_bytes(digest, "little")


def test_an_empty_batch_stays_one(project, tmp_path):
    operator = Desensitizer("realistic_body", realistic_body_model=str(write_model(project, tmp_path / "m")))
    assert operator(torch.zeros(0, 3, *SIZE), regions=torch.zeros(0, 1, *SIZE)).shape == (0, 3, *SIZE)


def test_looks_are_the_same_under_inference_mode(project, tmp_path):
    """Also that the network, which is kept, has its gradients afterwards."""
    images, parts = batch(picture(*SIZE)).float(), regions_of(region(*SIZE))

    def filled(file, look):
        model = str(write_model(project, tmp_path / file))
        operator = Desensitizer("realistic_body", realistic_body_model=model, realistic_body_look=look)
        return operator, operator(images.clone(), seeds=[3], regions=parts.clone())

    for look in ("none", "optimize"):
        _, expected = filled(f"{look} before", look)
        with torch.inference_mode():
            operator, found = filled(look, look)
        for image in (found, operator(images, seeds=[3], regions=parts)):
            assert torch.equal(image, expected) and not torch.equal(image, images)


# -- looks ---------------------------------------------------------------------------------------------------


def test_matching_gives_the_levels_of_the_surroundings(project):
    mask, around = region(*SIZE), picture(*SIZE) // 4
    filled = np.where(mask[..., None], picture(*SIZE, seed=1) // 4 + 190, around).astype(np.uint8)
    parts = regions_of(mask)
    shown = project.looks.with_look("match", batch(filled).float(), batch(around).float(), parts)
    inside = shown[0].permute(1, 2, 0).numpy()[mask]
    levels = [each[None].astype(float) for each in (filled[mask], around[~mask])]
    expected = match_histograms(*levels, channel_axis=-1)[0]
    np.testing.assert_allclose(inside, expected, atol=0.5)  # rounded, not cut
    assert abs(inside.mean() - around[~mask].mean()) < 0.5
    assert np.array_equal(shown[0].permute(1, 2, 0).numpy()[~mask], around[~mask])
    whole = torch.ones(1, 1, *SIZE)  # nothing to match with
    alone = project.looks.with_look("match", batch(filled).float(), batch(around).float(), whole)
    assert torch.equal(alone, batch(filled).float())


def test_equalizing_spreads_the_lightness(project):
    mask = region(*SIZE)
    dull = np.random.default_rng(0).integers(100, 130, (*SIZE, 1), dtype=np.uint8).repeat(3, axis=2)
    shown = project.looks.with_look("equalize", batch(dull).float(), batch(dull).float(), regions_of(mask))
    inside = np.sort(shown[0, 0].numpy()[mask])
    assert inside[-1] == 255 and inside[0] < 30 and np.ptp(dull[mask]) < 30
    assert np.array_equal(shown[0].permute(1, 2, 0).numpy()[~mask], dull[~mask])


def test_optimizing_z_brings_the_histogram_nearer_and_leaves_whole_images(project):
    """Of a maker whose brightness is z itself."""
    parts = torch.cat([regions_of(region(*SIZE)), torch.ones(1, 1, *SIZE)])
    around = torch.full((2, 3, *SIZE), 60.0)

    def make(latents):
        return torch.where(parts > 0, 127.5 + 40 * latents[:, :1, None, None], around)

    begun = torch.tensor([[1.0, 0.5], [1.0, 0.5]])
    found = project.looks.optimized(make, begun, around, parts)
    assert (make(found)[0] - around[0]).abs().mean() < 0.5 * (make(begun)[0] - around[0]).abs().mean()
    assert torch.equal(found[1], begun[1]) and torch.equal(begun, torch.tensor([[1.0, 0.5], [1.0, 0.5]]))


def test_soft_histograms_are_cumulated_shares(project):
    images, parts = batch(picture(*SIZE)).float(), regions_of(region(*SIZE))
    (shares,) = project.looks.soft_histograms(images, parts)
    levels, expected = np.linspace(0, 255, 16), np.zeros((3, 16))
    inside = images[0].permute(1, 2, 0).numpy()[region(*SIZE)]
    for pixel in inside:
        for channel, value in enumerate(pixel):
            for index, level in enumerate(levels):
                expected[channel, index] += max(0, 1 - abs(value - level) / 17) / len(inside)
    np.testing.assert_allclose(shares.numpy(), expected.cumsum(1), atol=1e-4)


@pytest.mark.parametrize("look", ["equalize", "match", "optimize"])
def test_every_look_changes_the_inside_alone(project, tmp_path, look):
    model = str(write_model(project, tmp_path / "body.safetensors"))
    images, parts = batch(picture(50, 30)), regions_of(region(50, 30))
    plain, looked = (
        Desensitizer("realistic_body", realistic_body_model=model, realistic_body_look=each)(
            images, seeds=[1], regions=parts
        )
        for each in ("none", look)
    )
    outside = parts[0, 0] == 0
    assert torch.equal(looked[..., outside], images[..., outside]) and not torch.equal(looked, plain)


# -- training ------------------------------------------------------------------------------------------------


def recipe_file(tmp_path, **keys):
    keys = {"size": [32, 16], "width": 4, "latent": 3, "steps": 4, "batch": 4, **keys}
    path = tmp_path / "recipe.yml"
    path.write_text(yaml.safe_dump(keys))
    return path


RENDERED = {"data": "SyntheticPedestrians"}


def rendered_keys():
    pairs = small_options("", **{})
    known = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return {
        key: yaml.safe_load(value) for key, value in known.items() if key.startswith("DATASETS.SYNTHETIC")
    }


def learn(project, recipe, output, *changes):
    return project.learning.main(["--recipe", str(recipe), "--output", str(output), *changes])


def test_training_on_rendered_people_is_the_same_after_an_interruption(
    project, small_dataset, tmp_path, monkeypatch, capsys
):
    recipe = recipe_file(tmp_path, **RENDERED, set=rendered_keys())
    monkeypatch.setattr(project.learning, "KEPT_EVERY", 2)
    assert learn(project, recipe, tmp_path / "whole.safetensors") == 0
    advance = project.training.Training.advance

    def killed(self):
        if self.step == 3:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(project.training.Training, "advance", killed)
    assert learn(project, recipe, tmp_path / "a" / "parts.safetensors") == 130
    monkeypatch.setattr(project.training.Training, "advance", advance)
    state = tmp_path / "a" / "parts.safetensors.state"
    assert state.is_file() and not (tmp_path / "a" / "parts.safetensors").exists()
    assert learn(project, recipe, tmp_path / "a" / "parts.safetensors", "seed", "1") == 2
    assert "of a training with another recipe" in capsys.readouterr().err
    assert learn(project, recipe, tmp_path / "a" / "parts.safetensors") == 0
    assert not state.exists()
    files = [tmp_path / "whole.safetensors", tmp_path / "a" / "parts.safetensors"]
    network, resumed = (project.model_file.load_model(str(file), "full_body") for file in files)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])
    assert set(network.shape.joints) <= set(JOINTS) and len(network.shape.joints) > 8
    assert learn(project, recipe, files[0]) == 2 and "there already" in capsys.readouterr().err
    state.write_bytes(b"nothing")
    files[1].unlink()
    assert learn(project, recipe, files[1]) == 2 and "is damaged" in capsys.readouterr().err


def some_samples(project, joints=("head", "left_hip", "right_hip")):
    pose = project.samples.Pose(np.array([[8, 5], [5, 16], [11, 17]], np.float32), np.array([2, 2, 1]), 30.0)
    pictures = [
        project.samples.Picture(
            picture(*SIZE, seed=seed) // 8 + 200, [region(*SIZE)], pose if joints else None
        )
        for seed in range(3)
    ]
    return project.samples.samples_of(pictures, joints, "full_body", SIZE)


def test_every_part_of_the_training_learns(project):
    """Also that the encoder gets its gradient from the reconstruction, and none from what tells z."""
    recipe = project.recipe.Recipe(data="x", size=SIZE, width=4, latent=3, batch=4)
    training = project.training.Training(recipe, some_samples(project), "cpu")
    before = {name: tensor.clone() for name, tensor in training.network.named_parameters()}
    others = [
        {name: tensor.clone() for name, tensor in module.named_parameters()}
        for module in (training.encoder, training.judge)
    ]
    losses = training.advance()
    assert set(losses) == {"adversarial", "L1", "KL", "latent", "judge", "joints"}
    kept = [before, *others]
    for module, old in zip((training.network, training.encoder, training.judge), kept, strict=True):
        moved = [name for name, tensor in module.named_parameters() if not torch.equal(tensor, old[name])]
        assert len(moved) >= 0.9 * len(old), module
    first = training.advance()["L1"]
    for _ in range(60):
        last = training.advance()
    assert last["L1"] < 0.7 * first and last["joints"] < losses["joints"]


def test_mirrored_samples_exchange_left_and_right(project):
    samples = some_samples(project)
    mirrored = samples.mirrored()
    assert torch.equal(mirrored.raw, samples.raw.flip(3))
    assert torch.equal(mirrored.regions, samples.regions.flip(3))
    for joint, partner in ((0, 0), (1, 2), (2, 1)):  # the head is its own
        assert torch.equal(mirrored.points[:, joint, 0], 15 - samples.points[:, partner, 0])
        assert torch.equal(mirrored.points[:, joint, 1], samples.points[:, partner, 1])
        assert torch.equal(mirrored.visibility[:, joint], samples.visibility[:, partner])


def test_joints_that_few_windows_show_are_left_out(project):
    pose = project.samples.Pose(np.array([[8, 5], [5, 16], [99, 17]], np.float32), np.array([2, 2, 2]), 30.0)
    pictures = [project.samples.Picture(picture(*SIZE), [region(*SIZE)], pose)]
    joints = ("head", "left_hip", "right_hip")
    assert project.samples.samples_of(pictures, joints, "full_body", SIZE).joints == ("head",)


def test_varied_regions_hold_the_region(project):
    part = torch.zeros(1, *SIZE)
    part[0, 5:20, 4:7] = part[0, 10, 3:12] = 1
    draw = np.random.default_rng(0)
    kinds = {project.training.varied(part, draw).sum().item() for _ in range(60)}
    assert {part.sum().item(), 15.0 * 9, 32.0 * 16} <= kinds  # as it is, its rectangle, everything
    assert all(((project.training.varied(part, draw) - part) >= 0).all() for _ in range(20))


def test_instance_masks_are_read(project, tmp_path):
    pixels = save(tmp_path / "in" / "street.png", picture(60, 90))
    numbers = np.zeros((60, 90), np.uint8)
    numbers[5:55, 10:30], numbers[10:50, 60:75], numbers[0:3, 88:] = 1, 2, 3  # the third is too small
    save(tmp_path / "masks" / "street_mask.png", numbers)
    (found,) = project.pictures.instance_pictures(tmp_path / "in", tmp_path / "masks")
    assert np.array_equal(found.pixels, pixels)
    assert [mask.sum() for mask in found.regions] == [50 * 20, 40 * 15]
    recipe = recipe_file(tmp_path, pictures="in", instances="masks", steps=1)
    assert learn(project, recipe, tmp_path / "body.safetensors") == 0
    network = project.model_file.load_model(str(tmp_path / "body.safetensors"), "full_body")
    assert network.pose is None and network.shape.joints == ()


@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("street", np.zeros((60, 80), np.uint8), "60×80 .*60×90.* a mask has the size of its picture"),
        ("street", np.zeros((60, 90, 3), np.uint8), "of the mode RGB"),
        ("road", np.zeros((60, 90), np.uint8), "has no picture in"),
        ("street", np.zeros((60, 90), np.uint8), "no image that is to be learned from has a region"),
    ],
)
def test_bad_instance_masks_are_named(project, tmp_path, capsys, name, mask, message):
    save(tmp_path / "in" / "street.png", picture(60, 90))
    save(tmp_path / "masks" / f"{name}.png", mask)
    recipe = recipe_file(tmp_path, pictures="in", instances="masks")
    assert learn(project, recipe, tmp_path / "body.safetensors") == 2
    shown = capsys.readouterr().err
    assert re.search(message, shown), shown


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({**RENDERED, "speed": 3}, "a recipe has no key 'speed'; it has part, data"),
        ({**RENDERED, "steps": "many"}, "steps is 'many'; it has to be like 1500"),
        ({**RENDERED, "steps": 0}, "steps is 0; it is a whole number from 1"),
        ({**RENDERED, "size": [30, 16]}, r"the size is \[30, 16\]; .* multiples of 16"),
        ({**RENDERED, "width": 6}, "the width is 6; it is a multiple of 4"),
        ({**RENDERED, "part": "hand"}, "the part is 'hand'; it is full_body or head"),
        ({}, "a recipe has data, .* or pictures and instances"),
        ({"pictures": "in"}, "a recipe has data, .* or pictures and instances"),
        ({"data": "Nowhere"}, "unknown data set Nowhere"),
    ],
)
def test_bad_recipes_are_refused(project, tmp_path, keys, message):
    with pytest.raises(UserError, match=message):
        project.recipe.read_recipe(recipe_file(tmp_path, **keys)).samples()


def test_keypoints_of_a_file_move_into_the_window(project, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    save(tmp_path / "set" / "1.png", picture(64, 32))
    save(tmp_path / "masks" / "set" / "1.png", region(64, 32).astype(np.uint8) * 255)
    coco = {
        "images": [{"id": 1, "file_name": "set/1.png"}],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}],
        "annotations": [{"image_id": 1, "category_id": 1, "keypoints": [15.5, 30.5, 2]}],
    }
    (tmp_path / "joints.json").write_text(json.dumps(coco))
    finder = project.finding.PersonMasks("full_body", str(tmp_path / "masks"))
    files = [tmp_path / "set" / "1.png"]
    joints, pictures = project.pictures.dataset_pictures(files, finder, tmp_path / "joints.json")
    samples = project.samples.samples_of(pictures, joints, "full_body", SIZE)
    assert samples.joints == ("nose",)
    assert samples.points[0, 0].tolist() == pytest.approx([7.5, 15.0], abs=0.6)  # half the size


# -- the file ------------------------------------------------------------------------------------------------


def test_a_model_comes_back_from_its_file(project, tmp_path):
    network = small_network(project, ("head", "neck"))
    (tmp_path / "m").write_bytes(project.model_file.model_content(network, "test"))
    loaded = project.model_file.load_model(str(tmp_path / "m"), "full_body")
    assert loaded.shape == network.shape and not loaded.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
    assert project.model_file.load_model(str(tmp_path / "m"), "full_body") is loaded


def test_other_files_are_refused(project, tmp_path, weights):
    import safetensors.torch

    load = project.model_file.load_model
    body = write_model(project, tmp_path / "body.safetensors")
    with pytest.raises(UserError, match=r"fills full_body, and realistic_head needs head"):
        load(str(body), "head")
    with pytest.raises(UserError, match=r"REALISTIC_BODY_MODEL names no file.*train\.py makes one"):
        load("", "full_body")
    with pytest.raises(UserError, match=r"nowhere cannot be read: No such file"):
        load(str(tmp_path / "nowhere"), "full_body")
    with pytest.raises(UserError, match="is no file of a network, or damaged"):
        load(str(weights), "full_body")  # a checkpoint of the package
    safetensors.torch.save_file({"x": torch.zeros(2)}, tmp_path / "x", {"format": "fastreid_privacy"})
    with pytest.raises(UserError, match=r"of another method \(fastreid_privacy\)"):
        load(str(tmp_path / "x"), "full_body")
    content = bytearray(body.read_bytes())
    content[-9] ^= 1
    (tmp_path / "flipped").write_bytes(content)
    with pytest.raises(UserError, match="is damaged: its checksum is wrong"):
        load(str(tmp_path / "flipped"), "full_body")


# -- as a method ---------------------------------------------------------------------------------------------


def protect(tmp_path, method, model, *words, source=None):
    folders = ["--input", str(source or tmp_path / "in"), "--output", str(tmp_path / "out")]
    options = [f"{NODE}_MODEL", str(model)] if model else []
    return anonymize("--project", PROJECT, "--method", method, *folders, *options, *words)


def test_own_images_with_masks_keep_all_that_is_outside(project, tmp_path, capsys):
    model = write_model(project, tmp_path / "body.safetensors")
    raw = {"0001_c1s1_000001_01.png": (70, 40), "0002_c1s1_000001_01.png": (33, 21)}
    masks = {}
    for name, size in raw.items():
        raw[name] = save(tmp_path / "in" / name, picture(*size))
        masks[name] = region(*size)
        save(tmp_path / "masks" / name, masks[name].astype(np.uint8) * 255)
    assert protect(tmp_path, "realistic_body", model, "DATASETS.REGIONS", str(tmp_path / "masks")) == 0
    for name, pixels in raw.items():
        made = np.array(Image.open(tmp_path / "out" / name))
        wide = cv2.dilate(masks[name].astype(np.uint8), np.ones((3, 3))) > 0  # one pixel around
        assert np.array_equal(made[~wide], pixels[~wide])
        assert (made[wide] != pixels[wide]).any(1).mean() > 0.9
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    assert manifest.header["operator"]["network"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert manifest.header["operator"]["look"] == "none" and manifest.header["regions"]["grown"] == "0.01"
    assert str(tmp_path) not in json.dumps(manifest.header)
    assert {each["name"] for each in manifest.header["projects"]} == {"realistic_body", "person_regions"}
    assert len([word for word in project_words() if word == "--project"]) == 2
    capsys.readouterr()
    again = ["--input", str(tmp_path / "out"), "--output", str(tmp_path / "back"), "--key", str(model)]
    assert recover(*again) == 2
    message = "was protected by realistic_body, which no key undoes: only raw files that were sealed"
    assert message in capsys.readouterr().err and not (tmp_path / "back").exists()


def test_the_same_person_keeps_the_body_in_a_collection(project, tmp_path, capsys):
    model = write_model(project, tmp_path / "body.safetensors")
    (tmp_path / "key").write_bytes(bytes(range(20)))
    names = ["0001_c1s1_000001_01.png", "0001_c2s1_000001_01.png", "0002_c1s1_000001_01.png"]
    for name in names:
        save(tmp_path / "in" / name, picture(*SIZE))
        save(tmp_path / "masks" / name, region(*SIZE).astype(np.uint8) * 255)
    key = [f"{NODE}_KEY", str(tmp_path / "key"), "DATASETS.REGIONS", str(tmp_path / "masks")]
    assert protect(tmp_path, "realistic_person", model, *key) == 0
    one, two, other = (np.array(Image.open(tmp_path / "out" / name)) for name in names)
    assert np.array_equal(one, two) and not np.array_equal(one, other)
    assert bytes(range(20)).hex() not in (tmp_path / "out" / MANIFEST).read_text()


@pytest.mark.parametrize(
    ("method", "words", "message"),
    [
        ("realistic_body", (), "nothing tells where the full body is in it"),
        ("realistic_body", ("DATASETS.REGIONS", "other"), "its mask in .* is 20×10.*and it is 32×16"),
        ("realistic_body", ("DATASETS.REGIONS", "empty"), "has no mask of it|holds no image"),
        ("realistic_body", (f"{NODE}_LOOK", "nice"), "is 'nice'; allowed: none, equalize, match, optimize"),
        ("realistic_head", (), "fills full_body, and realistic_head needs head"),
        ("realistic_person", (), "REALISTIC_BODY_KEY names no file"),
        ("realistic_person", (f"{NODE}_KEY", "short"), "short has 3 bytes, which can be guessed"),
        ("realistic_person", (f"{NODE}_KEY", "none"), "none cannot be read"),
        ("realistic_body", (f"{NODE}_MODEL", ""), "names no file; it has to name a trained network"),
    ],
)
def test_bad_input_is_named_and_nothing_is_shown(
    project, tmp_path, capsys, monkeypatch, method, words, message
):
    monkeypatch.chdir(tmp_path)
    model = write_model(project, tmp_path / "body.safetensors")
    save(tmp_path / "in" / "0001_c1s1_000001_01.png", picture(*SIZE))
    save(tmp_path / "other" / "0001_c1s1_000001_01.png", np.full((20, 10), 255, np.uint8))
    (tmp_path / "empty").mkdir()
    (tmp_path / "short").write_bytes(b"abc")
    assert protect(tmp_path, method, model, *words) != 0
    shown = "".join(capsys.readouterr())
    assert re.search(message, shown), shown
    assert not list((tmp_path / "out").rglob("*.png"))


def test_the_embedded_data_set_and_the_figures_of_it(project, small_dataset, small_run, tmp_path, capsys):
    """Also rendered images that show nobody: they are filled as a whole."""
    model = write_model(project, tmp_path / "body.safetensors", joints=("head",))
    pairs = [word for item in rendered_keys().items() for word in map(str, item)]
    assert protect(tmp_path, "realistic_body", model, *pairs, source="SyntheticPedestrians") == 0
    entries = read_manifest(tmp_path / "out" / MANIFEST).entries.values()
    assert {entry["region"] for entry in entries} == {"renderer", "crop"}
    capsys.readouterr()
    (raw,) = small_dataset.glob("SyntheticPedestrians*")
    words = ["--raw", str(raw), "--protected", str(next((tmp_path / "out").glob("Syn*"))), "--images", "6"]
    words += ["--reid", str(small_run / "model_best.pth"), "--output", str(tmp_path / "m.json")]
    assert project.measuring.main(words) == 0
    figures = json.loads((tmp_path / "m.json").read_text())
    assert figures["pixels"]["changed_outside"] == 0 and figures["pixels"]["PSNR_outside"] is None
    assert 3 < figures["pixels"]["PSNR_inside"] < 25
    assert set(figures["rank1"]) == {"OI-OI", "OI-PI", "PI-OI", "PI-PI", "chance"}
    assert set(figures["detected"]["hog"]) == {"raw", "protected"}
    assert project.measuring.main(words) == 2 and "there already" in capsys.readouterr().err
    bad = [*words[:-1], str(tmp_path / "n.json"), "--detector", "yolo", "--detector-weights", str(model)]
    assert project.measuring.main(bad) == 2 and "yolo is none of torchvision's" in capsys.readouterr().err


def test_rendered_people_are_known_where_their_data_set_is_a_link(project, linked_dataset):
    nobody = sorted(linked_dataset.glob("bounding_box_test/0000_*"))[0]
    for file, source in ((sorted(linked_dataset.glob("query/*"))[0], "renderer"), (nobody, "crop")):
        assert project.finding.PersonMasks("full_body")(file, None, None).source == source


def test_changes_outside_are_found(project, small_dataset, tmp_path):
    (raw,) = small_dataset.glob("SyntheticPedestrians*")
    file = sorted(raw.glob("query/*"))[0]
    pixels = np.array(Image.open(file))
    finder = project.finding.PersonMasks("full_body")
    mask = finder(file, None, None).mask
    y, x = np.argwhere(~mask)[0]
    pixels[y, x, 1] ^= 8
    save(tmp_path / "p.png", pixels)
    figures = project.measuring.pixels([Subject("p", 1, 0, file, tmp_path / "p.png")], finder)
    assert figures["changed_outside"] == 1 and figures["PSNR_inside"] is None
    assert figures["PSNR_outside"] == pytest.approx(10 * np.log10(255**2 * 3 * (~mask).sum() / 64))
    save(tmp_path / "small.png", pixels[:9])
    with pytest.raises(UserError, match="cannot be compared"):
        project.measuring.pixels([Subject("p", 1, 0, file, tmp_path / "small.png")], finder)


def test_a_detector_finds_somebody_where_they_are(project):
    pixels, mask = picture(64, 32), region(64, 32)
    seen = []

    def detector(large):
        seen.append(large.shape)
        scale, border = 4, 64  # 256 high, a quarter of it around
        return [(scale * 10 + border, scale * 8 + border, scale * 22 + border, scale * 56 + border)]

    assert project.detectors.finds(detector, pixels, mask) and seen == [(384, 256, 3)]
    assert not project.detectors.finds(lambda large: [(0, 0, 60, 60)], pixels, mask)
    assert not project.detectors.finds(lambda large: [], pixels, mask)
    assert project.detectors.overlap((0, 0, 4, 2), (2, 0, 6, 2)) == pytest.approx(1 / 3)


def test_a_detector_of_torchvision_is_read_and_others_refused(project, tmp_path, monkeypatch):
    name = "ssdlite320_mobilenet_v3_large"
    network = project.detectors.detection.__dict__[name](weights=None, weights_backbone=None)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    detector = project.detectors.torchvision_detector(name, tmp_path / "w.pth")
    assert all(len(box) == 4 for box in detector(picture(64, 32)))
    with pytest.raises(UserError, match="are no weights of fasterrcnn_mobilenet_v3_large_320_fpn"):
        project.detectors.torchvision_detector("fasterrcnn_mobilenet_v3_large_320_fpn", tmp_path / "w.pth")


def test_base_learns_from_new_bodies(project, small_dataset, tmp_path):
    model = write_model(project, tmp_path / "body.safetensors")
    pairs = small_options(
        tmp_path / "run",
        **{
            "PRIVACY.PROTECTION": "conventional",
            "PRIVACY.DESENSITIZER.NAME": "realistic_body",
            f"{NODE}_MODEL": model,
            "PRIVACY.DESENSITIZE_BEFORE_CROP": True,
            "SOLVER.MAX_EPOCH": 1,
        },
    )
    assert train("--project", PROJECT, "--config-file", SMALL_CONFIG, *pairs) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["config"]["PRIVACY"]["DESENSITIZER"]["REALISTIC_BODY_MODEL"] == str(model)


def test_the_configs_hold(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("body.yml", "head.yml"):
        project.recipe.read_recipe(PROJECT / "configs" / name)
    methods = read_methods(PROJECT / "configs" / "compare.yml")
    assert methods.reference == "blur" and len(methods.methods) == 7
    for method in methods.methods:
        cfg = load_config(method.config, method.options)
        if cfg.PRIVACY.DESENSITIZER.NAME.startswith("realistic"):
            with pytest.raises(UserError, match=r"body\.safetensors cannot be read.*train\.py makes one"):
                check_regions(cfg, training=True)
