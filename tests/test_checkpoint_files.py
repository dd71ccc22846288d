"""Checkpoint files: what may be in them, and loading weights with a word on what does not fit."""

from __future__ import annotations

from fastreid_privacy.checkpoints.reading import load_matching_weights, read_checkpoint, read_trained
from fastreid_privacy.training.checkpointer import PrivacyCheckpointer

# isort: split
import collections
import json
import logging
import os
import tracemalloc

import numpy as np
import pytest
import torch
import yacs.config
from conftest import SMALL_CONFIG
from fastreid.config import CfgNode, get_cfg
from fastreid.utils.checkpoint import Checkpointer
from small_checkpoints import Net, same_state
from torch import nn

from fastreid_privacy.checkpoints.checksum import KEY, NOT_YET, check_checksum, with_checksum
from fastreid_privacy.compat.checkpoints import load_safely
from fastreid_privacy.compat.patching import original_of
from fastreid_privacy.config import load_config
from fastreid_privacy.core.errors import UserError


@pytest.mark.parametrize("form", ["fastreid", "bare", "module.", "numpy"])
def test_plain_agw_weights_into_the_wrapped_model(tmp_path, caplog, form):
    plain, wrapped = Net(identities=3, anonymizer=False), Net(identities=5)
    kept = {key: value.clone() for key, value in wrapped.state_dict().items()}
    state = plain.state_dict()
    content = {
        "fastreid": {"model": state, "optimizer": {}, "epoch": 3},
        "bare": state,
        "module.": {"model": {f"module.{key}": value for key, value in state.items()}},
        "numpy": {"model": {key: value.numpy() for key, value in state.items()}},
    }[form]
    torch.save(content, tmp_path / "agw.pth")
    with caplog.at_level(logging.INFO, "fastreid_privacy.training.checkpointer"):
        summary = PrivacyCheckpointer(wrapped).load_weights(tmp_path / "agw.pth")
    assert summary in caplog.text and "\n" not in summary
    assert "7 tensors loaded" in summary and "anonymizer (2)" in summary
    assert (
        "heads.weight (3×4 in the file, 5×4 here)" in summary
        and "heads.bias (3 in the file, 5 here)" in summary
    )
    loaded = wrapped.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state if key.startswith("backbone."))
    assert all(torch.equal(loaded[key], kept[key]) for key in kept if not key.startswith("backbone."))


@pytest.mark.parametrize("told", ["", "0", "é" * 64, "A" * 64, "0" * 65, "0" * 64 + "\n"])
def test_what_is_no_checksum_is_refused_before_it_is_looked_for(told):
    """Zeros are put wherever it stands: an empty one stands between any two bytes."""
    content = bytes(1_000_000) + told.encode()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="its checksum is none"):
            check_checksum(content, {KEY: told})
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    good = with_checksum(b"weights" + NOT_YET.encode())
    check_checksum(good, {KEY: good[-64:].decode()})
    with pytest.raises(ValueError, match="its checksum is wrong"):
        check_checksum(good + b"x", {KEY: good[-64:].decode()})


def test_what_a_file_has_beyond_the_model():
    summary = load_matching_weights(Net(anonymizer=False), Net().state_dict(), "wrapped.pth")
    assert (
        "9 tensors loaded from wrapped.pth" in summary and "not used of the file: anonymizer (2)" in summary
    )


@pytest.mark.parametrize(
    "state, message",
    [
        ({"conv1.weight": torch.ones(2), "fc.bias": torch.ones(1)}, r"0 of 7 .*conv1\.weight, fc\.bias"),
        (Net(width=7).state_dict(), r"1 of 7 tensors of the backbone fit"),
        (Net().backbone.state_dict(), r"PRETRAIN_PATH"),
    ],
)
def test_foreign_weights(tmp_path, state, message):
    torch.save(state, tmp_path / "foreign.pth")
    model = Net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match=r"(?s)foreign\.pth is of another model: .*" + message):
        PrivacyCheckpointer(model).load_weights(tmp_path / "foreign.pth")
    assert same_state(model.state_dict(), before)


@pytest.mark.parametrize(
    "content",
    [{"model": 3}, {"a": "text"}, [torch.ones(1)], torch.ones(2), {}, {"model": {"w": np.array(["a"])}}],
)
def test_files_that_are_no_checkpoint(tmp_path, content):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"odd\.pth is no checkpoint"):
        read_checkpoint(tmp_path / "odd.pth")


@pytest.mark.parametrize("config", [None, "", 7])
def test_a_checkpoint_without_a_config_was_not_trained_here(tmp_path, config):
    torch.save({"model": Net().state_dict(), "config": config}, tmp_path / "plain.pth")
    with pytest.raises(UserError, match=r"plain\.pth carries no config"):
        read_trained(tmp_path / "plain.pth")


def test_a_trained_checkpoint_cannot_be_changed(tmp_path):
    state = Net().state_dict()
    torch.save({"model": state, "config": load_config(SMALL_CONFIG).dump()}, tmp_path / "ours.pth")
    trained = read_trained(tmp_path / "ours.pth")
    assert same_state(trained.weights, state)
    assert trained.cfg.dump() == load_config(SMALL_CONFIG).dump() and trained.fingerprint == ""
    with pytest.raises(AttributeError):
        trained.cfg.SEED = 3
    with pytest.raises(AttributeError):
        trained.cfg = None


@pytest.mark.parametrize(
    "read", [read_checkpoint, lambda path: PrivacyCheckpointer(Net()).load_weights(path)]
)
def test_missing_and_damaged_files(tmp_path, read):
    path = tmp_path / "none.pth"
    with pytest.raises(UserError, match=r"^[^ ]*none\.pth does not exist: give the path of a checkpoint"):
        read(path)
    with pytest.raises(UserError, match=f"^{tmp_path} is no file: give the path of a checkpoint"):
        read(tmp_path)
    path.write_text("<html>404</html>")
    with pytest.raises(UserError, match=r"none\.pth is damaged or no checkpoint"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none\.pth is empty"):
        read(path)


def test_configs_round_trip(tmp_path):
    cfg = get_cfg()
    PrivacyCheckpointer(Net(), str(tmp_path), config=cfg.dump()).save("model_final", epoch=0)
    rebuilt = get_cfg()
    rebuilt.SOLVER.MAX_EPOCH = -1
    rebuilt.merge_from_other_cfg(CfgNode.load_cfg(read_checkpoint(tmp_path / "model_final.pth")["config"]))
    assert rebuilt == cfg


# -- what is in a file ---------------------------------------------------------------------------------------


PLAIN = {
    "float64": np.float64(1.5),
    "int32": np.int32(3),
    "bool": np.bool_(True),
    "array": np.arange(6).reshape(2, 3),
    "text": np.array(["a", "bc"]),
    "deque": collections.deque([1, 2], maxlen=3),
    "ordered": collections.OrderedDict(a=1),
    "counter": collections.Counter("aab"),
    "default": collections.defaultdict(list, a=[1]),
    "set": {1, 2},
    "bytes": b"\x00\xff",
    "complex": 1 + 2j,
    "bfloat16": torch.ones(2, dtype=torch.bfloat16),
    "parameter": nn.Parameter(torch.ones(2)),
    "dtype": torch.float16,
    "size": torch.Size([1, 2]),
    "device": torch.device("cpu"),
    "cfg": CfgNode({"A": {"B": [1, 2]}}),
    "yacs": yacs.config.CfgNode({"A": 1}),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}])
def test_plain_values_load(tmp_path, name, options):
    value = PLAIN[name]
    torch.save({"value": value}, tmp_path / "file.pth", **options)
    loaded = load_safely(tmp_path / "file.pth")["value"]
    assert type(loaded) is type(value)
    if isinstance(value, (np.ndarray, torch.Tensor)):
        assert loaded.dtype == value.dtype and bool((loaded == value).all())
    else:
        assert loaded == value and repr(loaded) == repr(value)


@pytest.mark.parametrize("name", ["float64", "deque", "cfg"])
def test_torch_alone_refuses(tmp_path, name):
    """checkpoint.py:216: what our ``_load_file`` is for."""
    torch.save({"model": {}, "value": PLAIN[name]}, tmp_path / "file.pth")
    path = str(tmp_path / "file.pth")
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        original_of(Checkpointer, "_load_file")(None, path)
    assert Checkpointer(nn.Identity()).load(path)["value"] == PLAIN[name]


class Runs:
    """Unpickling it would call a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize(
    "call",
    [
        (os.mkdir, "{}"),
        (eval, "__import__('os').mkdir('{}')"),
        (getattr, "", "join"),
        (torch.load, "{}"),
        (np.load, "{}"),
    ],
)
def test_nothing_in_a_file_runs(tmp_path, call, options):
    proof = tmp_path / "it_ran"
    function, *arguments = call
    torch.save(
        {"model": {"w": Runs(function, *(argument.replace("{}", str(proof)) for argument in arguments))}},
        tmp_path / "bad.pth",
        **options,
    )
    with pytest.raises(
        UserError, match=r"bad\.pth is damaged or no checkpoint \(UnpicklingError: the file refers to"
    ):
        read_checkpoint(tmp_path / "bad.pth")
    assert not proof.exists()


class Mine:
    """A class of a user's own."""


def test_users_may_allow_their_own_types(tmp_path):
    torch.save({"value": Mine()}, tmp_path / "mine.pth")
    with pytest.raises(Exception, match="Mine, which is neither a tensor nor plain data"):
        load_safely(tmp_path / "mine.pth")
    with torch.serialization.safe_globals([Mine]):
        assert isinstance(load_safely(tmp_path / "mine.pth")["value"], Mine)


def test_files_of_numpy_1_load(tmp_path):
    """They name numpy.core where numpy 2 has numpy._core."""
    torch.save({"value": np.float64(2.5)}, tmp_path / "new.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "new.pth").read_bytes()
    assert b"numpy._core.multiarray" in content
    (tmp_path / "old.pth").write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert load_safely(tmp_path / "old.pth")["value"] == 2.5


def test_records_survive_as_plain_values(tmp_path):
    """What a checkpointable's state may hold, through a file: numbers without loss, None, infinities."""
    state = {"checks": [{"epoch": 1, "rank1": 56.25, "best": None, "psnr": float("inf")}], "third": 1 / 3}
    PrivacyCheckpointer(Net(), str(tmp_path)).save("model_final", epoch=0, record=state)
    assert json.dumps(read_checkpoint(tmp_path / "model_final.pth")["record"]) == json.dumps(state)
