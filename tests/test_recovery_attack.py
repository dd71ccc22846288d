"""``projects/RecoveryAttack``: an attacker with pairs of raw and protected files."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchmetrics.functional.image import peak_signal_noise_ratio

from fastreid_privacy.core.errors import UserError

SCRIPT = Path(__file__).parents[1] / "projects" / "RecoveryAttack" / "attack.py"
spec = importlib.util.spec_from_file_location("recovery_attack", SCRIPT)
attack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(attack)


@pytest.fixture
def folders(small_dataset, tmp_path):
    """raw and protected, for training and for the test; protection is the negative, which a network learns to
    undo."""
    (root,) = small_dataset.glob("Synthetic*")
    made = {}
    for part, source in (("train", "bounding_box_train"), ("test", "bounding_box_test")):
        made[part] = tmp_path / part
        made[part].mkdir()
        for file in sorted((root / source).glob("*.jpg")):
            with Image.open(file) as picture:
                Image.fromarray(255 - np.array(picture)).save(made[part] / f"{file.stem}.png")
        made[f"raw_{part}"] = root / source
    return made


def words(folders, **options):
    paths = {
        "raw": folders["raw_train"],
        "protected": folders["train"],
        "test-raw": folders["raw_test"],
        "test-protected": folders["test"],
    }
    options = {**paths, "epochs": 6, "width": 8, "batch-size": 8, "device": "cpu", **options}
    return [str(word) for name, value in options.items() for word in (f"--{name}", value)]


def figures(printed):
    return [float(value) for value in re.findall(r"([\d.]+) dB", printed)]


def test_what_can_be_undone_is_undone(folders, tmp_path, capsys):
    assert attack.main(words(folders, picture=tmp_path / "seen.png")) == 0
    as_stored, attacked = figures(capsys.readouterr().out)
    assert attacked > as_stored + 5
    with Image.open(tmp_path / "seen.png") as picture:
        rows = np.split(np.array(picture), 3)
    assert np.array_equal(255 - rows[0], rows[1])  # the files are JPEG and PNG of the same pixels
    errors, values = 0.0, 0
    for file in sorted(folders["test"].glob("*.png")):
        with Image.open(file) as protected, Image.open(folders["raw_test"] / f"{file.stem}.jpg") as raw:
            pair = [np.array(image.convert("RGB")).astype(np.float64) for image in (protected, raw)]
        errors, values = errors + np.square(pair[0] - pair[1]).sum(), values + pair[0].size
    assert as_stored == pytest.approx(10 * np.log10(255**2 * values / errors), abs=0.006)
    first = rows[2][:, :32], rows[0][:, :32]
    assert (
        peak_signal_noise_ratio(
            *(fastreid_privacy.core.images.to_unit(_tensor(image)) for image in first), data_range=2.0
        )
        > as_stored
    )


def _tensor(image):
    import torch

    return torch.from_numpy(np.ascontiguousarray(image)).float()


def test_one_seed_is_one_attack(folders, capsys):
    results = []
    for seed in (0, 0, 1):
        assert attack.main(words(folders, epochs=1, seed=seed)) == 0
        results.append(figures(capsys.readouterr().out))
    assert results[0] == results[1] != results[2]


def test_a_protected_file_without_its_raw_one_is_named(folders, tmp_path, capsys):
    Image.new("RGB", (32, 64)).save(folders["train"] / "stranger.png")
    assert attack.main(words(folders)) == 2
    assert f"{folders['raw_train']} holds no raw file of stranger.png" in capsys.readouterr().err
    with pytest.raises(UserError, match="stranger"):
        attack.Pairs(folders["raw_train"], folders["train"])


def test_sizes_that_the_attacker_cannot_halve_are_refused(folders, tmp_path, capsys):
    odd = tmp_path / "odd"
    odd.mkdir()
    for file in folders["train"].glob("*.png"):
        Image.new("RGB", (33, 63)).save(odd / file.name)
    assert attack.main(words(folders, protected=odd)) == 2
    assert "33×63 cannot be halved twice" in capsys.readouterr().err
