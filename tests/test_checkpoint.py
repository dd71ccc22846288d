"""Checkpoints: whole at any moment, and resumed only when whole and fitting."""

from __future__ import annotations

from fastreid_privacy.checkpoints.reading import read_checkpoint
from fastreid_privacy.training.checkpointer import PrivacyCheckpointer

# isort: split
import logging
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from fastreid.utils.checkpoint import Checkpointer
from small_checkpoints import Counter, Net, files, make, same_state
from torch import nn

from fastreid_privacy.core.errors import UserError


def flip_a_byte(path):
    """Change one byte of the first tensor's data; the length and the archive's directory stay as they are."""
    with zipfile.ZipFile(path) as archive:
        entry = next(item for item in archive.infolist() if "/data/" in item.filename)
    content = bytearray(path.read_bytes())
    name_and_extra = int.from_bytes(
        content[entry.header_offset + 26 : entry.header_offset + 28], "little"
    ) + int.from_bytes(content[entry.header_offset + 28 : entry.header_offset + 30], "little")
    content[entry.header_offset + 30 + name_and_extra] ^= 0xFF
    path.write_bytes(content)


# -- saving --------------------------------------------------------------------------------------------------


def test_resume_restores_everything(tmp_path):
    saved = make(tmp_path, seed=1)
    saved.save("model_0003", epoch=3, note="plain")
    fresh = make(tmp_path, seed=2)
    assert not same_state(fresh.model.state_dict(), saved.model.state_dict())
    assert fresh.resume() == {"epoch": 3, "note": "plain"}
    assert same_state(fresh.model.state_dict(), saved.model.state_dict())
    ours, theirs = (
        checkpointer.checkpointables["optimizer"].state_dict()["state"] for checkpointer in (fresh, saved)
    )
    assert all(torch.equal(ours[key]["exp_avg"], theirs[key]["exp_avg"]) for key in theirs)
    assert fresh.checkpointables["record"].value == 1


def test_weights_only_file(tmp_path):
    saved = make(tmp_path)
    saved.save("model_best", tag=False, weights_only=True, epoch=2)
    assert set(torch.load(tmp_path / "model_best.pth")) == {"model", "config", "epoch"}
    assert files(tmp_path) == ["model_best.pth"] and not saved.has_checkpoint()


def test_plain_fastreid_reads_our_files(tmp_path):
    saved = make(tmp_path, seed=1)
    saved.save("model_final", epoch=0)
    other = Net()
    assert Checkpointer(other).load(str(tmp_path / "model_final.pth"))["config"] == "SEED: 7\n"
    assert same_state(other.state_dict(), saved.model.state_dict())


def test_names_that_are_taken(tmp_path):
    with pytest.raises(ValueError, match="optimizer"):
        make(tmp_path).save("model_0000", epoch=0, optimizer=1)
    with pytest.raises(ValueError, match="config"):
        PrivacyCheckpointer(Net(), str(tmp_path), **{"record": Counter()}).save("model_0000", config="")
    assert files(tmp_path) == []


def test_only_rank_0_writes(tmp_path):
    make(tmp_path, save_to_disk=False).save("model_0000", epoch=0)
    assert files(tmp_path) == []


def test_pruning_keeps_the_newest_and_what_is_not_periodic(tmp_path):
    saved = make(tmp_path, keep=2)
    (tmp_path / "model_notes.pth").write_text("mine")
    (tmp_path / "model_12.pth").write_text("mine")
    saved.save("model_best", tag=False, weights_only=True)
    for epoch in range(4):
        saved.save(f"model_{epoch:04d}", epoch=epoch)
    saved.save("model_final", epoch=4)
    assert files(tmp_path) == [
        "last_checkpoint",
        "model_0002.pth",
        "model_0003.pth",
        "model_12.pth",
        "model_best.pth",
        "model_final.pth",
        "model_notes.pth",
    ]
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_a_longer_older_run_in_the_same_folder(tmp_path):
    """The run that is going on keeps its own, though the other's epochs are later."""
    make(tmp_path, seed=1).save("model_0099", epoch=99)
    os.utime(tmp_path / "model_0099.pth", (0, 0))
    saved = make(tmp_path, seed=2, keep=1)
    saved.save("model_0000", epoch=0)
    assert files(tmp_path) == ["last_checkpoint", "model_0000.pth"]


def test_a_clock_that_is_set_back(tmp_path):
    """Pruned by epoch: by time, every new checkpoint was deleted as soon as it was written."""
    for epoch in range(4):
        saved = make(tmp_path, seed=epoch, keep=2)
        saved.save(f"model_{epoch:04d}", epoch=epoch)
        assert (tmp_path / f"model_{epoch:04d}.pth").exists()
        os.utime(tmp_path / f"model_{epoch:04d}.pth", (4e9 - epoch, 4e9 - epoch))
    assert files(tmp_path) == ["last_checkpoint", "model_0002.pth", "model_0003.pth"]
    for tag in ("model_0003.pth", ""):
        (tmp_path / "last_checkpoint").write_text(tag)
        assert [path.name for path in make(tmp_path).candidates()] == ["model_0003.pth", "model_0002.pth"]
        assert make(tmp_path, seed=9).resume()["epoch"] == 3


def test_epochs_are_numbers(tmp_path):
    saved = make(tmp_path, keep=2)
    for epoch in (9998, 9999, 10000):
        saved.save(f"model_{epoch:04d}", epoch=epoch)
    assert files(tmp_path) == ["last_checkpoint", "model_10000.pth", "model_9999.pth"]
    assert [path.name for path in saved.candidates()] == ["model_10000.pth", "model_9999.pth"]


def test_a_run_is_resumed_before_an_older_one(tmp_path):
    """Also where its own last checkpoint is damaged."""
    for epoch in (1, 2):
        make(tmp_path, seed=epoch).save(f"model_{epoch:04d}", epoch=epoch)
    make(tmp_path / "older").save("model_0099", epoch=99)
    (tmp_path / "older" / "model_0099.pth").rename(tmp_path / "model_0099.pth")
    names = [path.name for path in make(tmp_path).candidates()]
    assert names == ["model_0002.pth", "model_0001.pth", "model_0099.pth"]
    empty(tmp_path / "model_0002.pth")
    assert make(tmp_path, seed=9).resume()["epoch"] == 1


@pytest.mark.parametrize("moment", ["write", "replace", "tag"])
def test_a_save_that_fails_leaves_the_last_one(tmp_path, monkeypatch, moment):
    saved = make(tmp_path, seed=1)
    saved.save("model_0000", epoch=0)
    weights = {key: value.clone() for key, value in saved.model.state_dict().items()}
    nn.init.zeros_(saved.model.heads.weight)

    replace, calls = os.replace, []

    def failing_replace(source, target):
        calls.append(target)
        if moment == "replace" or Path(target).name == "last_checkpoint":
            raise OSError("disk full")
        replace(source, target)

    def failing_save(content, file):
        file.write(b"half of a checkpo")
        raise OSError("disk full")

    if moment == "write":
        monkeypatch.setattr(torch, "save", failing_save)
    else:
        monkeypatch.setattr(os, "replace", failing_replace)
    with pytest.raises(OSError, match="disk full"):
        saved.save("model_0001", epoch=1)
    monkeypatch.undo()
    left = files(tmp_path)
    assert left == ["last_checkpoint", "model_0000.pth"] + (["model_0001.pth"] if moment == "tag" else [])
    fresh = make(tmp_path, seed=3)
    assert fresh.resume()["epoch"] == 0
    assert same_state(fresh.model.state_dict(), weights)


def test_leftovers_go_at_the_next_save(tmp_path):
    (tmp_path / ".model_0007.pth.123.unfinished").write_bytes(b"half")
    (tmp_path / ".mine").write_bytes(b"kept")
    make(tmp_path).save("model_0008", epoch=8)
    assert files(tmp_path) == [".mine", "last_checkpoint", "model_0008.pth"]


KILLED = """
import os, random, signal, sys, time
import torch
from fastreid_privacy.training.checkpointer import PrivacyCheckpointer

folder = sys.argv[1]
model = torch.nn.Linear(300, 300)


def fill(epoch):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float(epoch))


random.seed(0)
epoch = 0
for kill in range(12):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        checkpointer = PrivacyCheckpointer(model, folder, keep=2)
        while True:
            epoch += 1
            fill(epoch)
            checkpointer.save(f"model_{epoch:04d}", epoch=epoch)
            os.write(write, epoch.to_bytes(4, "little"))
    os.close(write)
    finished = int.from_bytes(os.read(read, 4), "little")
    time.sleep(random.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while told := os.read(read, 4):
        finished = int.from_bytes(told, "little")
    os.close(read)
    fill(-1)
    epoch = PrivacyCheckpointer(model, folder).resume()["epoch"]
    assert epoch in (finished, finished + 1), (epoch, finished)
    assert all(bool((parameter == epoch).all()) for parameter in model.parameters()), epoch
print(epoch)
"""


def test_killed_while_saving(tmp_path):
    """SIGKILL at twelve random moments of a loop that only saves: the newest complete checkpoint loads, and
    is all of one epoch."""
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 12
    # two kept, and one that was not yet pruned
    assert len([name for name in files(tmp_path) if name.endswith(".pth")]) <= 3


# -- resuming ------------------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def empty(path):
    path.write_bytes(b"")


def other_content(path):
    path.write_text("<html>404</html>")


def without_epoch(path):
    content = torch.load(path)
    del content["epoch"]
    torch.save(content, path)


def without_model(path):
    torch.save({"epoch": 2}, path)


@pytest.mark.parametrize("damage", [cut, empty, other_content, without_epoch, without_model, flip_a_byte])
def test_a_damaged_last_checkpoint_is_named(tmp_path, caplog, damage):
    for epoch in (1, 2):
        saved = make(tmp_path, seed=epoch)
        saved.save(f"model_{epoch:04d}", epoch=epoch)
    damage(tmp_path / "model_0002.pth")
    fresh = make(tmp_path, seed=9)
    with caplog.at_level(logging.WARNING, "fastreid_privacy.training.checkpointer"):
        assert fresh.resume()["epoch"] == 1
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert (
        len(warned) == 1
        and "model_0002.pth" in warned[0].getMessage()
        and "model_0001" not in warned[0].getMessage()
    )
    assert same_state(fresh.model.state_dict(), make(tmp_path, seed=1).model.state_dict())


def test_torch_alone_does_not_notice_a_changed_byte(tmp_path):
    """Why every reader compares checksums."""
    make(tmp_path).save("model_0000", epoch=0)
    before = torch.load(tmp_path / "model_0000.pth")["model"]
    flip_a_byte(tmp_path / "model_0000.pth")
    after = torch.load(tmp_path / "model_0000.pth")["model"]
    assert not same_state(before, after)
    with pytest.raises(UserError, match=r"model_0000\.pth is damaged .*checksum"):
        read_checkpoint(tmp_path / "model_0000.pth")


def test_all_damaged(tmp_path):
    for epoch in (1, 2):
        make(tmp_path).save(f"model_{epoch:04d}", epoch=epoch)
        empty(tmp_path / f"model_{epoch:04d}.pth")
    with pytest.raises(UserError, match=r"(?s)model_0002\.pth.*model_0001\.pth.*OUTPUT_DIR"):
        make(tmp_path).resume()


@pytest.mark.parametrize("tag", [None, b"", b"\xff\xfe", b"../elsewhere.pth", b"model_0009.pth"])
def test_a_useless_tag(tmp_path, tag):
    """Missing, empty, unreadable, pointing elsewhere or to a file that is gone: the newest periodic
    checkpoint is taken."""
    for epoch in (1, 2):
        make(tmp_path).save(f"model_{epoch:04d}", epoch=epoch)
    if tag is None:
        (tmp_path / "last_checkpoint").unlink()
    else:
        (tmp_path / "last_checkpoint").write_bytes(tag)
    fresh = make(tmp_path)
    assert fresh.has_checkpoint() and fresh.resume()["epoch"] == 2


def test_nothing_to_resume(tmp_path):
    checkpointer = make(tmp_path)
    assert not checkpointer.has_checkpoint()
    with pytest.raises(UserError, match="no checkpoint to resume from"):
        checkpointer.resume()


def test_a_checkpointable_that_the_file_lacks(tmp_path):
    """fastreid passes over it without a word."""
    saved = make(tmp_path)
    saved.save("model_0000", epoch=0)
    fresh = make(tmp_path)
    fresh.checkpointables["grad_scaler"] = Counter()
    with pytest.raises(UserError, match="lacks grad_scaler"):
        fresh.resume()
    assert "epoch" in Checkpointer(fresh.model, grad_scaler=Counter()).load(str(tmp_path / "model_0000.pth"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("operator", "of its operator it tells"),
        ("regions", "of its regions it tells"),
        ("data", r"of its training images \(names, identities, cameras\) it tells"),
    ],
)
def test_a_run_goes_on_with_what_it_depends_on(tmp_path, name, message):
    first, second = {"sha256": "ab", "images": 7}, {"sha256": "cd", "images": 7}
    make(tmp_path, about={name: first}).save("model_0000", epoch=0)
    assert make(tmp_path, about={name: first}).resume() == {"epoch": 0}
    for other in (second, None):
        with pytest.raises(UserError, match=rf"was trained on other images: {message} \{{'sha256': 'ab'"):
            make(tmp_path, about={name: other}).resume()
    make(tmp_path).save("model_0000", epoch=0)  # as older versions did
    assert make(tmp_path, about={name: second}).resume() == {"epoch": 0}


def test_a_checkpoint_tells_of_nothing_else(tmp_path):
    with pytest.raises(ValueError, match="tells nothing of model"):
        make(tmp_path, about={"model": {}})


@pytest.mark.parametrize("other", [Net(identities=6), Net(anonymizer=False)])
def test_resuming_another_model(tmp_path, other):
    make(tmp_path).save("model_0000", epoch=0)
    with pytest.raises(UserError, match=r"does not fit this model \((heads|anonymizer)\."):
        PrivacyCheckpointer(other, str(tmp_path)).resume()


def test_resuming_another_optimizer(tmp_path):
    make(tmp_path).save("model_0000", epoch=0)
    fresh = make(tmp_path)
    fresh.checkpointables["optimizer"] = torch.optim.Adam(
        [{"params": list(fresh.model.backbone.parameters())}]
    )
    with pytest.raises(UserError, match="its optimizer does not fit"):
        fresh.resume()
