"""Data sets as they are found: MSMT17's cameras, Market-1501 folders, missing and odd files."""

import numpy as np
import pytest
from PIL import Image

from fastreid_privacy.config import load_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.data import load_dataset
from fastreid_privacy.data.datasets import read_market_folder
from fastreid_privacy.data.loaders import PedestrianImages, validation_split


def picture(path, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(0).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    Image.fromarray(levels).convert(mode).save(path)
    return levels


def config(**options):
    return load_config("", ["MODEL.DEVICE", "cpu", *(str(word) for pair in options.items() for word in pair)])


def test_msmt17_keeps_its_15_cameras(tmp_path, monkeypatch):
    root = tmp_path / "MSMT17_V1"
    lists = {name: [] for name in ("train", "val", "query", "gallery")}
    for pid in range(8):
        for camera in range(1, 16):
            part = "train" if pid < 4 else "query" if camera == 1 else "gallery"
            name = f"{pid:04d}/{pid:04d}_000_{camera:02d}_0303morning_0008_0.jpg"
            picture(root / ("train" if pid < 4 else "test") / name)
            lists[part].append(f"{name} {pid if pid < 4 else pid - 4}")
    for name, lines in lists.items():
        (root / f"list_{name}.txt").write_text("\n".join(lines) + "\n" if lines else "")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    cfg = config(
        **{
            "DATASETS.NAMES": "['MSMT17']",
            "DATASETS.TESTS": "['MSMT17']",
            "DATASETS.VALIDATION.FRACTION": 0.5,
        }
    )
    data = load_dataset(cfg, "MSMT17")
    assert len({camera for _, _, camera in data.train}) == 15
    assert {camera for _, _, camera in data.query + data.gallery} == set(range(15))
    split = validation_split(cfg)
    assert {camera for _, _, camera in split.query + split.gallery} == set(range(15))


def market_folder(folder, names):
    for name in names:
        picture(folder / name)
    return folder


def test_a_folder_in_market_naming_is_a_data_set(tmp_path):
    names = [
        "0002_c1s1_000451_03.jpg",
        "0002_c2s1_000452_01.png",
        "0007_c12s1_000001_00.jpg",
        "-1_c1s1_000001_00.jpg",
        "0000_c3s1_000001_00.jpg",
    ]
    folders = {part: market_folder(tmp_path / part, names) for part in ("TRAIN", "QUERY", "GALLERY")}
    cfg = config(**{f"DATASETS.FOLDER.{part}": folder for part, folder in folders.items()})
    data = load_dataset(cfg, "MarketFolder")
    assert sorted((pid, camera) for _, pid, camera in data.train) == [
        ("marketfolder_2", "marketfolder_0"),
        ("marketfolder_2", "marketfolder_1"),
        ("marketfolder_7", "marketfolder_11"),
    ]
    # distractors stay, junk goes
    assert sorted((pid, camera) for _, pid, camera in data.gallery) == [(0, 2), (2, 0), (2, 1), (7, 11)]


def test_folder_errors_name_the_key_and_the_file(tmp_path):
    with pytest.raises(UserError, match=r"DATASETS\.FOLDER\.QUERY is .*nowhere"):
        read_market_folder(tmp_path / "nowhere", "DATASETS.FOLDER.QUERY")
    with pytest.raises(UserError, match=r"DATASETS\.FOLDER\.QUERY is ''"):
        read_market_folder("", "DATASETS.FOLDER.QUERY")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        read_market_folder(tmp_path / "empty", "DATASETS.FOLDER.TRAIN")
    with pytest.raises(UserError, match=r"holiday\.jpg is not named"):
        read_market_folder(market_folder(tmp_path / "odd", ["holiday.jpg"]), "DATASETS.FOLDER.TRAIN")


def test_a_missing_data_set_says_where_and_what_runs_without_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    with pytest.raises(UserError) as error:
        load_dataset(config(), "Market1501")
    message = str(error.value)
    assert (
        str(tmp_path) in message
        and "FASTREID_DATASETS" in message
        and "https://" in message
        and "configs/Synthetic" in message
    )


@pytest.mark.parametrize(
    ("mode", "ending"), [("RGB", "png"), ("RGBA", "png"), ("P", "png"), ("L", "png"), ("CMYK", "jpg")]
)
def test_images_of_any_mode_are_read_as_rgb(tmp_path, mode, ending):
    path = tmp_path / f"image.{ending}"
    picture(path, mode)
    item = PedestrianImages([(str(path), 1, 0)], transform=np.asarray, relabel=False)[0]
    with Image.open(path) as image:
        assert np.array_equal(item["images"], np.asarray(image.convert("RGB")))


def test_an_unreadable_image_is_named(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8 not a picture")
    with pytest.raises(UserError, match=r"broken\.jpg cannot be read"):
        PedestrianImages([(str(path), 1, 0)], transform=np.asarray, relabel=False)[0]
