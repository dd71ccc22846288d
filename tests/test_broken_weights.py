"""Networks whose output is NaN: no picture is made of it, and the message says why."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import pytest
import torch
from in_process import anonymize, recover
from PIL import Image

from fastreid_privacy.checkpoints.image_maps import ImageMap
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, Desensitizer
from fastreid_privacy.model.storage import ImageStorage

MESSAGE = "the network's output is not finite: its weights are broken"


@pytest.fixture(scope="module")
def broken(small_run, tmp_path_factory):
    """A checkpoint whose anonymizer and recovery decoder give NaN: their files are whole and load."""
    checkpoint = torch.load(small_run / "model_best.pth", weights_only=False)
    for part in ("anonymizer", "recovery"):
        last = [name for name in checkpoint["model"] if name.startswith(f"{part}.up.") and "weight" in name]
        checkpoint["model"][last[-1]][:] = float("nan")
    path = tmp_path_factory.mktemp("broken") / "model.pth"
    torch.save(checkpoint, path)
    return path


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (32, 64), (10, 100, 200)).save(tmp_path / "raw" / name)
    return tmp_path / "raw"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("load", ["load_anonymizer", "load_recovery"])
def test_a_loaded_network_refuses_to_give_pictures(broken, load, dtype):
    image_map = getattr(fastreid_privacy, load)(broken, "cpu")
    with pytest.raises(UserError, match=MESSAGE):
        image_map(torch.zeros(1, 3, 64, 32, dtype=dtype))


def test_an_operator_refuses_to_give_pictures(monkeypatch):
    """As one that draws with a network of its own."""
    monkeypatch.setattr(DESENSITIZER_REGISTRY, "_obj_map", dict(DESENSITIZER_REGISTRY._obj_map))

    def endless(images):
        return images / 0.0

    DESENSITIZER_REGISTRY.register(endless)
    image_map = ImageMap(None, Desensitizer("endless"), ImageStorage("png"), None)
    with pytest.raises(UserError, match="the images of the desensitizer endless are not finite: its weights"):
        image_map(torch.ones(1, 3, 64, 32))


def test_a_collection_is_not_protected(broken, raw, tmp_path, capfd):
    assert anonymize("--weights", broken, "--input", raw, "--output", tmp_path / "out") == 2
    out, err = capfd.readouterr()
    assert MESSAGE in err and "Traceback" not in out + err
    assert not list((tmp_path / "out").rglob("*.png"))


def test_a_collection_is_not_recovered(broken, small_run, raw, tmp_path, capfd):
    """With the right fingerprint: only the decoder is broken."""
    weights, protected = small_run / "model_best.pth", tmp_path / "protected"
    assert anonymize("--weights", weights, "--input", raw, "--output", protected) == 0
    whole, poisoned = (torch.load(path, weights_only=False) for path in (weights, broken))
    recovery = {name: value for name, value in poisoned["model"].items() if name.startswith("recovery.")}
    torch.save({**whole, "model": {**whole["model"], **recovery}}, tmp_path / "key.pth")
    capfd.readouterr()
    words = ["--key", str(tmp_path / "key.pth"), "--input", str(protected), "--output", str(tmp_path / "out")]
    assert recover(*words) == 2
    out, err = capfd.readouterr()
    assert MESSAGE in err and "Traceback" not in out + err
    assert not list((tmp_path / "out").rglob("*.png"))
