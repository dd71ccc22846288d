"""Every backbone of fastreid in a step and an evaluation of the full method, in its memory layout."""

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import pytest
import torch
from fastreid.modeling import build_model
from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.utils.events import EventStorage

from fastreid_privacy.config import load_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.training.model_checks import build_on_cpu

BACKBONES = {
    "build_effnet_backbone": ("b0", 1280),
    "build_mobilenetv2_backbone": ("1.0x", 1280),
    "build_mobilenetv3_backbone": ("Small", 1024),
    "build_osnet_backbone": ("x0_25", 128),
    "build_regnet_backbone": ("200y", 368),
    "build_repvgg_backbone": ("A0", 1280),
    "build_resnest_backbone": ("50x", 2048),
    "build_resnet_backbone": ("18x", 512),
    "build_resnext_backbone": ("50x", 2048),
    "build_shufflenetv2_backbone": ("0.5x", 1024),
    "build_vit_backbone": ("small", 768),
}
"""Each with its smallest depth, and the features that it gives."""


def config_of(name, tmp_path, depth=None):
    backbone = {"NAME": name, "DEPTH": depth or BACKBONES[name][0], "FEAT_DIM": BACKBONES[name][1]}
    keys = {f"MODEL.BACKBONE.{key}": value for key, value in backbone.items()}
    return load_config(SMALL_CONFIG, small_options(tmp_path, **keys, **{"MODEL.HEADS.NUM_CLASSES": 4}))


def test_no_backbone_is_left_out():
    assert BACKBONE_REGISTRY._obj_map.keys() == BACKBONES.keys()


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_learns_and_gives_features(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # files that come with fastreid are found from anywhere
    model = build_model(config_of(name, tmp_path)).train()
    batch = {
        "images": torch.rand(4, 3, 64, 32) * 255,
        "targets": torch.tensor([0, 0, 1, 1]),
        "img_paths": ["a", "b", "c", "d"],
    }
    with EventStorage(0):
        sum(model(batch).values()).backward()
    gradients = [weight.grad for weight in model.backbone.parameters() if weight.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    features = model.eval().extract_domains(batch)["features"]
    for of_domain in features.values():
        assert of_domain.shape == (4, BACKBONES[name][1]) and of_domain.isfinite().all()


def test_files_that_fastreid_lacks_are_named(tmp_path, monkeypatch):
    from fastreid.modeling.backbones.regnet.config import cfg

    def absent(name):
        raise FileNotFoundError(2, "No such file or directory", name)

    monkeypatch.setitem(vars(cfg), "merge_from_file", absent)
    with pytest.raises(
        UserError, match=r"no model can be built from this config: FileNotFoundError.*RegNetY"
    ):
        build_on_cpu(config_of("build_regnet_backbone", tmp_path), 4)
