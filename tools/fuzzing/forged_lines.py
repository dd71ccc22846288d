"""Manifests, results, answers, keys, sealed files and indexes as a hostile person would write them."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .forging import Forge

ABSURD: tuple[Any, ...] = (
    0,
    -1,
    1,
    2**31,
    2**40,
    2**63,
    1e308,
    float("nan"),
    "x",
    "../out",
    None,
    [],
    {},
    True,
    "9" * 5000,
)
# -- lines and objects of JSON -------------------------------------------------------------------------------


def _change_json(value: Any, rng: random.Random, absurd: tuple = ABSURD) -> Any:
    """One value somewhere inside replaced, removed or named otherwise."""
    node, key = value, None
    while isinstance(node, dict | list) and node:
        parent, key = node, rng.choice(sorted(node)) if isinstance(node, dict) else rng.randrange(len(node))
        node = parent[key]
        if rng.random() < 0.25:
            break
    if key is None:
        return rng.choice(absurd)
    choice = rng.random()
    if choice < 0.15:
        del parent[key]
    elif choice < 0.25 and isinstance(parent, dict):
        parent[rng.choice(("x", "complete", "failed", "path", "config"))] = parent.pop(key)
    else:
        parent[key] = rng.choice(absurd)
    return value


def _json(content: bytes, rng: random.Random) -> bytes:
    return json.dumps(_change_json(json.loads(content), rng)).encode()


def _json_line(content: bytes, rng: random.Random) -> bytes:
    """One line changed; with the sum of newer versions, which a hostile person writes anew."""
    lines = content.splitlines()
    place = rng.randrange(len(lines))
    lines[place] = json.dumps(_change_json(json.loads(lines[place]), rng)).encode()
    return b"\n".join(lines) + b"\n"


def _json_path(content: bytes, rng: random.Random) -> bytes:
    """A path that leads elsewhere."""
    lines = [json.loads(text) for text in content.splitlines()]
    entries = [record for record in lines if "path" in record]
    if entries:
        paths = ("../out.png", "/tmp/out.png", "a/../../b.png", "", ".", "a\0.png", "x" * 300, "\ud800.png")
        rng.choice(entries)[rng.choice(("path", "sealed"))] = rng.choice(paths)
    return b"\n".join(json.dumps(record).encode() for record in lines) + b"\n"


def _json_lines_moved(content: bytes, rng: random.Random) -> bytes:
    """A line twice, left out, or in another place."""
    lines = content.splitlines()
    line = lines[rng.randrange(len(lines))]
    if rng.random() < 0.5:
        lines.remove(line)
    if rng.random() < 0.7:
        lines.insert(rng.randrange(len(lines) + 1), line)
    return b"\n".join(lines) + b"\n"


MANIFESTS: dict[str, Forge] = {"line": _json_line, "path": _json_path, "moved": _json_lines_moved}
RESULTS: dict[str, Forge] = {"value": _json}
STUDIES: dict[str, Forge] = {"value": _json}


def _locked_header(content: bytes, rng: random.Random) -> bytes:
    first, _, rest = content.partition(b"\n")
    return json.dumps(_change_json(json.loads(first), rng)).encode() + b"\n" + rest


LOCKED: dict[str, Forge] = {"header": _locked_header}


# -- keys and sealed files -----------------------------------------------------------------------------------


def _identity(content: bytes, rng: random.Random) -> bytes:
    """Another key in a line of the same form."""
    text = content.decode().strip()
    prefix = text[: text.rindex("-", 0, -20) + 1] if text.count("-") > 2 else text[: text.rindex("-") + 1]
    digits = rng.choice(
        ("0" * 64, "01" + "0" * 62, "f" * 64, "ec" + "f" * 60 + "7f", rng.randbytes(32).hex())
    )
    return f"{prefix}{digits}\n".encode()


IDENTITIES: dict[str, Forge] = {"key": _identity}


def _sealed(content: bytes, rng: random.Random) -> bytes:
    """Sealed by somebody else who has the public key, in the form of this version or of the one before."""
    from fastreid_privacy.keys.sealing import read_public_key

    key = read_public_key("keys/identity.pub")
    names = (
        '"one.png"',
        '"../x.png"',
        "[" * 10**5,
        "1",
        '"/tmp/x"',
        '""',
        '"' + "x" * 10**4 + '"',
        '"a\\u0000"',
    )
    name, picture = rng.choice(names), Path("raw/three.jpg").read_bytes()
    if rng.randrange(2):
        from nacl.public import PublicKey, SealedBox

        inside = name.encode() + rng.choice((b"\n", b"")) + picture
        return b"fastreid_privacy sealed 1\n" + SealedBox(PublicKey(bytes(key))).encrypt(inside)
    try:
        from fastreid_privacy.keys.envelope import BESIDE, MAGIC, close
    except ImportError:  # an older tree
        return content
    length = rng.choice((len(picture), len(picture) - 1, len(picture) + 1, -1, 2**63))
    first = f'{{"name": {name}, "length": {length}}}'.encode()
    return MAGIC + close(first + rng.choice((b"\n", b"")) + picture, [key], BESIDE)


SEALED: dict[str, Forge] = {"sealed anew": _sealed}


def _template(content: bytes, rng: random.Random) -> bytes:
    """Sealed by somebody else who has the public key, into the picture or beside it, and absurd inside."""
    import numpy as np
    from PIL import Image

    from fastreid_privacy.core.pictures import read_picture
    from fastreid_privacy.keys import pixels, segments
    from fastreid_privacy.keys.sealing import SEARCH, read_public_key
    from fastreid_privacy.keys.templates import Searchable, packed_template, seal_beside

    key = read_public_key("search/search.pub", SEARCH)
    packed = packed_template(np.full(rng.choice((1, 128, 129)), 0.1), rng.choice(("0" * 64, "f" * 64)))
    forged = rng.choice((packed, packed[:-1], packed + b"1", packed[:32], b"", rng.randbytes(len(packed))))
    searchable = Searchable(forged, [key])
    if content.startswith(b"fastreid"):
        return seal_beside(searchable, Path("searchable_beside/one.png").read_bytes())
    if content.startswith(segments.START):
        return segments.carry(content, None, [], searchable)
    carried = pixels.carry(read_picture(content), None, [], searchable)
    if carried is None:
        return content
    file = io.BytesIO()
    Image.fromarray(carried[0]).save(file, format="PNG")
    return file.getvalue()


TEMPLATES: dict[str, Forge] = {"template": _template}


# -- retrieval indexes ---------------------------------------------------------------------------------------


def _index_packed(members: Mapping[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    """With sums that fit, where there are sums."""
    members = dict(members)
    if "SHA256SUMS" in members:
        names = ("index.json", "index.faiss")
        lines = (f"{hashlib.sha256(members.get(name, b'')).hexdigest()}  {name}\n" for name in names)
        members["SHA256SUMS"] = "".join(lines).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _index_json(content: bytes, rng: random.Random) -> bytes:
    members = _members(content)
    members["index.json"] = json.dumps(_change_json(json.loads(members["index.json"]), rng)).encode()
    return _index_packed(members)


def _index_deep(content: bytes, rng: random.Random) -> bytes:
    members = _members(content)
    members["index.json"] = b"[" * rng.choice((500, 10**5))
    return _index_packed(members)


def _index_faiss(content: bytes, rng: random.Random) -> bytes:
    """Bytes of FAISS changed, most of them early, where the structure is."""
    members = _members(content)
    data = bytearray(members["index.faiss"])
    for _ in range(rng.choice((1, 1, 4))):
        size = rng.choice((1, 4, 8))
        place = rng.randrange(len(data) if rng.random() < 0.4 else 256)
        data[place : place + size] = rng.choice((rng.randbytes(size), b"\xff" * size, bytes(size)))
    members["index.faiss"] = bytes(data)
    return _index_packed(members)


def _index_cut(content: bytes, rng: random.Random) -> bytes:
    members = _members(content)
    members["index.faiss"] = members["index.faiss"][: rng.randrange(len(members["index.faiss"]))]
    return _index_packed(members)


def _index_members(content: bytes, rng: random.Random) -> bytes:
    """A part more, fewer, compressed, or much larger than it is."""
    members, choice = _members(content), rng.randrange(4)
    if choice == 0:
        members["../PROOF"] = b"x"
    elif choice == 1:
        del members[rng.choice(sorted(members))]
    elif choice == 2:
        members[rng.choice(sorted(members))] = bytes(2**28)
    return _index_packed(members, zipfile.ZIP_DEFLATED)


INDEXES: dict[str, Forge] = {
    "index.json": _index_json,
    "nested": _index_deep,
    "index.faiss": _index_faiss,
    "cut": _index_cut,
    "parts": _index_members,
}
