"""The guard: each protected image holds the thresholds by itself; its share against a slow search."""

from __future__ import annotations

from conftest import initial_weights  # before fastreid: importing the package makes it work

# isort: split
import shutil

import numpy as np
import pytest
import torch
from in_process import anonymize, contents, recover
from rendered_video import write_video
from test_collection import pixels, raw  # noqa: F401
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from fastreid_privacy.checkpoints.image_maps import ImageMap
from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.collection.guard import Guard, hold
from fastreid_privacy.collection.protecting import ProtectingBatches
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.images import to_bytes
from fastreid_privacy.core.pictures import read_picture, resize
from fastreid_privacy.desensitize import DESENSITIZER_REGISTRY, Desensitizer
from fastreid_privacy.evaluation.similarity import SimilarityTo
from fastreid_privacy.manifest import FORMAT, MANIFEST, read_manifest, write_manifest
from fastreid_privacy.model.storage import ImageStorage
from fastreid_privacy.model.supervision import Thresholds
from fastreid_privacy.model.verdict import Constraint
from fastreid_privacy.video.regions import gather
from fastreid_privacy.video.stream import read_frames

PNG = ImageStorage("png")


def shown(image, reference):
    """PSNR and SSIM of one 3×H×W image, by torchmetrics."""
    image, reference = image[None].double(), reference[None].double()
    psnr = peak_signal_noise_ratio(image, reference, data_range=255.0)
    return float(psnr), float(structural_similarity_index_measure(image, reference, data_range=255.0))


def no_more(found, limit, thresholds):
    return found[0] < limit[0] + thresholds.psnr and found[1] < limit[1] + thresholds.ssim


def slowly(image, ours, theirs, storage, thresholds):
    """The largest whole percent that holds, as a file keeps it: every one is tried, from the top."""
    limit = shown(storage(theirs[None])[0], image)
    for percent in range(100, 0, -1):
        mixed = np.rint((ours.double().numpy() * percent + theirs.double().numpy() * (100 - percent)) / 100)
        if no_more(shown(storage(torch.from_numpy(mixed)[None].float())[0], image), limit, thresholds):
            return percent, mixed
    return 0, theirs.numpy()


def people(count, seed=0, size=(48, 24)):
    """Pictures with soft shapes and some grain, their blurred ones, and protected ones between both."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 3, generator=generator) * 255
    images = torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 255)
    images = (images + 12 * torch.randn(images.shape, generator=generator)).clamp(0, 255).round()
    blurred = Desensitizer("blur")(images).round()
    mix = torch.linspace(0, 1, count).view(-1, 1, 1, 1)
    noise = 8 * torch.randn(images.shape, generator=generator)
    return images, (mix * images + (1 - mix) * blurred + noise).clamp(0, 255).round(), blurred


@pytest.mark.parametrize("size", [(11, 11), (48, 24), (13, 40)])
def test_ssim_equals_torchmetrics(size):
    images, other, _ = people(5, size=size)
    expected = structural_similarity_index_measure(other, images, data_range=255.0, reduction="none")
    likeness = SimilarityTo(images)
    torch.testing.assert_close(likeness(other), expected, rtol=0, atol=2e-6)
    rows = torch.tensor([3, 1])
    assert torch.equal(likeness.of(rows)(other[rows]), likeness(other)[rows])
    low = structural_similarity_index_measure(other - 99, images, data_range=25.5, reduction="none")
    torch.testing.assert_close(SimilarityTo(images, 25.5)(other - 99), low, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("storage", "thresholds"),
    [("png", Thresholds()), ("png", Thresholds(psnr=0.2, ssim=0.5)), ("jpeg75", Thresholds(ssim=0.02))],
)
def test_the_largest_share_that_holds_is_kept(storage, thresholds):
    storage = ImageStorage(storage)
    images, ours, theirs = people(12)
    held = hold(images, ours, theirs, storage, thresholds)
    expected = [slowly(*some, storage, thresholds) for some in zip(images, ours, theirs, strict=True)]
    assert held.kept.tolist() == [percent for percent, _ in expected]
    assert len({*held.kept.tolist()} - {0, 100}) > 2 and 100 in held.kept  # some of each kind
    for row, (_, picture) in enumerate(expected):
        assert np.array_equal(held.images[row].numpy(), picture)
        limit = shown(storage(theirs[row : row + 1])[0], images[row])
        both = (storage(given[row : row + 1])[0] for given in (ours, held.images))
        before, after = (shown(image, images[row]) for image in both)
        assert no_more(before, limit, thresholds) == (held.kept[row] == 100)
        assert no_more(after, limit, thresholds)
        for found, told in ((before, held.before), (after, held.after)):
            assert (float(told.psnr[row]), float(told.ssim[row])) == pytest.approx(found, abs=1e-5)


def test_the_raw_image_itself_is_not_let_through():
    images, _, theirs = people(3)
    held = hold(images, images, theirs, PNG, Thresholds())
    assert (held.kept < 100).all() and torch.isinf(held.before.psnr).all()


def test_the_desensitized_image_is_what_is_left_at_least():
    """With thresholds that not even it keeps, and of a picture of one colour, which it does not change."""
    images, _, theirs = people(3)
    held = hold(images, images, theirs, PNG, Thresholds(psnr=-1.0))
    assert held.kept.tolist() == [0, 0, 0] and torch.equal(held.images, theirs)
    flat = torch.full((1, 3, 16, 16), 90.0)
    assert torch.equal(hold(flat, flat, flat, PNG, Thresholds()).images, flat)


# -- collections ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Initial weights of a model under blur."""
    return initial_weights(tmp_path_factory.mktemp("blur") / "model_best.pth")


@pytest.fixture
def shows_all(monkeypatch):
    """Every trained anonymizer gives the raw image, a little darker: it hides nothing."""
    monkeypatch.setattr(ImageMap, "_of_network", lambda self, images, desensitized: images * 0.95)


def at_size(file, size=(64, 32)):
    """A raw picture as the network gets it: 3×H×W."""
    return torch.from_numpy(resize(read_picture(file), size)).permute(2, 0, 1).float()


def stored(file):
    return torch.from_numpy(pixels(file)).permute(2, 0, 1).float()


@pytest.mark.parametrize("words", [(), ("--format", "jpg", "--quality", "80")])
def test_every_file_holds_the_thresholds_by_itself(words, weights, raw, shows_all, tmp_path, capsys):  # noqa: F811
    out, blur = tmp_path / "out", Desensitizer("blur")
    assert anonymize("--weights", weights, "--input", raw, "--output", out, *words) == 0
    manifest = read_manifest(out / MANIFEST)
    assert manifest.header["guard"] == {"psnr": 1.0, "ssim": 0.05}
    storage, kept = ImageStorage("jpeg80" if words else "png"), []
    for number, (path, entry) in enumerate(manifest.entries.items()):
        kept.append(entry["kept"])
        if number % 4:  # the slow search is slow
            continue
        image = at_size((raw / path).with_suffix(".jpg"))
        theirs = blur(image[None]).round()
        percent, picture = slowly(image, (image * 0.95).round(), theirs[0], storage, Thresholds())
        assert 0 < percent < 100 and entry["kept"] == percent / 100
        assert torch.equal(stored(out / path), storage(torch.from_numpy(picture)[None].float())[0])
    printed = capsys.readouterr().out
    assert "guard: 14 of 14 images showed more than the thresholds allow" in printed
    assert f"{sum(kept) / 14:.0%} of the anonymizer's image is kept on average, {min(kept):.0%}" in printed
    assert "mean PSNR" in printed and "of this run" not in printed


def test_without_the_guard_files_are_as_the_anonymizer_gives_them(weights, raw, shows_all, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "out"
    assert anonymize("--weights", weights, "--input", raw, "--output", out, "--no-guard") == 0
    manifest = read_manifest(out / MANIFEST)
    assert "guard" not in manifest.header and "guard:" not in capsys.readouterr().out
    for path, entry in manifest.entries.items():
        assert "kept" not in entry
        assert torch.equal(stored(out / path), (at_size((raw / path).with_suffix(".jpg")) * 0.95).round())
    # that is another run
    assert anonymize("--weights", weights, "--input", raw, "--output", out) == 2
    said = capsys.readouterr().err
    assert "made otherwise (guard None there, {'psnr': 1.0, 'ssim': 0.05} here)" in said
    assert "choose another folder, or continue it with --no-guard" in said


def test_a_folder_of_a_version_without_the_guard_is_continued_without_it(weights, raw, tmp_path, capsys):  # noqa: F811
    """What such a version began has no word of the guard, neither in line 1 nor in the files' lines."""
    out, words = tmp_path / "out", ("--weights", weights, "--input", raw, "--output", tmp_path / "out")
    assert anonymize(*words, "--no-guard") == 0
    before = contents(out)
    next(out.rglob("*.png")).unlink()
    assert anonymize(*words, "--format", "jpg") == 2
    assert "--no-guard" not in capsys.readouterr().err  # it would not help: the format differs, too
    assert anonymize(*words) == 2 and "continue it with --no-guard" in capsys.readouterr().err
    assert anonymize(*words, "--no-guard") == 0 and contents(out) == before
    # the other way round there is no such remedy
    assert anonymize("--weights", weights, "--input", raw, "--output", tmp_path / "held") == 0
    capsys.readouterr()
    assert anonymize("--weights", weights, "--input", raw, "--output", tmp_path / "held", "--no-guard") == 2
    assert "choose another folder\n" in capsys.readouterr().err


def test_a_continued_run_ends_byte_identical(weights, raw, shows_all, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "out"
    words = ("--weights", weights, "--input", raw, "--output", out, "--batch-size", 4)
    assert anonymize(*words) == 0
    before = contents(out)
    gone = sorted(path for path in before if path.endswith(".png"))[2:5]
    for path in gone:
        (out / path).unlink()
    capsys.readouterr()
    assert anonymize(*words) == 0
    assert contents(out) == before
    assert "guard: 14 of 14 images" in (printed := capsys.readouterr().out)
    assert "of this run)" in printed  # batches are whole, so it is more than those three
    assert recover("--key", weights, "--input", out, "--output", tmp_path / "back", "--verify", raw) == 0


def test_the_thresholds_are_those_of_the_model(weights, raw, shows_all, tmp_path):  # noqa: F811
    checkpoint = torch.load(weights, weights_only=True)
    checkpoint["config"] = checkpoint["config"].replace("EPS_PSNR: 1.0", "EPS_PSNR: 60.0")
    checkpoint["config"] = checkpoint["config"].replace("EPS_SSIM: 0.05", "EPS_SSIM: 2.0")
    torch.save(checkpoint, tmp_path / "lenient.pth")
    out = tmp_path / "out"
    assert anonymize("--weights", tmp_path / "lenient.pth", "--input", raw, "--output", out) == 0
    manifest = read_manifest(out / MANIFEST)
    assert manifest.header["guard"] == {"psnr": 60.0, "ssim": 2.0}
    assert {entry["kept"] for entry in manifest.entries.values()} == {1.0}


def test_the_noisy_image_is_the_one_that_the_anonymizer_saw(noise_weights, raw, monkeypatch, tmp_path):  # noqa: F811
    """With thresholds that nothing keeps, the files are these images, which depend on a secret."""
    seen_ones = []

    def remember(self, images, desensitized):
        seen_ones.extend(to_bytes(desensitized))
        return images

    monkeypatch.setattr(ImageMap, "_of_network", remember)
    checkpoint = torch.load(noise_weights, weights_only=True)
    checkpoint["config"] = checkpoint["config"].replace("EPS_PSNR: 1.0", "EPS_PSNR: -9.0")
    torch.save(checkpoint, tmp_path / "strict.pth")
    out = tmp_path / "out"
    assert anonymize("--weights", tmp_path / "strict.pth", "--input", raw, "--output", out) == 0
    entries = read_manifest(out / MANIFEST).entries
    for (path, entry), expected in zip(sorted(entries.items()), seen_ones, strict=False):
        assert entry["kept"] == 0 and torch.equal(stored(out / path), expected.float())


def test_noise_is_drawn_for_the_guard_where_the_anonymizer_sees_none(weights, raw, shows_all, tmp_path):  # noqa: F811
    """As of models under noise that saw raw images alone."""
    checkpoint = torch.load(weights, weights_only=True)
    checkpoint["config"] = checkpoint["config"].replace("NAME: blur", "NAME: noise")
    checkpoint["config"] = checkpoint["config"].replace("INPUT: auto", "INPUT: raw")
    torch.save(checkpoint, tmp_path / "noise.pth")
    for name in ("one", "two"):
        out = tmp_path / name
        assert anonymize("--weights", tmp_path / "noise.pth", "--input", raw, "--output", out) == 0
        assert "noise" in read_manifest(out / MANIFEST).header and not list(out.glob(".noise*"))
    one, two = (contents(tmp_path / name) for name in ("one", "two"))
    assert not any(one[path] == two[path] for path in one if path.endswith(".png"))


def test_graphs_know_their_desensitizer(weights, raw, tmp_path):  # noqa: F811
    graph = split_checkpoint(weights, tmp_path / "parts", None, onnx=True)["anonymizer_onnx"]
    for name, file in (("torch", weights), ("onnx", graph)):
        assert anonymize("--weights", file, "--input", raw, "--output", tmp_path / name) == 0
    torch_, onnx = (read_manifest(tmp_path / name / MANIFEST) for name in ("torch", "onnx"))
    assert onnx.header["guard"] == torch_.header["guard"]
    shares = [[entry["kept"] for entry in one.entries.values()] for one in (torch_, onnx)]
    assert np.abs(np.subtract(*shares)).max() <= 0.01  # the networks' last digits


def test_boxes_of_a_video_are_held_and_listed(weights, shows_all, tmp_path, capsys):
    coarse = np.random.default_rng(0).integers(0, 256, (4, 24, 32, 3), np.uint8)
    write_video(tmp_path / "video.mkv", [resize(picture, (240, 320)) for picture in coarse])
    boxes = [(1, 20, 30, 70, 140), (2, 40, 30, 70, 140), (2, 150, 60, 40, 100), (4, 60, 30, 70, 140)]
    (tmp_path / "boxes.txt").write_text("".join(f"{f},1,{x},{y},{w},{h}\n" for f, x, y, w, h in boxes))
    words = ("--weights", weights, "--input", tmp_path / "video.mkv", "--boxes", tmp_path / "boxes.txt")
    assert anonymize(*words, "--output", tmp_path / "out") == 0
    (entry,) = read_manifest(tmp_path / "out" / MANIFEST).entries.values()
    assert len(entry["kept"]) == len(entry["boxes"]) == 4 and max(entry["kept"]) < 1
    assert "guard: 4 of 4 images showed more" in capsys.readouterr().out
    frame, written = (
        [frame.pixels for frame in read_frames(tmp_path / name)] for name in ("video.mkv", "out/video.mkv")
    )
    for share, (number, left, top, width, height) in zip(entry["kept"], entry["boxes"], strict=True):
        cut, there = (one[number - 1][top : top + height, left : left + width] for one in (frame, written))
        image = torch.from_numpy(resize(cut, (64, 32))).permute(2, 0, 1).float()
        theirs = Desensitizer("blur")(image[None])[0].round()
        percent, picture = slowly(image, (image * 0.95).round(), theirs, PNG, Thresholds())
        assert percent / 100 == share
        assert np.array_equal(gather(there, (64, 32)), picture.transpose(1, 2, 0))
    assert recover("--key", weights, "--input", tmp_path / "out", "--output", tmp_path / "back") == 0


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["--guard", "--no-guard"])
def test_it_is_none_of_conventional_operators(word, raw, tmp_path, capsys):  # noqa: F811
    words = ("--method", "blur", "--input", raw, "--output", tmp_path / "out")
    assert anonymize(*words, word) == 2
    assert f"{word} is for trained anonymizers" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert anonymize(*words) == 0
    assert "guard" not in (tmp_path / "out" / MANIFEST).read_text()


def test_an_operator_that_is_not_there_is_named(weights, raw, tmp_path, capsys):  # noqa: F811
    checkpoint = torch.load(weights, weights_only=True)
    checkpoint["config"] = checkpoint["config"].replace("NAME: blur", "NAME: of_my_own")
    torch.save(checkpoint, tmp_path / "own.pth")
    words = ("--weights", tmp_path / "own.pth", "--input", raw, "--output", tmp_path / "out")
    assert anonymize(*words) == 2
    error = capsys.readouterr().err
    assert "of_my_own" in error and "--project, or give --no-guard" in error
    assert not (tmp_path / "out").exists()
    assert anonymize(*words, "--no-guard") == 0


def test_an_operator_that_depends_on_people_gets_them(weights, raw, monkeypatch, tmp_path, capsys):  # noqa: F811
    def masked(images, people):
        return images * 0 + images.new_tensor(people).view(-1, 1, 1, 1)

    monkeypatch.setitem(DESENSITIZER_REGISTRY._obj_map, "masked", masked)
    monkeypatch.setattr(ImageMap, "_of_network", lambda self, images, desensitized: images)
    checkpoint = torch.load(weights, weights_only=True)
    checkpoint["config"] = checkpoint["config"].replace("NAME: blur", "NAME: masked")
    checkpoint["config"] = checkpoint["config"].replace("EPS_PSNR: 1.0", "EPS_PSNR: -60.0")
    torch.save(checkpoint, tmp_path / "people.pth")
    named = tmp_path / "named"
    named.mkdir()
    for person, file in zip((3, 8), sorted(raw.rglob("*.jpg")), strict=False):
        shutil.copy(file, named / f"{person:04d}_c1s1_000001_00.jpg")
    words = ("--weights", tmp_path / "people.pth", "--output", tmp_path / "out")
    assert anonymize(*words, "--input", named) == 0
    levels = [np.unique(pixels(file)).tolist() for file in sorted((tmp_path / "out").glob("*.png"))]
    assert levels == [[3], [8]]


def test_images_below_the_window_are_refused():
    constraint = Constraint(lambda: Desensitizer("blur"), Thresholds())
    small = ImageMap(torch.nn.Identity(), None, PNG, (8, 16), constraint=constraint)
    with pytest.raises(UserError, match=r"--guard needs images of at least 11×11 .* \(8, 16\).*--no-guard"):
        ProtectingBatches(small, 4, bytes, PNG, Guard())


@pytest.mark.parametrize("kept", [1.5, -0.1, "all", True, None, [0.5, 2], [[1]], float("nan")])
def test_a_forged_share_is_refused(kept, tmp_path):
    entry = {"path": "a.png", "width": 3, "height": 5, "size": 1, "sha256": "0" * 64}
    for share in (0.5, 1, [1, 0.25]):
        write_manifest(tmp_path, {"kind": FORMAT, "schema": 1}, [{**entry, "kept": share}], {})
        assert read_manifest(tmp_path / MANIFEST).entries["a.png"]["kept"] == share
    write_manifest(tmp_path, {"kind": FORMAT, "schema": 1}, [{**entry, "kept": kept}], {})
    with pytest.raises(UserError, match="damaged"):
        read_manifest(tmp_path / MANIFEST)
