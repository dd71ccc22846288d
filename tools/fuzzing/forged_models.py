"""Checkpoints and ``.safetensors`` files as a hostile person would write them."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .forging import Forge, Runs, changed_config
from .inputs import summed

# -- checkpoints ---------------------------------------------------------------------------------------------


def _saved(content: Any, **options: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _loaded(content: bytes) -> dict:
    import torch

    return torch.load(io.BytesIO(content), weights_only=True)


def _pth_config(content: bytes, rng: random.Random) -> bytes:
    loaded = _loaded(content)
    return _saved({**loaded, "config": changed_config(loaded["config"], rng)})


def _pth_tensors(content: bytes, rng: random.Random) -> bytes:
    """One tensor of another kind."""
    import torch

    loaded = _loaded(content)
    model = loaded["model"]
    part = rng.choice(("anonymizer.", "recovery.", "backbone.", ""))
    name = rng.choice([key for key in model if key.startswith(part)])
    value = model[name]
    changes: list[Callable[[], Any]] = [
        lambda: torch.full_like(value, float("nan") if value.is_floating_point() else 0),
        lambda: torch.full_like(value, float("inf") if value.is_floating_point() else 0),
        lambda: torch.zeros(1).expand(2**40),
        lambda: torch.zeros(1).expand(2**20, 2**20),
        lambda: torch.zeros((), dtype=value.dtype).expand(value.shape),
        lambda: value.to(torch.complex64),
        lambda: value.to(torch.int8),
        lambda: value.to(torch.float64),
        lambda: value.to(torch.bfloat16),
        lambda: value[None],
        lambda: torch.zeros(0),
        lambda: torch.zeros(3, 3).to_sparse(),
        lambda: torch.empty(2**40, device="meta"),
        lambda: torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.quint8),
        lambda: "text",
        lambda: None,
    ]
    model[name] = rng.choice(changes)()
    if rng.random() < 0.2:
        model["another"] = model.pop(name)
    return _saved(loaded)


def _pth_structure(content: bytes, rng: random.Random) -> bytes:
    """Something else than a checkpoint, or a checkpoint in another container."""
    loaded = _loaded(content)
    deep: Any = loaded
    for _ in range(rng.choice((50, 500))):
        deep = [deep]
    legacy = {"_use_new_zipfile_serialization": False}
    changes: list[Callable[[], bytes]] = [
        lambda: _saved({}),
        lambda: _saved([]),
        lambda: _saved(None),
        lambda: _saved(loaded["model"]),
        lambda: _saved({"model": {}}),
        lambda: _saved({**loaded, "model": list(loaded["model"])}),
        lambda: _saved({**loaded, "config": 1}),
        lambda: _saved({**loaded, "config": loaded["config"] * 2000}),
        lambda: _saved({**loaded, "fingerprint": ["x"] * 1000}),
        lambda: _saved(deep),
        lambda: _saved({**loaded, "more": deep}),
        lambda: _saved(loaded, **legacy),
        lambda: _saved({**loaded, "more": Runs()}),
        lambda: _saved({**loaded, "more": Runs()}, **legacy),
        lambda: pickle.dumps(Runs()),
        lambda: b"\x80\x02" + b"(" * 10**6 + b".",
        lambda: b"\x80\x02" + b"]" * 10**6 + b"a" * (10**6 - 1) + b".",
        lambda: b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
        lambda: Path("script.pth").read_bytes(),
    ]
    return rng.choice(changes)()


def _pth_archive(content: bytes, rng: random.Random) -> bytes:
    """The same records, packed otherwise: deflated, with a record more, twice, or larger than they are."""
    buffer, choice = io.BytesIO(), rng.randrange(6)
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        names = old.namelist()
        for name in names:
            data, how = old.read(name), zipfile.ZIP_STORED
            if choice == 0:
                how = zipfile.ZIP_DEFLATED
            elif choice == 1 and name.endswith(f"/{rng.randrange(5)}"):
                data, how = bytes(2**28), zipfile.ZIP_DEFLATED
            elif choice == 2 and name.endswith("data.pkl"):
                data = pickle.dumps(Runs(), protocol=2)
            elif choice == 3 and name.endswith("data.pkl"):
                data = data.replace(struct.pack("<H", 16), struct.pack("<H", 65535), 1)
            new.writestr(name, data, how)
        top = names[0].partition("/")[0]
        if choice == 4:
            new.writestr(
                f"{top}/{rng.choice(('code/x.py', 'constants.pkl', '../../PROOF', 'data/99999'))}", b"x"
            )
        if choice == 5:
            new.writestr(names[0], b"\x80\x02}.")
    return buffer.getvalue()


CHECKPOINTS: dict[str, Forge] = {
    "config": _pth_config,
    "tensors": _pth_tensors,
    "structure": _pth_structure,
    "archive": _pth_archive,
}


# -- .safetensors --------------------------------------------------------------------------------------------


def _split(content: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _joined(header: dict, data: bytes) -> bytes:
    """With the checksum that fits."""
    about = header.get("__metadata__")
    if isinstance(about, dict) and "sha256" in about:
        about["sha256"] = "0" * 64
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    content = struct.pack("<Q", len(text)) + text + data
    return summed(content) if content.count(b"0" * 64) == 1 else content


def _st_config(content: bytes, rng: random.Random) -> bytes:
    header, data = _split(content)
    header["__metadata__"]["config"] = changed_config(header["__metadata__"]["config"], rng)
    return _joined(header, data)


def _st_header(content: bytes, rng: random.Random) -> bytes:
    """One entry of the header changed."""
    header, data = _split(content)
    name = rng.choice(sorted(header))
    entry = header[name]
    if name == "__metadata__" or rng.random() < 0.2:
        about = header["__metadata__"]
        about[rng.choice(sorted(about))] = rng.choice(("", "x", "0" * 63, "../out", "1" * 10**6, "recovery"))
    elif rng.random() < 0.2:
        del header[name]
    else:
        key = rng.choice(("shape", "dtype", "data_offsets"))
        entry[key] = {
            "shape": rng.choice(([2**40], [2**63], [0], [], [1] * 10**4, [-1], [2**32, 2**32])),
            "dtype": rng.choice(("F64", "BOOL", "I8", "x", "BF16", "F8_E5M2", "U8")),
            "data_offsets": rng.choice(([0, 2**62], [0, 0], [8, 4], [-8, 8], [0, 4])),
        }[key]
    return _joined(header, data)


def _st_values(content: bytes, rng: random.Random) -> bytes:
    """Values that are no numbers, with a checksum that fits."""
    header, data = _split(content)
    value = rng.choice((float("nan"), float("inf"), 3e38))
    place = rng.randrange(len(data) // 4) * 4
    return _joined(header, data[:place] + struct.pack("<f", value) + data[place + 4 :])


def _st_length(content: bytes, rng: random.Random) -> bytes:
    return struct.pack("<Q", rng.choice((0, 1, 2**31, 2**62, 2**64 - 1, len(content)))) + content[8:]


def _st_nested(content: bytes, rng: random.Random) -> bytes:
    text = b"[" * rng.choice((1000, 10**5)) if rng.random() < 0.5 else b'{"a":' * 10**4 + b"1" + b"}" * 10**4
    return struct.pack("<Q", len(text)) + text


TENSORS: dict[str, Forge] = {
    "config": _st_config,
    "header": _st_header,
    "values": _st_values,
    "length": _st_length,
    "nested": _st_nested,
}
