"""U-Net generator, PatchGAN discriminator and their registries."""

import doctest
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.networks import (
    DISCRIMINATOR_REGISTRY,
    GENERATOR_REGISTRY,
    PatchDiscriminator,
    UNetGenerator,
    build_discriminator,
    build_generator,
    halvings,
    patchgan,
    registry,
    unet,
)


def options(name="UNetGenerator", width=4, depth=0):
    return SimpleNamespace(NAME=name, WIDTH=width, DEPTH=depth)


def layers(network, kind):
    return [module for module in network.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("module", [unet, patchgan, registry])
def test_examples_in_docstrings(module, monkeypatch):
    # what they register is gone afterwards: pytest runs the same examples in this process
    monkeypatch.setattr(registry.GENERATOR_REGISTRY, "_obj_map", dict(registry.GENERATOR_REGISTRY._obj_map))
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 128), 7),
        ((128, 64), 6),
        ((384, 128), 7),
        ((96, 64), 5),
        ((64, 64), 6),
        ((255, 128), 0),
        ((1, 64), 0),
        ((250, 120), 1),
    ],
)
def test_halvings(size, expected):
    assert halvings(*size) == halvings(*reversed(size)) == expected


@pytest.mark.parametrize(("size", "depth"), [((256, 128), 7), ((128, 64), 6), ((64, 64), 6), ((96, 64), 3)])
@pytest.mark.parametrize("batch", [1, 2])
def test_generator_maps_images_to_images_in_training_and_test(size, depth, batch):
    generator = UNetGenerator(width=4, depth=depth)
    images = torch.rand(batch, 3, *size) * 2 - 1
    for mode in (True, False):
        output = generator.train(mode)(images)
        assert output.shape == images.shape
        assert output.abs().max() <= 1


def test_generator_has_the_layers_of_pix2pix():
    generator = UNetGenerator(width=64, depth=7)
    # The number of parameters that pix2pix's U-Net for 128×128 (7 down-samplings, BatchNorm) is known for.
    assert sum(parameter.numel() for parameter in generator.parameters()) == 41_829_571
    down, up = layers(generator, nn.Conv2d), layers(generator, nn.ConvTranspose2d)
    assert [layer.out_channels for layer in down] == [64, 128, 256, 512, 512, 512, 512]
    assert [layer.out_channels for layer in up] == [3, 64, 128, 256, 512, 512, 512]
    assert [layer.in_channels for layer in up] == [128, 256, 512, 1024, 1024, 1024, 512]
    assert {(layer.kernel_size, layer.stride, layer.padding) for layer in down + up} == {
        ((4, 4), (2, 2), (1, 1))
    }
    # No norm on the first and the innermost down layer and on the output; a bias exactly there.
    assert [layer.bias is not None for layer in down] == [True, False, False, False, False, False, True]
    assert [layer.bias is not None for layer in up] == [True, False, False, False, False, False, False]
    assert len(layers(generator, nn.BatchNorm2d)) == 5 + 6


def test_generator_equals_the_definition_written_out():
    torch.manual_seed(0)
    generator = UNetGenerator(width=4, depth=3)
    images = torch.rand(2, 3, 16, 8) * 2 - 1
    convolutions, transposed = layers(generator, nn.Conv2d), layers(generator, nn.ConvTranspose2d)
    norm_down, norm_up_1, norm_up_2 = layers(generator, nn.BatchNorm2d)
    first = convolutions[0](images)
    second = norm_down(convolutions[1](nn.LeakyReLU(0.2)(first)))
    third = convolutions[2](nn.LeakyReLU(0.2)(second))
    up = norm_up_2(transposed[2](nn.ReLU()(third)))
    up = norm_up_1(transposed[1](nn.ReLU()(torch.cat([second, up], 1))))
    expected = torch.tanh(transposed[0](nn.ReLU()(torch.cat([first, up], 1))))
    torch.testing.assert_close(generator(images), expected)


def test_every_weight_of_the_generator_gets_a_gradient():
    generator = UNetGenerator(width=4, depth=6)
    generator(torch.rand(2, 3, 128, 64) * 2 - 1).square().mean().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("network", [UNetGenerator(width=32, depth=6), PatchDiscriminator(width=32)])
def test_initialization(network):
    for layer in layers(network, (nn.Conv2d, nn.ConvTranspose2d)):
        if layer.weight.numel() > 5000:
            assert abs(layer.weight.mean()) < 0.002
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
    norms = torch.cat([layer.weight for layer in layers(network, nn.BatchNorm2d)])
    assert norms.mean().item() == pytest.approx(1.0, abs=0.01)
    assert norms.std().item() == pytest.approx(0.02, rel=0.2)
    assert all(
        (parameter == 0).all() for name, parameter in network.named_parameters() if name.endswith("bias")
    )


def test_size_that_cannot_be_halved_names_the_ways_out():
    with pytest.raises(UserError) as error:
        UNetGenerator(width=4, depth=4)(torch.zeros(1, 3, 40, 24))
    for part in (
        "40×24",
        "4 times",
        "32×16",
        "48×32",
        "INPUT.SIZE_TRAIN",
        "PRIVACY.ANONYMIZER.DEPTH",
        "at most 3",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("size", [(32, 16), (48, 32)])
def test_sizes_that_the_message_names_work(size):
    assert UNetGenerator(width=4, depth=4)(torch.zeros(1, 3, *size)).shape[2:] == size


@pytest.mark.parametrize(
    ("size", "depth", "smaller", "larger"), [((6, 4), 3, "8×8", "8×8"), ((250, 128), 7, "128×128", "256×128")]
)
def test_no_size_is_suggested_that_has_no_pixels(size, depth, smaller, larger):
    with pytest.raises(UserError, match=smaller) as error:
        unet.check_size(*size, depth)
    assert larger in str(error.value)
    assert "0×" not in str(error.value).replace(f"{size[0]}×{size[1]}", "")


@pytest.mark.parametrize(
    ("size", "depth", "expected"),
    [((256, 128), 0, 7), ((128, 64), 0, 6), ((128, 64), 4, 4), ((100, 60), 0, 2)],
)
def test_built_generator_has_the_depth_that_the_size_allows(size, depth, expected):
    generator = build_generator(options(depth=depth), size)
    assert generator.depth == expected
    assert generator(torch.zeros(1, 3, *size)).shape[2:] == size


@pytest.mark.parametrize(
    ("size", "depth"), [((255, 128), 0), ((250, 120), 0), ((128, 64), 7), ((128, 64), 1)]
)
def test_generator_that_cannot_be_built(size, depth):
    with pytest.raises(UserError, match=r"PRIVACY\.ANONYMIZER\.DEPTH|INPUT\.SIZE_TRAIN"):
        build_generator(options(depth=depth), size)


def test_a_logit_of_the_discriminator_sees_70_by_70_pixels():
    # in training BatchNorm lets every pixel see every other
    discriminator = PatchDiscriminator(width=4).eval()
    condition, image = (torch.rand(1, 3, 128, 128).requires_grad_() for _ in range(2))
    logits = discriminator(condition, image)
    assert logits.shape == (1, 1, 14, 14)
    logits[0, 0, 7, 7].backward()
    for inputs in (condition, image):
        rows, columns = inputs.grad.abs().sum(dim=(0, 1)).nonzero(as_tuple=True)
        assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == 70


def test_discriminator_has_the_layers_of_pix2pix():
    discriminator = PatchDiscriminator()
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 2_768_705
    convolutions = layers(discriminator, nn.Conv2d)
    assert [layer.out_channels for layer in convolutions] == [64, 128, 256, 512, 1]
    assert [layer.stride[0] for layer in convolutions] == [2, 2, 2, 1, 1]
    assert [layer.bias is not None for layer in convolutions] == [True, False, False, False, True]
    assert len(layers(discriminator, nn.BatchNorm2d)) == 3


@pytest.mark.parametrize("layers_", [1, 2, 3, 4])
def test_smallest_image_of_the_discriminator(layers_):
    discriminator = PatchDiscriminator(width=4, layers=layers_)
    side = discriminator.min_side
    assert discriminator(*torch.zeros(2, 1, 3, side, side)).shape == (1, 1, 1, 1)
    with pytest.raises(UserError, match=f"{side - 1}×40.*at least {side}"):
        discriminator(*torch.zeros(2, 1, 3, side - 1, 40))


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UserError, match=r"PRIVACY\.ANONYMIZER\.NAME.*'UNet'.*UNetGenerator"):
        build_generator(options(name="UNet"), (128, 64))
    with pytest.raises(UserError, match=r"PRIVACY\.DISCRIMINATOR\.NAME.*'Patch'.*PatchDiscriminator"):
        build_discriminator(options(name="Patch"))


def test_built_discriminator_has_the_width_of_the_config():
    assert build_discriminator(options(name="PatchDiscriminator", width=5)).stages[0].out_channels == 5


def test_networks_of_others_plug_in(monkeypatch):
    class TestGenerator(nn.Identity):
        @classmethod
        def from_options(cls, options, size):
            made = cls()
            made.seen = (options.WIDTH, size)
            return made

    class TestDiscriminator(nn.Identity):
        @classmethod
        def from_options(cls, options):
            return cls()

    for target, network in ((GENERATOR_REGISTRY, TestGenerator), (DISCRIMINATOR_REGISTRY, TestDiscriminator)):
        monkeypatch.setattr(target, "_obj_map", dict(target._obj_map))  # registered for this test only
        target.register(network)
    # A size that the U-Net could not take is no matter to others.
    assert build_generator(options(name="TestGenerator"), (255, 127)).seen == (4, (255, 127))
    assert isinstance(build_discriminator(options(name="TestDiscriminator")), TestDiscriminator)
