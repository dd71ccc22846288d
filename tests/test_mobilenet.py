"""Weights of torchvision's MobileNetV2 in fastreid's: its features, what is refused. No download."""

from __future__ import annotations

from fastreid_privacy.config import load_config  # before fastreid: importing the package makes it work

# isort: split
import pytest
import torch
from conftest import small_options
from fastreid.modeling import build_model
from torchvision.models import mobilenet_v2

from fastreid_privacy.commands.mobilenet import main

CONFIG = "configs/Market/mobilenet.yml"


@pytest.fixture(scope="module")
def theirs():
    """torchvision's network with weights and running statistics unlike those that any network starts with."""
    torch.manual_seed(0)
    network = mobilenet_v2(weights=None)
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize("prefix", ["", "layer."])
def test_fastreid_s_backbone_has_torchvision_s_features(theirs, tmp_path, capsys, prefix):
    """By order, not by name; from the config that the file is for, with the file where the config says."""
    state = {
        prefix + name if "classifier" not in name else name: v for name, v in theirs.state_dict().items()
    }
    torch.save(state, tmp_path / "their.pth")
    output = tmp_path / "new" / "ours.pth"
    assert main([str(tmp_path / "their.pth"), "--output", str(output)]) == 0
    assert f"MODEL.BACKBONE.PRETRAIN_PATH {output}" in capsys.readouterr().out
    words = small_options("", **{"MODEL.BACKBONE.PRETRAIN_PATH": output, "MODEL.HEADS.NUM_CLASSES": 4})
    backbone = build_model(load_config(CONFIG, words)).backbone.eval()
    images = torch.randn(2, 3, 128, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, got = theirs.features(images), backbone(images)
    assert expected.std() > 1e-2  # no wonder if both were zero
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_what_is_no_such_network_is_refused(theirs, tmp_path, capsys):
    output = tmp_path / "ours.pth"

    def refused(state, said):
        torch.save(state, tmp_path / "their.pth")
        assert main([str(tmp_path / "their.pth"), "--output", str(output)]) == 2
        assert said in capsys.readouterr().err and not output.exists()

    state = theirs.state_dict()
    refused(dict(list(state.items())[1:]), "holds 311 tensors without its classifier, a MobileNetV2 312")
    wider = {**state, "features.0.0.weight": torch.zeros(48, 3, 3, 3)}
    refused(
        wider, "features.0.0.weight is 48×3×3×3, and features.0.0.weight, which stands in its place, 32×3×3×3"
    )
    assert main([str(tmp_path / "absent.pth"), "--output", str(output)]) == 2
    said = capsys.readouterr().err
    assert "absent.pth is no file" in said and "MODEL.WEIGHTS" not in said  # which is no option here


def test_a_file_that_is_there_stays(tmp_path, capsys):
    output = tmp_path / "ours.pth"
    output.write_text("mine")
    assert main(["their.pth", "--output", str(output)]) == 2
    assert "exists already" in capsys.readouterr().err and output.read_text() == "mine"
