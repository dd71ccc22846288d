"""Identities and cameras of fastreid's data sets: from the file's name alone, with all its digits; what does
not fit is named, with the rule."""

from __future__ import annotations

from in_process import anonymize

from fastreid_privacy.config import load_config  # before fastreid: importing the package makes it work

# isort: split
import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from fastreid.data.datasets.market1501 import Market1501

from fastreid_privacy.compat.patching import original_of
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.data import load_dataset

ABOVE = "site3_c2/p7_s1"  # folders above a data set that are named as its files are
LAYOUTS = {  # the folders of training, query and gallery images
    "Market1501": [
        f"Market-1501-v15.09.15/{part}" for part in ("bounding_box_train", "query", "bounding_box_test")
    ],
    "DukeMTMC": [f"DukeMTMC-reID/{part}" for part in ("bounding_box_train", "query", "bounding_box_test")],
    "VeRi": ["veri/image_train", "veri/image_query", "veri/image_test"],
}


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def root(tmp_path, monkeypatch):
    """FASTREID_DATASETS below :data:`ABOVE`."""
    folder = tmp_path / ABOVE
    folder.mkdir(parents=True)
    monkeypatch.setenv("FASTREID_DATASETS", str(folder))
    return folder


def load(name):
    return load_dataset(load_config("", ["MODEL.DEVICE", "cpu"]), name)


def labels(items):
    return [tuple(item[1:]) for item in items]


# -- read from the name --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "files", "expected"),
    [
        ("Market1501", ["0002_c1s1_000451_03.jpg", "1501_c6s4_000001_00.jpg"], [(2, 0), (1501, 5)]),
        ("Market1501", ["-1_c1s1_000001_00.jpg", "0000_c3s1_000001_00.jpg"], [(0, 2)]),
        ("DukeMTMC", ["0001_c2_f0046182.jpg", "7140_c8_f0046182.jpg"], [(1, 1), (7140, 7)]),
        ("VeRi", ["0001_c001_00016450_0.jpg", "0776_c020_00016450_0.jpg"], [(1, 0), (776, 19)]),
    ],
)
def test_folders_above_a_data_set_give_no_labels(root, name, files, expected):
    for folder in LAYOUTS[name]:
        touch(root / folder, *files)
    data = load(name)
    assert labels(data.query) == labels(data.gallery) == expected
    prefix = data.dataset_name
    assert labels(data.train) == [(f"{prefix}_{pid}", f"{prefix}_{camera}") for pid, camera in expected]


def test_fastreid_alone_reads_the_folder_above(root):
    touch(root / LAYOUTS["Market1501"][1], "0002_c1s1_000451_03.jpg")
    touch(root / LAYOUTS["Market1501"][0], "0002_c1s1_000451_03.jpg")
    touch(root / LAYOUTS["Market1501"][2], "0002_c1s1_000451_03.jpg")
    data = Market1501(root=str(root))
    original = original_of(Market1501, "process_dir")
    assert labels(original(data, data.query_dir, is_train=False)) == [(3, 1)]
    assert labels(data.query) == [(2, 0)]


def test_cuhk_sysu_below_a_folder_of_that_form(root):
    touch(root / "cuhk_sysu" / "cropped_images", "p11_s9_1.jpg", "p12_s10_1.jpg")
    data = DATASET_REGISTRY.get("cuhkSYSU")(root=str(root))
    assert labels(data.train) == [("cuhksysu_11", "cuhksysu_0"), ("cuhksysu_12", "cuhksysu_0")]


def test_a_folder_with_brackets_in_its_name(root, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(root / "set[1]"))
    for folder in LAYOUTS["Market1501"]:
        touch(root / "set[1]" / folder, "0002_c1s1_000451_03.jpg")
    assert labels(load("Market1501").gallery) == [(2, 0)]


def msmt17(root, line):
    name = "MSMT17_V1/my_pictures_9/0000_000_12_0303morning_0008_0.jpg"
    touch(root, name.replace("V1", "V1/train"), name.replace("V1", "V1/test"))
    for part in ("train", "val", "query", "gallery"):
        (root / "MSMT17_V1" / f"list_{part}.txt").write_text(line)


def test_msmt17_below_folders_with_underscores_and_with_empty_lines(root):
    msmt17(root, "\nmy_pictures_9/0000_000_12_0303morning_0008_0.jpg 0\n  \n\n")
    data = load("MSMT17")
    assert labels(data.train) == [("msmt17_0", "msmt17_11")] and labels(data.query) == [(1, 11)]
    assert data.query[0][0] == str(root / "MSMT17_V1/test/my_pictures_9/0000_000_12_0303morning_0008_0.jpg")


def test_lists_of_other_data_sets_may_have_empty_lines(root):
    for name in ("train_list", "test_list_13164"):
        touch(root, f"vehicleid/train_test_split/{name}.txt")
        (root / f"vehicleid/train_test_split/{name}.txt").write_text("0000001 7\n0000002 7\n\n")
    touch(root, "vehicleid/image/0000001.jpg")
    assert sorted(labels(DATASET_REGISTRY.get("VehicleID")(root=str(root)).train)) == [
        ("vehicleid_7", "vehicleid_1"),
        ("vehicleid_7", "vehicleid_2"),
    ]
    touch(root, "VERI-Wild/images/1.jpg", "VERI-Wild/train_test_split/x")
    split = root / "VERI-Wild/train_test_split"
    (split / "vehicle_info.txt").write_text("id;camera\n7/000001;3\n\n")
    for name in ("train_list", "test_10000_query", "test_10000"):
        (split / f"{name}.txt").write_text("\n7/000001.jpg\n")
    assert labels(DATASET_REGISTRY.get("VeRiWild")(root=str(root)).query) == [(7, 3)]
    touch(root, "AirportALERT/filepath.txt")
    (root / "AirportALERT/filepath.txt").write_text("cam1\\11001\\1.jpg\n\n")
    assert labels(DATASET_REGISTRY.get("AirportALERT")(root=str(root)).train) == [
        ("airport_11001", "airport_cam1")
    ]


# -- refused by name -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "odd", "words"),
    [
        ("Market1501", "preview.jpg", ["<identity>_c<camera>", "0002_c1s1_000451_03.jpg", "move it away"]),
        ("Market1501", "site3_c2_0002_c1s1.jpg", ["not named as Market1501 wants it"]),
        ("Market1501", "1600_c1s1_000451_03.jpg", ["identity 1600", "-1 to 1501", "MarketFolder"]),
        ("Market1501", "0002_c7s1_000451_03.jpg", ["camera 7", "1 to 6", "MarketFolder"]),
        ("Market1501", "0002_c12s1_000451_03.jpg", ["camera 12", "1 to 6"]),
        ("DukeMTMC", "0001_c9_f0046182.jpg", ["camera 9", "1 to 8"]),
        ("DukeMTMC", "0001_c10_f0046182.jpg", ["camera 10", "1 to 8"]),
        ("VeRi", "0001_c021_00016450_0.jpg", ["camera 21", "1 to 20"]),
    ],
)
def test_a_file_that_does_not_fit_is_named_with_the_rule(root, name, odd, words):
    for folder in LAYOUTS[name]:
        touch(root / folder, "0002_c1_000451.jpg")
    touch(root / LAYOUTS[name][0], odd)
    with pytest.raises(UserError) as error:
        load(name)
    message = str(error.value)
    assert all(word in message for word in [str(root / LAYOUTS[name][0] / odd), *words]), message
    assert "is not under" not in message


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0000/0000_000_12_0303morning_0008_0.jpg\n", ["list_train.txt", "0000_000_12", "identity"]),
        ("0000/0000_000_12_0303morning_0008_0.jpg x\n", ["list_train.txt", "a path and an identity"]),
        ("0000/0000_000_00_0303morning_0008_0.jpg 0\n", ["0000_000_00_0303", "camera 0"]),
        ("0000/preview.jpg 0\n", ["0000/preview.jpg", "<identity>_<number>_<camera>"]),
    ],
)
def test_a_line_of_msmt17_that_does_not_fit_is_named(root, line, words):
    msmt17(root, line)
    with pytest.raises(UserError) as error:
        load("MSMT17")
    assert all(word in str(error.value) for word in words) and "is not under" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "odd", "rule"),
    [
        ("GRID", "underground_reid/images/preview.jpeg", "img_info[1]"),
        ("PRID", "prid_2011/slim_train/odd/cam1_1.png", "split('_')[1]"),
        ("SAIVT", "SAIVT-SoftBio/cropped_images/7/preview.jpeg", "split('-')[2]"),
        ("SenseReID", "SenseReID/test_prob/preview.jpg", "img_info[1]"),
    ],
)
def test_every_class_of_fastreid_names_the_file_and_its_own_rule(root, name, odd, rule):
    touch(root, odd)
    with pytest.raises(UserError) as error:
        load(name)
    message = str(error.value)
    assert all(word in message for word in (name, str(root / odd), rule)), message


def test_the_command_says_it_in_one_line(root, tmp_path, capsys):
    for folder in LAYOUTS["Market1501"]:
        touch(root / folder, "0002_c1s1_000451_03.jpg")
    touch(root / LAYOUTS["Market1501"][0], "preview.jpg")
    words = ["--input", "Market1501", "--output", str(tmp_path / "out"), "--method", "blur"]
    assert anonymize(*words) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and "preview.jpg" in err and not out
    assert not (tmp_path / "out").exists()


class Faulty(ImageDataset):
    """A data set of the user's own with a fault in its code."""

    def __init__(self, root="", **kwargs):
        super().__init__(lambda: int("seven"), [], [], **kwargs)


def test_faults_of_a_class_of_the_user_s_own_keep_their_traceback(root, monkeypatch):
    monkeypatch.setitem(DATASET_REGISTRY._obj_map, "Faulty", Faulty)
    with pytest.raises(ValueError, match="seven"):
        load("Faulty")
