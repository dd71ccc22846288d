"""Checkpoints that would run code, unpack themselves or write files while they are read: refused at every
place that reads one."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import io
import pickle
import shutil
import tarfile
import warnings
import zipfile

import pytest
import torch
from rendered_video import write_video
from torch import nn

import fastreid_privacy
from fastreid_privacy.commands.main import main
from fastreid_privacy.compat.checkpoints import load_safely


class Writes(nn.Module):
    """As TorchScript, it writes a file when it is read."""

    def __init__(self, proof: str):
        super().__init__()
        self.proof = proof

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images

    @torch.jit.export
    def __getstate__(self):
        return (self.training, self.proof)

    @torch.jit.export
    def __setstate__(self, state: tuple[bool, str]):
        self.training = state[0]
        self.proof = state[1]
        torch.save(torch.ones(1), self.proof)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A TorchScript archive, and the file that it writes when torch reads it."""
    folder = tmp_path_factory.mktemp("archive")
    proof, path = folder / "it_ran", folder / "model.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(Writes(str(proof))), str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.load(path, weights_only=False)
    assert proof.exists()  # the attack works where nothing stops it
    proof.unlink()
    return path, proof


@pytest.fixture(scope="module")
def pictures(small_dataset):
    return next(small_dataset.glob("*/bounding_box_test"))


def train(output, flags=(), **keys):
    return ["train", *flags, "--config-file", str(SMALL_CONFIG), *small_options(output, **keys)]


def words_of(entry, file, pictures, folder, small_run):
    """The command line that reads ``file`` at an entry."""
    out, protected = folder / "out", folder / "protected"
    if entry == "resume":
        run = folder / "run"
        shutil.copytree(small_run, run)
        for path in [*run.glob("results*.json"), *run.glob("*.pth")]:
            path.unlink()
        shutil.copy(file, run / "model_0000.pth")
        return train(run, ["--resume"])
    if entry == "recover":
        protected.mkdir()
        weights = small_run / "model_best.pth"
        protect = ["anonymize", "--weights", weights, "--input", pictures, "--output", protected]
        assert main([str(word) for word in protect]) == 0
    if entry == "detector":
        frames = torch.zeros(2, 64, 64, 3, dtype=torch.uint8).numpy()
        video = write_video(folder / "video.mkv", frames)
        detector = ["--detector", file, "--detector-model", "ssdlite320_mobilenet_v3_large"]
        protect = ["anonymize", "--weights", small_run / "model_best.pth", "--input", video, "--output", out]
        return [*protect, *detector]
    return {
        "anonymize": ["anonymize", "--weights", file, "--input", pictures, "--output", out],
        "export": ["export", "--weights", file, "--output", out, "--unencrypted"],
        "retrieve": ["retrieve", "build", "--weights", file, "--gallery", pictures, "--index", out],
        "recover": ["recover", "--key", file, "--input", protected, "--output", out],
        "test": ["test", *train(out, **{"MODEL.WEIGHTS": file})[1:]],
        "MODEL.WEIGHTS": train(out, **{"MODEL.WEIGHTS": file}),
        "PRETRAIN_PATH": train(
            out, **{"MODEL.BACKBONE.PRETRAIN": True, "MODEL.BACKBONE.PRETRAIN_PATH": file}
        ),
        "LPIPS_WEIGHTS": train(out, **{"TEST.LPIPS_WEIGHTS": file}),
    }[entry]


ENTRIES = (
    "anonymize",
    "export",
    "retrieve",
    "recover",
    "detector",
    "test",
    "MODEL.WEIGHTS",
    "PRETRAIN_PATH",
    "LPIPS_WEIGHTS",
    "resume",
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_command_runs_a_torchscript_archive(entry, archive, pictures, small_run, tmp_path, capfd):
    file, proof = archive
    words = [str(word) for word in words_of(entry, file, pictures, tmp_path, small_run)]
    capfd.readouterr()
    assert main(words) == 2
    said = capfd.readouterr().err
    assert "TorchScript" in said and "Traceback" not in said
    assert (str(file) if entry != "resume" else "model_0000.pth") in said
    assert not proof.exists()


@pytest.mark.parametrize("records", [["constants.pkl"], ["code/__torch__.py"]])
def test_each_record_of_a_program_is_refused(tmp_path, records):
    """Also in an archive that is otherwise a checkpoint, whatever its top folder is called."""
    torch.save({"model": {"weight": torch.ones(2)}}, tmp_path / "good.pth")
    with zipfile.ZipFile(tmp_path / "good.pth") as good, zipfile.ZipFile(tmp_path / "bad.pth", "w") as bad:
        for name in good.namelist():
            bad.writestr(f"x y/{name.partition('/')[2]}", good.read(name))
        assert load_safely(tmp_path / "good.pth")
        for name in records:
            bad.writestr(f"x y/{name}", b"\x80\x02).")
    with pytest.raises(pickle.UnpicklingError, match="TorchScript"):
        load_safely(tmp_path / "bad.pth")


def test_tar_archives_are_not_unpacked(tmp_path):
    """torch's reader of them gives a file that a link leads to the mode that the archive says."""
    mine = tmp_path / "mine"
    mine.write_text("private")
    mine.chmod(0o600)
    with tarfile.open(tmp_path / "old.pth", "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            if name == "storages":
                member.type, member.linkname, member.mode = tarfile.LNKTYPE, str(mine), 0o666
            archive.addfile(member, io.BytesIO())
    with pytest.raises(pickle.UnpicklingError, match="tar archive"):
        load_safely(tmp_path / "old.pth")
    assert mine.stat().st_mode & 0o777 == 0o600


def test_an_exception_without_text_is_named(tmp_path):
    """A pickle that ends at once: EOFError, with nothing to say."""
    (tmp_path / "cut.pth").write_bytes(b"\x80\x02")
    with pytest.raises(fastreid_privacy.UserError, match=r"cut\.pth is damaged or no checkpoint \(\w+"):
        fastreid_privacy.load_anonymizer(tmp_path / "cut.pth", "cpu")
