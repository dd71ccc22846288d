"""The form of sealed originals: key pairs of both kinds, several recipients, older files, forged and damaged
ones."""

from __future__ import annotations

# before fastreid: importing the package makes it work

# isort: split
import hashlib
import hmac
import json
import random
import shutil

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from forged_manifests import write_forged
from in_process import anonymize, export, recover
from nacl.bindings import crypto_scalarmult
from nacl.public import PublicKey as BoxKey
from nacl.public import SealedBox
from PIL import Image

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.keys import envelope, sealing
from fastreid_privacy.keys.envelope import BESIDE, MAGIC, MAGIC_1, Original, close, disclose, packed
from fastreid_privacy.keys.pairs import HYBRID, KINDS, X25519, PrivateKey, PublicKey

KINDS_OF_KEYS = pytest.mark.parametrize("kind", [X25519, HYBRID])


@pytest.fixture
def raw(tmp_path):
    """Three pictures, two of them in a folder."""
    rng = np.random.default_rng(0)
    (tmp_path / "raw" / "ünter").mkdir(parents=True)
    for name in ("one.jpg", "ünter/two.jpg", "ünter/three.png"):
        picture = Image.fromarray(rng.integers(0, 256, (8, 4, 3), np.uint8)).resize((32, 64))
        picture.save(tmp_path / "raw" / name)
    return tmp_path / "raw"


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- HPKE ----------------------------------------------------------------------------------------------------


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand of RFC 5869, of one block at most."""
    return hmac.digest(key, info + b"\1", "sha256")[:length]


def open_by_the_rfc(enc: bytes, ciphertext: bytes, private: bytes, public: bytes, info: bytes) -> bytes:
    """RFC 9180, base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305; its own names."""

    def extract(salt, label, ikm, suite):
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")

    def labeled(prk, label, text, length, suite):
        return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + text, length)

    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"
    eae_prk = extract(b"", b"eae_prk", crypto_scalarmult(private, enc), kem)
    shared_secret = labeled(eae_prk, b"shared_secret", enc + public, 32, kem)
    psk_id_hash, info_hash = (
        extract(b"", name, text, suite) for name, text in ((b"psk_id_hash", b""), (b"info_hash", info))
    )
    context = b"\0" + psk_id_hash + info_hash
    secret = extract(shared_secret, b"secret", b"", suite)
    key = labeled(secret, b"key", context, 32, suite)
    base_nonce = labeled(secret, b"base_nonce", context, 12, suite)
    return ChaCha20Poly1305(key).decrypt(base_nonce, ciphertext, b"")


def test_a_sealed_file_opens_by_the_rfc():
    key = PrivateKey.generate()
    sealed = sealing.seal("a/ü.jpg", b"raw", [key.public_key])
    body = sealed.removeprefix(b"fastreid_privacy sealed 2\n")
    slot, ciphertext = body[:81], body[81:]
    info = b"fastreid_privacy sealed 2\nbeside"
    secret = open_by_the_rfc(slot[:32], slot[32:], bytes(key), bytes(key.public_key), info)
    assert len(secret) == 33 and secret[32] == 1  # the key, and one recipient
    plain = ChaCha20Poly1305(secret[:32]).decrypt(bytes(12), ciphertext, slot)
    assert plain == json.dumps({"name": "a/ü.jpg", "length": 3}).encode() + b"\nraw"
    with pytest.raises(InvalidTag):
        open_by_the_rfc(slot[:32], slot[32:], bytes(key), bytes(key.public_key), info + b" it")


@KINDS_OF_KEYS
def test_the_bytes_that_sealing_adds_are_those_announced(kind):
    keys = [PrivateKey.generate(kind).public_key for _ in range(3)]
    for count in (1, 2, 3):
        plain = packed(Original("name", b"content"))
        assert len(close(plain, keys[:count], b"")) == len(plain) + envelope.overhead(keys[:count])


@KINDS_OF_KEYS
def test_each_recipient_opens_and_nobody_else(kind):
    keys = [PrivateKey.generate(kind) for _ in range(16)]
    sealed = sealing.seal("a/ü.jpg", b"raw", [key.public_key for key in keys])
    for key in keys:
        assert sealing.open_sealed(sealed, key) == ("a/ü.jpg", b"raw", None)
    for other in (PrivateKey.generate(X25519), PrivateKey.generate(HYBRID)):
        with pytest.raises(UserError, match="sealed to another key"):
            sealing.open_sealed(sealed, other)


@pytest.mark.parametrize(("kind", "step"), [(X25519, 1), (HYBRID, 17)])
def test_a_flipped_bit_anywhere_and_every_cut_are_refused_for_each_recipient(kind, step):
    """Also one in the slot of another recipient."""
    keys, rng = [PrivateKey.generate(kind) for _ in range(2)], random.Random(0)
    sealed = sealing.seal("a.jpg", b"raw", [key.public_key for key in keys])
    for place in range(0, len(sealed), step):
        changed = bytearray(sealed)
        changed[place] ^= 1 << rng.randrange(8)
        for wrong in (bytes(changed), sealed[:place], sealed[:place] + sealed[place + 1 :]):
            for key in keys:
                with pytest.raises(UserError, match=r"does not open|no sealed file"):
                    sealing.open_sealed(wrong, key)


@KINDS_OF_KEYS
def test_what_is_bound_is_needed(kind):
    key = PrivateKey.generate(kind)
    closed = close(b"plain", [key.public_key], b"a picture")
    assert disclose(closed, key, b"a picture") == b"plain"
    assert disclose(closed, key, b"another picture") is None
    with pytest.raises(UserError, match="does not open"):
        sealing.open_sealed(MAGIC + closed, key)


def test_two_sealed_files_of_one_original_share_nothing():
    key = PrivateKey.generate().public_key
    one, other = (sealing.seal("a", bytes(4000), [key]).removeprefix(MAGIC) for _ in range(2))
    same = np.equal(np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)).mean()
    assert same < 4 / 256  # one in 256 by chance
    counts = np.bincount(np.frombuffer(one, np.uint8), minlength=256)
    expected = len(one) / 256
    # uniform bytes: chi-square of 255 degrees of freedom, six standard deviations
    assert (np.square(counts - expected) / expected).sum() < 255 + 6 * np.sqrt(2 * 255)


FORGED = [
    b'{"name": "", "length": 3}',
    b'{"name": ".", "length": 3}',
    b'{"name": 7, "length": 3}',
    b"[]",
    b"7",
    b"not JSON",
    b'{"name": "a"}',
    b'{"length": 3}',
    b'{"name": "a\\u0000b", "length": 3}',
    b'{"name": "\\ud800", "length": 3}',
    b'{"name": "../a", "length": 3}',
    b'{"name": "a/../../b", "length": 3}',
    b'{"name": "/a", "length": 3}',
    b'{"name": "a", "length": 4}',
    b'{"name": "a", "length": 2}',  # and what follows are no zeros
    b'{"name": "a", "length": -1}',
    b'{"name": "a", "length": 1e99}',
    b'{"name": "a", "length": true}',
    b'{"name": "a", "length": 99999999999999999999}',
    b'{"name": "a", "length": 3, "fitted": 7}',
    b'{"name": "a", "length": 3, "fitted": {}}',
    b'{"name": "a", "length": 3, "fitted": {"format": "exe", "quality": 1, "psnr": 1.0}}',
    b'{"name": "a", "length": 3, "fitted": {"format": "webp", "quality": 101, "psnr": 1.0}}',
    b'{"name": "a", "length": 3, "fitted": {"format": "webp", "quality": 1, "psnr": "much"}}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("first", FORGED)
def test_what_somebody_else_sealed_on_purpose_is_refused(first):
    """Everybody who has the public key can seal."""
    key = PrivateKey.generate()
    forged = MAGIC + close(first + b"\nabc", [key.public_key], BESIDE)
    with pytest.raises(UserError, match="it is no file that"):
        sealing.open_sealed(forged, key)


# -- files of version 1 --------------------------------------------------------------------------------------


def boxed(name: bytes, content: bytes, key: PublicKey) -> bytes:
    """As the version before wrote it."""
    return MAGIC_1 + SealedBox(BoxKey(bytes(key))).encrypt(name + b"\n" + content)


def test_a_sealed_box_of_libsodium_still_opens():
    key = PrivateKey.generate()
    sealed = boxed(b'"a/\\u00fc.jpg"', b"raw", key.public_key)
    assert sealing.open_sealed(sealed, key) == ("a/ü.jpg", b"raw", None)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(UserError):
            sealing.open_sealed(bytes(changed), key)
    for other in (PrivateKey.generate(), PrivateKey.generate(HYBRID)):
        with pytest.raises(UserError, match="sealed to another key"):
            sealing.open_sealed(sealed, other)
    for name in (b'""', b'"."', b"7", b"[]", b"not JSON", b'"a\\u0000b"', b'"\\ud800"', b'"../a"', b'"/a"'):
        with pytest.raises(UserError, match="it is no file that"):
            sealing.open_sealed(boxed(name, b"abc", key.public_key), key)


def test_a_folder_of_version_1_still_opens_and_goes_on(raw, tmp_path):
    public, private = sealing.new_identity(tmp_path / "keys", None)
    out, key = tmp_path / "out", sealing.read_public_key(public)
    words = ["--method", "blur", "--seal", public, "--input", raw, "--output", out]
    assert anonymize(*words) == 0
    text = (out / "manifest.jsonl").read_text()
    for name, ending in (("one", "jpg"), ("ünter/two", "jpg")):
        path = out / f"{name}.png.sealed"
        before = hashlib.sha256(path.read_bytes()).hexdigest()
        original = raw / f"{name}.{ending}"
        inside = json.dumps(f"{name}.{ending}").encode()
        path.write_bytes(boxed(inside, original.read_bytes(), key))
        text = text.replace(before, hashlib.sha256(path.read_bytes()).hexdigest())
    write_forged(out / "manifest.jsonl", text)
    before = files(out)
    assert anonymize(*words) == 0  # continues, and finds that nothing is to do
    assert files(out) == before
    opened = ["--identity", private, "--input", out, "--output", tmp_path / "again"]
    assert recover(*opened) == 0
    assert files(tmp_path / "again") == files(raw)


# -- key files and the commands ------------------------------------------------------------------------------


def test_a_hybrid_key_file_is_as_carefully_read(tmp_path):
    public, private = sealing.new_identity(tmp_path, None, HYBRID)
    key = sealing.read_identity(private)
    assert key.kind == HYBRID and key.public_key == sealing.read_public_key(public)
    assert len(bytes(key)) == KINDS[HYBRID].private and len(bytes(key.public_key)) == KINDS[HYBRID].public
    assert str(bytes(key).hex()) not in repr(key)
    with pytest.raises(UserError, match="is a private key"):
        sealing.read_public_key(private)
    with pytest.raises(UserError, match="no key of this kind"):
        sealing.read_identity(public)
    rng = random.Random(0)
    for path, read in ((public, sealing.read_public_key), (private, sealing.read_identity)):
        line = path.read_bytes()
        places = [*range(50), *rng.sample(range(len(line)), 100), *range(len(line) - 20, len(line))]
        wrong = [line[:place] for place in places if place < len(line) - 1]
        wrong.append(line.rpartition(b"-")[0] + b"\n")  # no older version wrote such a key
        for place in places:
            flipped = bytearray(line)
            flipped[place] ^= 1 << rng.randrange(8)
            wrong.append(bytes(flipped))
        for content in wrong:
            path.write_bytes(content)
            with pytest.raises(UserError, match=f"{path} is"):
                read(path)
        path.write_bytes(line)
    low = bytes(key.public_key)[:-32] + bytes(32)
    public.write_text(sealing._key_line(sealing.IDENTITY.prefixes[HYBRID][0], low))
    with pytest.raises(UserError, match="nobody's key"):
        sealing.read_public_key(public)


@pytest.mark.parametrize("kinds", [[X25519, X25519, X25519], [HYBRID, HYBRID]])
def test_a_collection_for_several_owners(raw, tmp_path, monkeypatch, capsys, kinds):
    monkeypatch.setattr("fastreid_privacy.keys.encryption.COST", {"n": 2**10, "r": 8, "p": 1})
    monkeypatch.setenv("PASS", "the passphrase")
    pairs = []
    for place, kind in enumerate(kinds):
        words = ["--new-identity", "--key-type", kind, "--output", tmp_path / f"keys{place}"]
        assert export(*words, "--passphrase-env", "PASS") == 0
        pairs.append((tmp_path / f"keys{place}" / "identity.pub", tmp_path / f"keys{place}" / "identity.key"))
    seal = [word for public, _ in pairs for word in ("--seal", public)]
    words = ["--method", "blur", "--input", raw, "--output", tmp_path / "out"]
    assert anonymize(*words, *seal) == 0
    assert anonymize(*words, *seal[2:], *seal[:2]) == 0  # their order does not count
    for place, (_, private) in enumerate(pairs):
        opened = ["--identity", private, "--passphrase-env", "PASS", "--output", tmp_path / f"again{place}"]
        assert recover(*opened, "--input", tmp_path / "out") == 0
        assert files(tmp_path / f"again{place}") == files(raw)
    capsys.readouterr()
    assert anonymize(*words, *seal[2:]) == 2  # fewer owners than there were
    assert "was made otherwise (recipient " in capsys.readouterr().err
    _, other = sealing.new_identity(tmp_path / "other", None, kinds[0])
    opened = ["--identity", other, "--input", tmp_path / "out", "--output", tmp_path / "o"]
    assert recover(*opened) == 2
    assert "was sealed to the key with the fingerprint" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_keys_that_do_not_go_together_are_refused(raw, tmp_path, capsys):
    one, private = sealing.new_identity(tmp_path / "one", None)
    hybrid, _ = sealing.new_identity(tmp_path / "hybrid", None, HYBRID)
    (tmp_path / "copy").mkdir()
    copy = shutil.copy(one, tmp_path / "copy")
    many = [sealing.new_identity(tmp_path / f"{place}", None)[0] for place in range(17)]
    words = ["--method", "blur", "--input", raw, "--output", tmp_path / "out"]
    for keys, said in (
        ([one, hybrid], "keys of both kinds"),
        ([one, copy], "names one key twice"),
        (many, "at most 16"),
        ([one, private], "is a private key"),
    ):
        assert anonymize(*words, *(word for key in keys for word in ("--seal", key))) == 2
        assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert export("--weights", "x.pth", "--key-type", HYBRID, "--output", tmp_path / "r") == 2
    assert "--key-type is for --new-identity" in capsys.readouterr().err
