"""Sealing and opening piece by piece: the same form as at once, and a memory that does not grow."""

from __future__ import annotations

import fastreid_privacy  # before fastreid

# isort: split
import random
import tracemalloc

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from in_process import anonymize, contents, recover
from rendered_video import write_video

from fastreid_privacy.core.errors import UserError
from fastreid_privacy.keys import streaming
from fastreid_privacy.keys.envelope import BESIDE, MAGIC, Original, close, open_sealed, packed, seal
from fastreid_privacy.keys.pairs import HYBRID, X25519, PrivateKey
from fastreid_privacy.keys.sealing import new_identity
from fastreid_privacy.keys.streaming import open_sealed_file, pieces, seal_stream

assert fastreid_privacy

MIB = 2**20


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 63, 64, 65, 1000])
@pytest.mark.parametrize("bound", [b"", b"slots", bytes(16), bytes(33)])
def test_the_cipher_is_that_of_the_library(length, bound):
    """RFC 8439: an independent implementation, OpenSSL's; and its test vector's construction by pieces."""
    rng = random.Random(length)
    key, plain = rng.randbytes(32), rng.randbytes(length)
    expected = ChaCha20Poly1305(key).encrypt(bytes(12), plain, bound)
    for size in (1, 7, 64, 2000):
        cipher = streaming._Cipher(key, bound)
        closed = b"".join(cipher.encrypt(plain[at : at + size]) for at in range(0, length, size))
        assert closed + cipher.tag() == expected
        again = streaming._Cipher(key, bound)
        assert b"".join(again.decrypt(closed[at : at + size]) for at in range(0, length, size)) == plain
        assert again.tag() == expected[length:]


def sealed_stream(path, name, content, keys):
    with path.open("wb") as file:
        seal_stream(
            file, name, iter([content[:5], content[5:]]), len(content), [key.public_key for key in keys]
        )
    return path


@pytest.mark.parametrize("kind", [X25519, HYBRID])
@pytest.mark.parametrize("length", [0, 3, streaming.PIECE - 60, streaming.PIECE, 2 * streaming.PIECE + 5])
def test_what_is_sealed_in_pieces_opens_at_once_and_the_other_way_round(tmp_path, kind, length):
    keys, content = [PrivateKey.generate(kind) for _ in range(3)], random.Random(0).randbytes(length)
    stream = sealed_stream(tmp_path / "stream", "a/ü.mp4", content, keys)
    whole = tmp_path / "whole"
    whole.write_bytes(seal("a/ü.mp4", content, [key.public_key for key in keys]))
    assert stream.stat().st_size == whole.stat().st_size
    for key in keys:
        assert open_sealed(stream.read_bytes(), key) == ("a/ü.mp4", content, None)
        for path in (stream, whole):
            opened = open_sealed_file(path, key)
            assert opened.name == "a/ü.mp4" and b"".join(opened.pieces()) == content
    with pytest.raises(UserError, match="sealed to another key"):
        open_sealed_file(stream, PrivateKey.generate(kind))


def test_a_flipped_bit_anywhere_and_every_cut_are_refused(tmp_path):
    key = PrivateKey.generate()
    sealed = sealed_stream(
        tmp_path / "s", "a.mp4", b"raw and more", [key, PrivateKey.generate()]
    ).read_bytes()
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1 << place % 8
        for wrong in (bytes(changed), sealed[:place], sealed + b"\0"):
            (tmp_path / "wrong").write_bytes(wrong)
            with pytest.raises(UserError, match=r"does not open|no sealed file"):
                open_sealed_file(tmp_path / "wrong", key)


def test_a_file_that_is_exchanged_after_it_was_opened_is_not_given(tmp_path):
    key = PrivateKey.generate()
    path = sealed_stream(tmp_path / "s", "a.mp4", bytes(1000), [key])
    opened = open_sealed_file(path, key)
    changed = bytearray(path.read_bytes())
    changed[-100] ^= 1
    path.write_bytes(changed)
    with pytest.raises(UserError, match="does not open"):
        list(opened.pieces())


@pytest.mark.parametrize(
    "first",
    [
        b"[" * 100_000,
        b"no JSON",
        b'{"name": "../a", "length": 3}',
        b'{"name": "a", "length": 4}',
        b'{"name": "a", "length": 2}',
        b'{"name": "a", "length": true}',
    ],
)
def test_what_somebody_else_sealed_on_purpose_is_refused(tmp_path, first):
    key = PrivateKey.generate()
    (tmp_path / "forged").write_bytes(MAGIC + close(first + b"\nabc", [key.public_key], BESIDE))
    with pytest.raises(UserError, match="it is no file that"):
        list(open_sealed_file(tmp_path / "forged", key).pieces())


def test_zeros_behind_a_raw_file_are_passed_over(tmp_path):
    key = PrivateKey.generate()
    plain = packed(Original("a", b"abc")) + bytes(3 * streaming.PIECE)
    (tmp_path / "filled").write_bytes(MAGIC + close(plain, [key.public_key], BESIDE))
    assert b"".join(open_sealed_file(tmp_path / "filled", key).pieces()) == b"abc"


def test_another_length_than_announced_is_not_sealed(tmp_path):
    key = PrivateKey.generate().public_key
    for length in (2, 4, streaming.LARGEST):
        with (tmp_path / "s").open("wb") as file, pytest.raises(UserError, match=r"its length|more than can"):
            seal_stream(file, "a", iter([b"abc"]), length, [key])


def peak_of(mebibytes, folder):
    """The most memory that sealing and opening takes, in bytes."""
    key, raw, sealed = PrivateKey.generate(), folder / "raw", folder / "sealed"
    with raw.open("wb") as file:
        for number in range(mebibytes):
            file.write(bytes([number]) * MIB)
    tracemalloc.start()
    with raw.open("rb") as file, sealed.open("wb") as target:
        seal_stream(target, "raw", pieces(file), mebibytes * MIB, [key.public_key])
    total = sum(len(piece) for piece in open_sealed_file(sealed, key).pieces())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == mebibytes * MIB
    return peak


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = [peak_of(mebibytes, tmp_path) for mebibytes in (8, 64)]
    assert max(peaks) < 4 * MIB and peaks[1] < peaks[0] + 100_000


def test_a_large_video_is_sealed_and_opened_in_flat_memory(tmp_path):
    """Of a video with 40 MiB of something that players pass over: the whole commands, by tracemalloc."""
    public, private = new_identity(tmp_path / "keys", None)
    frames = [np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8) for number in range(2)]
    video = write_video(tmp_path / "video.mkv", frames)
    with video.open("ab") as file:
        # an element of Matroska that is void
        file.write(b"\xec\x01" + (40 * MIB).to_bytes(7, "big") + bytes(40 * MIB))
    (tmp_path / "boxes.txt").write_text("1,1,8,8,20,30\n")
    words = ["--method", "mask", "--input", video, "--boxes", tmp_path / "boxes.txt", "--seal", public]
    tracemalloc.start()
    assert anonymize(*words, "--output", tmp_path / "out") == 0
    assert recover("--identity", private, "--input", tmp_path / "out", "--output", tmp_path / "again") == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25 * MIB
    assert contents(tmp_path / "again") == {"video.mkv": video.read_bytes()}
    # what is there already is compared in pieces, too, and another file stays
    assert recover("--identity", private, "--input", tmp_path / "out", "--output", tmp_path / "again") == 0
    (tmp_path / "again" / "video.mkv").write_bytes(b"mine")
    assert recover("--identity", private, "--input", tmp_path / "out", "--output", tmp_path / "again") == 2
    assert (tmp_path / "again" / "video.mkv").read_bytes() == b"mine"
