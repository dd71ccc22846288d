"""Data sets as they are found: MSMT17's cameras, Market-1501 folders, missing and odd files."""

from fastreid_privacy.compat.patching import original_of  # importing the package makes fastreid work

# isort: split
import fastreid.data.data_utils
import numpy as np
import pytest
import torch
from fastreid.data.common import CommDataset
from PIL import Image

from fastreid_privacy.config import load_config
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.folders import ENDINGS
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.data import load_dataset
from fastreid_privacy.data.datasets import read_market_folder
from fastreid_privacy.data.loaders import build_test_loader, validation_split


def read(path):
    """The pixels that training and testing see of a file."""
    return CommDataset([(str(path), 1, 0)], transform=np.asarray, relabel=False)[0]["images"]


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


def market_folder_labels(tmp_path, **names):
    """(identity, camera) of MarketFolder's training, query and gallery items."""
    for part in ("TRAIN", "QUERY", "GALLERY"):
        market_folder(tmp_path / part, names.get(part, ["0002_c1s1_000451_03.jpg"]))
    cfg = config(**{f"DATASETS.FOLDER.{part}": tmp_path / part for part in ("TRAIN", "QUERY", "GALLERY")})
    data = load_dataset(cfg, "MarketFolder")
    train = [tuple(int(label.split("_")[1]) for label in item[1:]) for item in data.train]
    return train, *([item[1:] for item in part] for part in (data.query, data.gallery))


def test_cameras_may_count_from_0(tmp_path):
    """In all three folders alike: a query's camera must be that of the gallery."""
    train, query, gallery = market_folder_labels(
        tmp_path,
        TRAIN=["0002_c1_1.jpg", "0002_c2_1.jpg"],
        QUERY=["0003_c1_1.jpg"],
        GALLERY=["0003_c0_1.jpg", "0003_c1_1.jpg"],
    )
    assert (train, query, gallery) == ([(2, 1), (2, 2)], [(3, 1)], [(3, 0), (3, 1)])


def test_hidden_files_are_passed_over_and_others_named(tmp_path, caplog):
    folder = market_folder(tmp_path / "TRAIN", ["0002_c1s1_000451_03.jpg"])
    for name in ("._0002_c1s1_000451_03.jpg", ".DS_Store", "0004_c1s1.heic", "notes.txt"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    (folder / "0003_c1").mkdir()
    train, *_ = market_folder_labels(tmp_path)
    assert train == [(2, 0)]
    (said,) = [record.getMessage() for record in caplog.records]
    assert (
        f"{folder}: passed over, for they are no images that can be read: 0003_c1/, 0004_c1s1.heic, notes.txt"
        in said
        and "._" not in said
        and "DS_Store" not in said
    )


def test_every_image_that_a_collection_may_hold_is_read(tmp_path):
    endings = [ending[1:] for ending in ENDINGS] + ["JPEG", "TIFF"]
    names = [f"{number + 1:04d}_c1s1.{ending}" for number, ending in enumerate(endings)]
    train, *_ = market_folder_labels(tmp_path, TRAIN=names)
    assert train == [(number + 1, 0) for number in range(len(endings))]
    for name in names:
        assert np.asarray(read(tmp_path / "TRAIN" / name)).shape == (8, 4, 3)


def test_identity_0_is_not_dropped_from_training_without_a_word(tmp_path, caplog):
    names = ["0000_c1s1_1.jpg", "0000_c1s1_2.jpg", "0002_c1s1_1.jpg"]
    train, _, gallery = market_folder_labels(tmp_path, TRAIN=names, GALLERY=names)
    assert train == [(2, 0)] and [pid for pid, _ in gallery] == [0, 0, 2]
    (said,) = [record.getMessage() for record in caplog.records]
    assert str(tmp_path / "TRAIN") in said and "2 images of identity 0 are left out of training" in said


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
    with Image.open(path) as image:
        assert np.array_equal(read(path), np.asarray(image.convert("RGB")))


def test_an_unreadable_image_is_named(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8 not a picture")
    with pytest.raises(UserError, match=r"broken\.jpg cannot be read"):
        read(path)


def odd_pictures(folder):
    """name → the pixels that a viewer shows of it."""
    rng = np.random.default_rng(0)
    rgb, alpha = rng.integers(0, 256, (8, 4, 3), np.uint8), rng.integers(0, 256, (8, 4, 1), np.uint8)
    deep, levels = rng.integers(0, 65536, (8, 4), np.uint16), rng.integers(0, 256, (8, 4), np.uint8)
    hidden, seen = rgb.copy(), rgb.copy()
    hidden[:4], seen[:4] = (7, 8, 9), 255
    opaque = np.repeat(np.repeat([[0], [255]], 4, axis=0), 4, axis=1).astype(np.uint8)
    share = alpha / 255
    turned = Image.Exif()
    turned[0x0112] = 6  # a viewer turns it clockwise
    pictures = {
        "deep.png": (Image.fromarray(deep), np.round(deep / 257)[..., None].repeat(3, 2)),
        "deep.tif": (Image.fromarray(deep), np.round(deep / 257)[..., None].repeat(3, 2)),
        "hidden.png": (Image.fromarray(np.dstack([hidden, opaque])), seen),
        "hidden.webp": (Image.fromarray(np.dstack([hidden, opaque])), seen),
        "alpha.png": (Image.fromarray(np.dstack([rgb, alpha])), rgb * share + 255 * (1 - share)),
        "grey-alpha.png": (
            Image.fromarray(np.dstack([levels, alpha])),
            (levels[..., None] * share + 255 * (1 - share)).repeat(3, 2),
        ),
        "turned.png": (Image.fromarray(rgb), np.rot90(rgb, -1)),
    }
    for name, (image, _) in pictures.items():
        options = {"exif": turned} if name == "turned.png" else {"lossless": True, "exact": True}
        image.save(folder / name, **(options if name.endswith(("webp", "turned.png")) else {}))
    return {name: seen for name, (_, seen) in pictures.items()}


def test_training_sees_the_pixels_of_a_collection(tmp_path):
    """Not those of fastreid's reader, which differ for each of these files, or end in an error."""
    upstream = original_of(fastreid.data.data_utils, "read_image")
    for name, seen in odd_pictures(tmp_path).items():
        pixels = read(tmp_path / name)
        np.testing.assert_array_equal(pixels, read_picture(tmp_path / name), err_msg=name)
        assert np.abs(pixels - seen.astype(float)).max() <= 1, name  # of blending and rounding
        if name != "turned.png":
            theirs = np.asarray(upstream(str(tmp_path / name), format="RGB"))
            assert np.abs(theirs - seen.astype(float)).max() > 100, name


def test_values_without_a_range_are_refused_in_training_as_in_a_collection(tmp_path):
    levels = np.random.default_rng(0).random((8, 4), np.float32) * 1000
    Image.fromarray(levels).save(tmp_path / "heat.tif")
    with pytest.raises(UserError, match=r"heat\.tif cannot be read: its values are floating-point numbers"):
        read(tmp_path / "heat.tif")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("name", ["a.jpg", "turned.jpg", "a.png"])
def test_ordinary_pictures_have_fastreid_s_pixels_to_the_bit(tmp_path, mode, name):
    mode = "RGB" if (mode, name) == ("CMYK", "a.png") else mode
    exif = Image.Exif()
    exif[0x0112] = 8 if name == "turned.jpg" else 1
    levels = np.random.default_rng(1).integers(0, 256, (40, 24, 3), dtype=np.uint8)
    Image.fromarray(levels).convert(mode).save(tmp_path / name, exif=exif)
    upstream = original_of(fastreid.data.data_utils, "read_image")
    np.testing.assert_array_equal(
        read(tmp_path / name), np.asarray(upstream(str(tmp_path / name), format="RGB"))
    )


def test_fastreid_s_reader_takes_its_other_formats(tmp_path):
    levels = picture(tmp_path / "a.png")
    bgr = fastreid.data.data_utils.read_image(str(tmp_path / "a.png"), format="BGR")
    np.testing.assert_array_equal(np.asarray(bgr), levels[..., ::-1])
    grey = fastreid.data.data_utils.read_image(str(tmp_path / "a.png"), format="L")
    np.testing.assert_array_equal(np.asarray(grey), np.asarray(Image.fromarray(levels).convert("L")))


def test_a_16_bit_query_is_the_same_image_as_its_8_bit_copy(tmp_path):
    levels = np.random.default_rng(2).integers(0, 256, (16, 8), dtype=np.uint8)
    for part in ("TRAIN", "QUERY", "GALLERY"):
        (tmp_path / part).mkdir()
        deep = part == "QUERY"
        content = levels.astype(np.uint16) * 257 if deep else levels
        Image.fromarray(content).save(tmp_path / part / f"0001_c{1 + deep}s1_000001_00.png")
    folders = {f"DATASETS.FOLDER.{part}": tmp_path / part for part in ("TRAIN", "QUERY", "GALLERY")}
    cfg = config(
        **folders, **{"INPUT.SIZE_TRAIN": [16, 8], "INPUT.SIZE_TEST": [16, 8], "DATALOADER.NUM_WORKERS": 0}
    )
    loader, queries = build_test_loader(cfg, "MarketFolder")
    images = next(iter(loader))["images"]
    assert queries == 1 and len(images) == 2 and torch.equal(images[0], images[1])
    assert torch.equal(images[0, 0], torch.from_numpy(levels).float())
