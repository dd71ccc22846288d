"""Keys kept apart: encrypted files, the parts of a checkpoint, sealed originals, and the commands that use
them."""

from __future__ import annotations

from in_process import anonymize, contents, export, recover

import fastreid_privacy  # before fastreid

# isort: split
import errno
import hashlib
import io
import json
import os
import random
import resource
import shutil
import stat
from hashlib import scrypt

import pytest
import torch
from conftest import SMALL_CONFIG, small_options
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from fastreid.modeling import build_model
from fastreid.utils.checkpoint import Checkpointer
from forged_manifests import write_forged
from safetensors.torch import save
from test_collection import assert_decoded

from fastreid_privacy.checkpoints import splitting
from fastreid_privacy.checkpoints.fingerprints import anonymizer_fingerprint
from fastreid_privacy.checkpoints.image_maps import ImageMap
from fastreid_privacy.checkpoints.reading import read_checkpoint
from fastreid_privacy.checkpoints.splitting import split_checkpoint
from fastreid_privacy.collection import unseal
from fastreid_privacy.config import changed, default_config, load_config, parse_config
from fastreid_privacy.config.comparing import flat_keys
from fastreid_privacy.core import files
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.core.lock import locked
from fastreid_privacy.desensitize import Desensitizer
from fastreid_privacy.keys import encryption, sealing, streaming
from fastreid_privacy.keys.encryption import decrypt, encrypt
from fastreid_privacy.keys.passphrase import read_passphrase
from fastreid_privacy.model.storage import ImageStorage
from fastreid_privacy.retrieval import load_extractor


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch):
    """Less work for each guess."""
    monkeypatch.setattr(encryption, "COST", {"n": 2**10, "r": 8, "p": 1})


@pytest.fixture
def raw(small_dataset, tmp_path):
    folder = tmp_path / "raw"
    (folder / "ünter").mkdir(parents=True)
    for number, file in enumerate(sorted(small_dataset.glob("*/query/*"))[:5]):
        shutil.copy(file, folder / "ünter" / f"{number} {file.name}")
    return folder


# -- encryption ----------------------------------------------------------------------------------------------


def test_encryption_is_the_standard_construction(monkeypatch):
    monkeypatch.undo()  # the real cost
    content = encrypt(b"secret", "pass", {"part": "recovery"})
    first, _, rest = content.partition(b"\n")
    header = json.loads(first)
    assert header["scrypt"] == {"n": 2**17, "r": 8, "p": 1}
    key = scrypt(b"pass", salt=bytes.fromhex(header["salt"]), n=2**17, r=8, p=1, dklen=32, maxmem=2**28)
    assert ChaCha20Poly1305(key).decrypt(bytes.fromhex(header["nonce"]), rest, first + b"\n") == b"secret"
    assert decrypt(content, "pass", "file") == (b"secret", {"part": "recovery"})
    assert encrypt(b"secret", "pass", {}) != encrypt(b"secret", "pass", {})


def test_each_encrypted_file_has_a_salt_and_a_nonce_of_its_own():
    """One salt for all would let one table of guesses open every file."""
    headers = [json.loads(encrypt(b"secret", "pass", {}).partition(b"\n")[0]) for _ in range(20)]
    for field, length in (("salt", 16), ("nonce", 12)):
        values = [bytes.fromhex(header[field]) for header in headers]
        assert {len(value) for value in values} == {length}
        assert all(len(set(places)) > 1 for places in zip(*values, strict=True))  # no byte is constant
        assert len(set(values)) == len(values)


def test_wrong_passphrases_flipped_bits_and_cut_files_are_refused():
    content = encrypt(bytes(range(200)), "pässphrase", {"part": "recovery"})
    assert decrypt(content, "pässphrase", "file")[0] == bytes(range(200))
    for wrong in ("", "passphrase", "pässphrase "):
        with pytest.raises(UserError, match="file does not open: the passphrase is wrong"):
            decrypt(content, wrong, "file")
    rng = random.Random(0)
    for position in [*range(0, len(content), 7), *range(content.index(b"\n") - 3, content.index(b"\n") + 4)]:
        changed = bytearray(content)
        changed[position] ^= 1 << rng.randrange(8)
        with pytest.raises(UserError, match="file"):
            decrypt(bytes(changed), "pässphrase", "file")
    for length in (0, 1, 50, content.index(b"\n") + 1, len(content) - 1):
        with pytest.raises(UserError, match="file"):
            decrypt(content[:length], "pässphrase", "file")
    with pytest.raises(UserError, match="empty"):
        encrypt(b"secret", "", {})


def test_a_forged_cost_is_refused_before_any_memory_is_taken():
    content = encrypt(b"secret", "pass", {})
    forged = content.replace(b'"n": 1024', b'"n": 1099511627776')
    assert forged != content
    with pytest.raises(UserError, match="damaged or no encrypted file"):
        decrypt(forged, "pass", "file")


def test_what_may_be_known_of_an_encrypted_file_has_names():
    content = encrypt(b"secret", "pass", ["a", "list"])
    with pytest.raises(UserError, match="damaged or no encrypted file"):
        decrypt(content, "pass", "file")


def test_passphrases_come_from_one_place(monkeypatch, tmp_path):
    monkeypatch.setenv("PASS", "of the environment")
    assert read_passphrase("PASS") == "of the environment"
    (tmp_path / "lines").write_text("first\nsecond\n")
    with (tmp_path / "lines").open() as file:
        assert read_passphrase(descriptor=file.fileno()) == "first"
        assert read_passphrase("PASS", file.fileno()) == "of the environment"
    monkeypatch.setattr("sys.stdin", io.StringIO("typed\n"))
    with pytest.raises(UserError, match="no terminal"):
        read_passphrase(confirm=True)


# -- parts of a checkpoint -----------------------------------------------------------------------------------


def test_parts_work_alone_and_agree_with_the_checkpoint(weights, tmp_path, monkeypatch):
    written = split_checkpoint(weights, tmp_path / "release", lambda: "pass")
    assert {part: path.name for part, path in written.items()} == {
        "anonymizer": "anonymizer.safetensors",
        "recovery": "recovery.key",
        "reid": "reid.pth",
    }
    assert stat.S_IMODE(written["recovery"].stat().st_mode) == 0o600
    for module, name in (
        (torch, "load"),
        (torch.serialization, "_load"),
        (torch.serialization, "_legacy_load"),
    ):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("pickle was read"))
    images = torch.randint(0, 256, (3, 3, 64, 32), dtype=torch.uint8)
    part = fastreid_privacy.load_anonymizer(written["anonymizer"], "cpu")
    key = fastreid_privacy.load_recovery(written["recovery"], "cpu", lambda: "pass")
    monkeypatch.undo()
    whole, recovery = (
        fastreid_privacy.load_anonymizer(weights, "cpu"),
        fastreid_privacy.load_recovery(weights, "cpu"),
    )
    assert part.fingerprint == key.fingerprint == whole.fingerprint == recovery.fingerprint
    assert torch.equal(part(images), whole(images)) and torch.equal(key(images), recovery(images))
    assert part.trained_on == whole.trained_on == ("SyntheticPedestrians",)
    for other in (
        lambda: fastreid_privacy.load_recovery(written["anonymizer"]),
        lambda: fastreid_privacy.load_anonymizer(written["reid"]),
    ):
        with pytest.raises(UserError, match=r"holds no (recovery|anonymizer)"):
            other()


def test_no_part_holds_anything_of_another_or_of_the_machine(weights, small_run, tmp_path):
    written = split_checkpoint(weights, tmp_path, None)
    assert written["recovery"].name == "recovery.safetensors"
    names = {
        part: set(fastreid_privacy.checkpoints.reading.read_checkpoint(path)["model"])
        for part, path in written.items()
    }
    assert {name.partition(".")[0] for name in names["anonymizer"]} == {"anonymizer"}
    assert {name.partition(".")[0] for name in names["recovery"]} == {"recovery"}
    assert {name.partition(".")[0] for name in names["reid"]} == {"backbone", "heads"}
    for path in written.values():
        content = path.read_bytes()
        assert str(small_run).encode() not in content and str(small_run.parent.parent).encode() not in content
        config = fastreid_privacy.checkpoints.reading.read_checkpoint(path)["config"]
        assert parse_config(config, "part").OUTPUT_DIR == load_config().OUTPUT_DIR


def places_of(folder):
    """Config keys that may hold a path, with paths of a machine that are unlike each other."""
    keys = [
        "OUTPUT_DIR",
        "MODEL.WEIGHTS",
        "MODEL.BACKBONE.PRETRAIN_PATH",
        *(f"DATASETS.FOLDER.{part}" for part in ("TRAIN", "QUERY", "GALLERY")),
        "DATASETS.PROTECTED",
        "DATASETS.REGIONS",
        "TEST.LPIPS_WEIGHTS",
        "PRIVACY.UPPER_BOUND",
        "PRIVACY.UPGRADE.BASELINE_RANK1",
    ]
    paths = {key: f"{folder}/of_{key.lower().replace('.', '_')}" for key in keys}
    return {**paths, **{key: (f"{folder}/of_kd",) for key in ("KD.MODEL_CONFIG", "KD.MODEL_WEIGHTS")}}


def test_every_key_that_takes_a_path_is_known_as_one():
    texts = {key: value for key, value in flat_keys(default_config()).items() if isinstance(value, str)}
    assert {key for key, value in texts.items() if not value or "/" in value} <= places_of("x").keys()


def test_a_part_holds_no_storage_that_its_tensors_share_with_another(weights, tmp_path):
    """As of files whose weights are views of one block: torch pickles the whole block with each view."""
    checkpoint = torch.load(weights, weights_only=True)
    floats = {name: value for name, value in checkpoint["model"].items() if value.dtype == torch.float32}
    block, start = torch.cat([value.flatten() for value in floats.values()]), 0
    for name, value in floats.items():
        checkpoint["model"][name] = block[start : start + value.numel()].view(value.shape)
        start += value.numel()
    torch.save(checkpoint, tmp_path / "views.pth")
    path = split_checkpoint(tmp_path / "views.pth", tmp_path / "release", None)["reid"]
    own = sum(value.numel() for name, value in floats.items() if name.startswith(("backbone", "heads")))
    assert 4 * own < path.stat().st_size < 4 * own + 200_000 < 4 * block.numel()


def test_of_an_operators_files_the_names_are_kept():
    assert splitting.names_alone(["/mnt/a/b.bin", 3, ("/c.pth",)]) == ["b.bin", 3, ("c.pth",)]


@pytest.mark.parametrize("protection", ["learned", "conventional"])
def test_no_released_file_tells_a_folder_of_the_machine(weights, tmp_path, monkeypatch, protection):
    checkpoint, secret = torch.load(weights, weights_only=True), "/mnt/institute-7/who"
    cfg = parse_config(checkpoint["config"], "checkpoint")
    cfg = changed(cfg, {**places_of(secret), "PRIVACY.PROTECTION": protection, "TEST.FLIP.ENABLED": True})
    assert cfg.dump().count(secret) == len(places_of(secret))
    if protection == "conventional":
        tensors = checkpoint["model"].items()
        checkpoint["model"] = {
            name: value for name, value in tensors if name.startswith(("backbone", "heads"))
        }
    torch.save({**checkpoint, "config": cfg.dump()}, tmp_path / "trained.pth")
    # of a graph, only what it would say of itself: what else is in it, tests/test_onnx.py looks through
    for graph in ("image_graph", "reid_graph"):
        monkeypatch.setattr(splitting, graph, lambda *told, **_: json.dumps(told[-1]).encode())
    written = split_checkpoint(tmp_path / "trained.pth", tmp_path / "release", None, onnx=True)
    assert len(written) == (6 if protection == "learned" else 2)
    for path in (tmp_path / "release").iterdir():
        assert b"institute-7" not in path.read_bytes(), path
    told = read_checkpoint(written["reid"])["config"]
    defaults, kept = flat_keys(default_config()), flat_keys(parse_config(told, "part"))
    assert {key: kept[key] for key in places_of(secret)} == {key: defaults[key] for key in places_of(secret)}
    # what a feature depends on stays
    assert kept["TEST.FLIP.ENABLED"] and kept["INPUT.SIZE_TEST"] == [64, 32]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT.SIZE_TEST", [128, 64]),
        ("PRIVACY.DESENSITIZER.NAME", "pixelate"),
        ("PRIVACY.DESENSITIZER.BLUR_SIGMA", 2.0),
        ("PRIVACY.DESENSITIZER.PIXEL_BLOCK", 2),
        ("PRIVACY.DESENSITIZER.PIXEL_REDUCE", "corner"),
        ("PRIVACY.DESENSITIZER.NOISE_STD", 0.1),
        ("PRIVACY.DESENSITIZER.MASK_REGION", [0.0, 0.0, 0.1, 0.1]),
        ("PRIVACY.ANONYMIZER.DEPTH", 3),
    ],
)
def test_a_fingerprint_is_of_all_that_a_protected_image_depends_on(key, value):
    protection = "learned" if "ANONYMIZER" in key else "conventional"
    cfg = changed(load_config(), {"PRIVACY.PROTECTION": protection})
    weights = {"anonymizer.a": torch.arange(6.0), "backbone.b": torch.ones(2)}
    own = anonymizer_fingerprint(weights, cfg)
    assert anonymizer_fingerprint(weights, changed(cfg, {key: value})) != own
    assert anonymizer_fingerprint(weights, changed(cfg, {"TEST.FLIP.ENABLED": True, "SEED": 9})) == own
    others = [
        {**weights, "anonymizer.a": torch.arange(6.0).flip(0)},
        {"anonymizer.c": torch.arange(6.0)},
        {**weights, "anonymizer.c": torch.ones(1)},
    ]
    for other in others:
        assert (anonymizer_fingerprint(other, cfg) == own) == (protection == "conventional")
    assert anonymizer_fingerprint({**weights, "backbone.b": torch.zeros(2)}, cfg) == own


def test_reid_loads_into_plain_fastreid(weights, small_dataset, tmp_path):
    path = split_checkpoint(weights, tmp_path, None)["reid"]
    cfg = load_config(SMALL_CONFIG, small_options(""))
    cfg.defrost()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.HEADS.NUM_CLASSES = "Baseline", 9
    model = build_model(cfg).eval()
    Checkpointer(model).load(str(path))
    images = torch.randint(0, 256, (2, 3, 64, 32)).float()
    extract = load_extractor(weights, "cpu")
    with torch.no_grad():
        features = model({"images": images.clone()})
        if extract.flip:
            features = (features + model({"images": images.flip(3)})) / 2
    assert torch.allclose(features, extract(images), atol=1e-5)


def test_nothing_is_overwritten(weights, tmp_path):
    (tmp_path / "reid.pth").write_text("mine")
    with pytest.raises(UserError, match=r"reid\.pth: there already"):
        split_checkpoint(weights, tmp_path, None)
    assert [path.name for path in tmp_path.iterdir()] == ["reid.pth"]


@pytest.mark.parametrize("kind", ["cut", "flipped header", "foreign", "empty"])
def test_damaged_safetensors_are_refused(weights, tmp_path, kind):
    path = split_checkpoint(weights, tmp_path / "release", None)["anonymizer"]
    content = bytearray(path.read_bytes())
    if kind == "flipped header":
        content[20] ^= 0x80
    elif kind == "foreign":
        content = save({"anonymizer.x": torch.zeros(1)})
    path.write_bytes(content[: {"cut": 5000, "empty": 0}.get(kind)])
    with pytest.raises(UserError, match=str(path)):
        fastreid_privacy.load_anonymizer(path)


def test_an_image_map_is_a_network_or_an_operator():
    storage, network = ImageStorage("png"), torch.nn.Identity()
    operator = Desensitizer.from_config(load_config())
    for both in ((None, None), (network, operator)):
        with pytest.raises(ValueError, match="either a network or an operator"):
            ImageMap(*both, storage, (64, 32))


# -- sealed originals ----------------------------------------------------------------------------------------


def test_key_files_are_not_mistaken(tmp_path):
    public, private = sealing.new_identity(tmp_path, "pass")
    assert bytes(sealing.read_identity(private, "pass").public_key) == bytes(sealing.read_public_key(public))
    with pytest.raises(UserError, match="passphrase is needed"):
        sealing.read_identity(private)
    with pytest.raises(UserError, match="passphrase is wrong"):
        sealing.read_identity(private, "other")
    with pytest.raises(UserError, match="is a private key"):
        sealing.read_public_key(private)
    with pytest.raises(UserError, match="no key of this kind"):
        sealing.read_identity(public)
    with pytest.raises(UserError, match="there already"):
        sealing.new_identity(tmp_path, None)


@pytest.mark.parametrize("kind", ["public", "private"])
def test_every_wrong_digit_and_every_flipped_bit_of_a_key_is_refused(tmp_path, kind):
    paths = sealing.new_identity(tmp_path, None)
    path, read = {
        "public": (paths[0], sealing.read_public_key),
        "private": (paths[1], sealing.read_identity),
    }[kind]
    line = path.read_bytes()
    key = bytes(read(path))
    prefix = len(sealing.IDENTITY.prefixes["x25519"][kind == "private"])
    wrong = [
        line[:place] + digit.encode() + line[place + 1 :]
        for place in range(prefix, prefix + 64)
        for digit in "0123456789abcdef"
        if digit.encode() != line[place : place + 1]
    ]
    assert len(wrong) == 960
    for bit in range(8 * len(line)):
        flipped = bytearray(line)
        flipped[bit // 8] ^= 1 << bit % 8
        wrong.append(bytes(flipped))
    for content in wrong:
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{path} is damaged"):
            read(path)
    path.write_bytes(line.replace(b"\n", b" \r\n"))  # an editor of another system
    assert bytes(read(path)) == key


def test_keys_of_older_versions_are_read_with_a_warning(tmp_path, capsys):
    public, private = sealing.new_identity(tmp_path, None)
    fingerprint = sealing.recipient(sealing.read_public_key(public))
    for path, read in ((public, sealing.read_public_key), (private, sealing.read_identity)):
        key = bytes(read(path))
        assert capsys.readouterr().err == ""
        path.write_text(path.read_text().rpartition("-")[0] + "\n")
        assert bytes(read(path)) == key
        said = capsys.readouterr().err
        assert "has no checksum" in said and "--new-identity" in said
        assert fingerprint in said


LOW_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    2**255 - 20,
    2**255 - 19,
    2**255 - 18,
    2**255 + 9,  # the base point, as no key generator writes it: its sealed files would not open
)


@pytest.mark.parametrize("number", LOW_ORDER)
@pytest.mark.parametrize("older", [False, True])
def test_a_number_that_is_nobodys_key_is_refused(tmp_path, number, older):
    path = tmp_path / "identity.pub"
    line = sealing._key_line(sealing.IDENTITY.prefixes["x25519"][0], number.to_bytes(32, "little"))
    path.write_text(line.rpartition("-")[0] if older else line)
    with pytest.raises(UserError, match="nobody's key"):
        sealing.read_public_key(path)


@pytest.mark.parametrize("passphrase", [None, "pass"])
def test_a_key_is_tried_with_the_private_key_beside_it(tmp_path, passphrase):
    public, private = sealing.new_identity(tmp_path, passphrase)
    sealing.read_sealer([public])
    shutil.copy(sealing.new_identity(tmp_path / "other", passphrase)[1], private)
    with pytest.raises(UserError, match="are no pair"):
        sealing.read_sealer([public])


# -- the commands --------------------------------------------------------------------------------------------


def test_protect_seal_recover_and_open(weights, raw, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PASS", "the passphrase")
    release, keys, p = tmp_path / "release", tmp_path / "keys", tmp_path / "p"
    assert export("--weights", weights, "--output", release, "--passphrase-env", "PASS") == 0
    assert export("--new-identity", "--output", keys, "--passphrase-env", "PASS") == 0
    pseudonyms = tmp_path / "names.key"
    pseudonyms.write_bytes(bytes(32))
    words = {
        "weights": release / "anonymizer.safetensors",
        "input": raw,
        "seal": keys / "identity.pub",
        "pseudonymize": pseudonyms,
    }
    assert anonymize("--output", p, **words) == 0
    assert len(list(p.glob("*.png"))) == len(list(p.glob("*.png.sealed"))) == 5
    contents = {file.read_bytes() for file in raw.rglob("*.jpg")}
    assert not any(content[:200] in file.read_bytes() for content in contents for file in p.iterdir())

    read, write = os.pipe()
    os.write(write, b"the passphrase\nanother line")
    os.close(write)
    assert recover(key=release / "recovery.key", input=p, output=tmp_path / "r", passphrase_fd=read) == 0
    os.close(read)
    assert_decoded(weights, p, tmp_path / "r")
    opened = {
        "identity": keys / "identity.key",
        "input": p,
        "output": tmp_path / "o",
        "passphrase_env": "PASS",
    }
    assert recover(**opened) == 0
    assert {
        file.relative_to(tmp_path / "o"): file.read_bytes() for file in (tmp_path / "o").rglob("*.jpg")
    } == {file.relative_to(raw): file.read_bytes() for file in raw.rglob("*.jpg")}
    assert recover(**opened) == 0  # again: all is there

    next(p.glob("*.sealed")).unlink()  # a sealed original that was lost is made again
    assert anonymize("--output", p, **words) == 0
    assert len(list(p.glob("*.png.sealed"))) == 5
    broken = next(p.glob("*.sealed"))
    content = bytearray(broken.read_bytes())
    content[-1] ^= 1
    broken.write_bytes(content)
    shutil.rmtree(tmp_path / "o")
    capsys.readouterr()
    # the camera side notices it too, while the raw file is there
    assert anonymize("--output", p, **words) == 2
    assert f"{broken.name.removesuffix('.sealed')} was changed since" in capsys.readouterr().err
    assert recover(**opened) == 2
    assert f"{broken.name}: it does not open" in capsys.readouterr().err
    assert len(list((tmp_path / "o").rglob("*.jpg"))) == 4

    monkeypatch.setenv("PASS", "another")
    assert recover(**opened) == 2
    assert "passphrase is wrong" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "WEIGHTS"], "no terminal"),
        (["--weights", "WEIGHTS", "--passphrase-env", "ABSENT"], "passphrase is empty"),
        (["--weights", "WEIGHTS", "--passphrase-fd", "99"], "file descriptor 99"),
        (["--weights", "WEIGHTS", "--unencrypted", "--passphrase-env", "X"], "needs no passphrase"),
        (["--weights", "absent.pth", "--unencrypted"], "does not exist"),
    ],
)
def test_export_refuses(weights, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert export(*(weights if word == "WEIGHTS" else word for word in words), output=tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("made", ["release", "keys"])
def test_an_export_is_one_act(weights, tmp_path, capsys, made):
    """A full disk and another export at the same time leave nothing that blocks the next one."""
    what = ["--weights", weights] if made == "release" else ["--new-identity"]
    words, out = [*what, "--unencrypted", "--output", tmp_path / "out"], tmp_path / "out"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000 if made == "release" else 20, limits[1]))
    try:
        assert export(*words) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(out.iterdir()) == []
    with locked(out, "another"):
        assert export(*words) == 2
    assert "another command writes to" in capsys.readouterr().err and list(out.iterdir()) == []
    assert export(*words) == 0
    secret = "recovery.safetensors" if made == "release" else "identity.key"
    assert {file.name for file in out.iterdir() if stat.S_IMODE(file.stat().st_mode) == 0o600} == {secret}
    before = {file: file.read_bytes() for file in out.iterdir()}
    assert export(*words) == 2 and "there already" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in out.iterdir()} == before


def test_a_prompt_asks_twice_for_a_new_passphrase(weights, tmp_path, monkeypatch, capsys):
    answers = ["one", "two"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: answers.pop(0))
    assert export("--weights", weights, "--output", tmp_path / "out") == 2
    assert "differ" in capsys.readouterr().err
    answers[:] = ["one", "one"]
    assert export("--weights", weights, "--output", tmp_path / "out") == 0
    assert decrypt((tmp_path / "out" / "recovery.key").read_bytes(), "one", "key")[1]["part"] == "recovery"


def test_what_was_not_sealed_cannot_be_opened(weights, raw, tmp_path, capsys):
    _, private = sealing.new_identity(tmp_path / "keys", None)
    assert anonymize("--weights", weights, "--input", raw, "--output", tmp_path / "p") == 0
    assert recover("--identity", private, "--input", tmp_path / "p", "--output", tmp_path / "o") == 2
    assert "holds no sealed originals" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["file", "file/deeper", "link"])
@pytest.mark.parametrize("command", ["anonymize", "recover", "open", "export", "new identity"])
def test_an_output_folder_that_cannot_be_made_is_named(raw, weights, tmp_path, capsys, command, where):
    public, private = sealing.new_identity(tmp_path / "keys", None)
    words = {
        "anonymize": ["--method", "blur", "--input", raw],
        "recover": ["--key", weights, "--input", tmp_path / "p"],
        "open": ["--identity", private, "--input", tmp_path / "p"],
        "export": ["--weights", weights, "--unencrypted"],
        "new identity": ["--new-identity", "--unencrypted"],
    }[command]
    if command in ("recover", "open"):
        made = ["--weights", weights, "--input", raw, "--seal", public, "--output", tmp_path / "p"]
        assert anonymize(*made) == 0
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "absent" / "deeper")
    run = {"anonymize": anonymize, "recover": recover, "open": recover}.get(command, export)
    capsys.readouterr()
    assert run(*words, "--output", tmp_path / where) == 2
    out, err = capsys.readouterr()
    reason = "Not a directory" if where == "file/deeper" else "File exists"
    said = f"error: --output {tmp_path / where} cannot be made: {reason}; choose another folder"
    assert out == "" and err.splitlines()[-1] == said and err.count("error") == 1
    assert (tmp_path / "file").read_bytes() == b"mine" and not (tmp_path / "absent").exists()


@pytest.mark.parametrize("command", ["anonymize", "new identity"])
def test_an_output_folder_of_others_is_named(raw, tmp_path, capsys, monkeypatch, command):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    words = ["--output", tmp_path / "out"]
    if command == "anonymize":
        assert anonymize("--method", "blur", "--input", raw, *words) == 2
    else:
        assert export("--new-identity", "--unencrypted", *words) == 2
    said = f"error: --output {tmp_path / 'out'} cannot be written to; choose another folder"
    assert capsys.readouterr().err.splitlines()[-1] == said and not list((tmp_path / "out").iterdir())


def sealed_folder(raw, tmp_path, *words):
    """A protected folder with five sealed originals, and the private key."""
    public, private = sealing.new_identity(tmp_path / "keys", None)
    made = ["--method", "blur", "--input", raw, "--seal", public, "--output", tmp_path / "p", *words]
    assert anonymize(*made) == 0
    return sorted((tmp_path / "p").rglob("*.sealed")), private, made


@pytest.mark.parametrize("damage", ["exchanged", "overwritten", "missing", "forged"])
def test_a_sealed_original_that_is_not_the_one_written_is_named(raw, tmp_path, capsys, damage):
    (first, second, *_), private, _ = sealed_folder(raw, tmp_path)
    wrong = [first]
    if damage == "exchanged":
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
        wrong = [first, second]
    elif damage == "overwritten":
        first.write_bytes(second.read_bytes())
    elif damage == "missing":
        first.unlink()
    else:  # by somebody who has the public key, under the right name
        key = sealing.read_identity(private)
        name, *_ = sealing.open_sealed(first.read_bytes(), key)
        first.write_bytes(sealing.seal(name, b"another picture", [key.public_key]))
    words = ["--identity", private, "--input", tmp_path / "p", "--output", tmp_path / "o"]
    assert recover(*words) == 2
    out, err = capsys.readouterr()
    assert (
        f"{5 - len(wrong)} sealed originals opened" in out and f"{len(wrong)} images were not opened" in err
    )
    assert all(f"{file.relative_to(tmp_path / 'p')}: it" in err for file in wrong)
    originals = {file.relative_to(raw): file.read_bytes() for file in raw.rglob("*.jpg")}
    opened = {file.relative_to(tmp_path / "o"): file for file in (tmp_path / "o").rglob("*.jpg")}
    assert len(opened) == 5 - len(wrong)
    assert all(file.read_bytes() == originals[name] for name, file in opened.items())
    assert {stat.S_IMODE(file.stat().st_mode) for file in opened.values()} == {0o600}


@pytest.mark.parametrize("words", [(), ("--carry", "pixels", "--carry-fit", "best")])
def test_a_full_disk_ends_the_opening_of_originals_and_it_continues(
    raw, tmp_path, monkeypatch, capsys, words
):
    _, private, _ = sealed_folder(raw, tmp_path, *words)
    words = ["--identity", private, "--input", tmp_path / "p", "--output"]
    assert recover(*words, tmp_path / "whole") == 0
    whole = contents(tmp_path / "whole")
    capsys.readouterr()
    written = []

    def write_atomically(path, write, **options):
        written.append(path)
        if len(written) > 2:
            raise OSError(number, os.strerror(number))
        files.write_atomically(path, write, **options)

    monkeypatch.setattr(unseal, "write_atomically", write_atomically)
    number = errno.ENOSPC
    assert recover(*words, tmp_path / "o") == 2
    out, err = capsys.readouterr()
    said = f"error: {written[-1]} cannot be written: No space left on device; run the same command again"
    assert said in err and "opened" not in out and len(written) == 3
    assert len(contents(tmp_path / "o")) == 2
    number = errno.EACCES  # of one folder: the rest goes on
    written.clear()
    assert recover(*words, tmp_path / "other") == 2
    out, err = capsys.readouterr()
    assert "2 sealed originals opened" in out and "3 images were not opened" in err
    assert f": {written[-1]} cannot be written: Permission denied" in err
    monkeypatch.undo()
    assert recover(*words, tmp_path / "o") == 0
    assert contents(tmp_path / "o") == whole


def test_a_sealed_original_that_the_disk_does_not_give_is_said_to_be_unreadable(
    raw, tmp_path, monkeypatch, capsys
):
    """It fails as it is written: it was read before."""
    _, private, _ = sealed_folder(raw, tmp_path)

    def no_piece(self):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(streaming.SealedFile, "pieces", no_piece)
    assert recover("--identity", private, "--input", tmp_path / "p", "--output", tmp_path / "o") == 2
    assert ".sealed: it cannot be read: Input/output error" in capsys.readouterr().err


@pytest.mark.parametrize("pseudonyms", [False, True])
def test_names_inside_sealed_originals_belong_to_their_files(raw, tmp_path, capsys, pseudonyms):
    """Also where the manifest was forged with them."""
    (tmp_path / "names.key").write_bytes(bytes(32))
    words = ["--pseudonymize", tmp_path / "names.key"] if pseudonyms else []
    (first, second, *_), private, _ = sealed_folder(raw, tmp_path, *words)
    manifest = tmp_path / "p" / "manifest.jsonl"
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (first, second)]
    write_forged(manifest, manifest.read_text().replace(*hashes))
    first.write_bytes(second.read_bytes())
    words = ["--identity", private, "--input", tmp_path / "p", "--output", tmp_path / "o"]
    assert recover(*words) == 2
    out, err = capsys.readouterr()
    assert "4 sealed originals opened" in out and "1 images were not opened" in err
    assert ("and so does" if pseudonyms else "cannot come") in err
    lines = manifest.read_text().replace(
        json.dumps(str(second.relative_to(tmp_path / "p")))[1:-1],
        json.dumps(str(first.relative_to(tmp_path / "p")))[1:-1],
    )
    write_forged(manifest, lines)  # one sealed file for two
    assert recover(*words) == 2
    assert "has another's sealed original" in capsys.readouterr().err


def test_a_folder_is_sealed_to_one_key(raw, tmp_path, capsys):
    _, _, made = sealed_folder(raw, tmp_path)
    other, private = sealing.new_identity(tmp_path / "other", None)
    mine, theirs = (
        sealing.recipient(sealing.read_public_key(tmp_path / folder / "identity.pub"))
        for folder in ("keys", "other")
    )
    made[made.index("--seal") + 1] = other
    assert anonymize(*made) == 2
    assert f"was made otherwise (recipient {mine} there, {theirs} here)" in capsys.readouterr().err
    words = ["--identity", private, "--input", tmp_path / "p", "--output", tmp_path / "o"]
    assert recover(*words) == 2
    err = capsys.readouterr().err
    assert f"sealed to the key with the fingerprint {mine}" in err and theirs in err
    assert not (tmp_path / "o").exists()
    # a manifest of an older version does not say
    manifest = tmp_path / "p" / "manifest.jsonl"
    write_forged(manifest, manifest.read_text().replace(f', "recipient": "{mine}"', ""))
    words[1] = tmp_path / "keys" / "identity.key"
    assert recover(*words) == 0


@pytest.mark.parametrize("encrypted", [["--passphrase-env", "PASS"], ["--unencrypted"]])
@pytest.mark.parametrize("name", ["identity", "search"])
def test_a_private_key_is_no_recovery_key(raw, weights, tmp_path, monkeypatch, capsys, encrypted, name):
    """No passphrase is asked for, which would open nothing."""
    monkeypatch.setenv("PASS", "the passphrase")
    assert export(f"--new-{name}", "--output", tmp_path, *encrypted) == 0
    assert anonymize("--weights", weights, "--input", raw, "--output", tmp_path / "p") == 0
    words = ["--key", tmp_path / f"{name}.key", "--input", tmp_path / "p", "--output", tmp_path / "r"]
    assert recover(*words) == 2
    said = capsys.readouterr().err
    assert f"{name}.key is damaged or no recovery key" in said and "--identity" in said
