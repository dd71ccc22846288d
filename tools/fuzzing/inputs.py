"""Small valid files of every kind, made once for all cases: pictures, models, keys, collections, indexes."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import warnings
from pathlib import Path

from .product import Product

SIZE = (32, 16)  # of the network
PICTURES = {"one.png": (40, 20), "folder/two.png": (32, 16), "three.jpg": (51, 27)}  # (height, width)
GALLERY = 260  # pictures; a compressed index wants 256
DATASET = {"TRAIN_IDENTITIES": 4, "TEST_IDENTITIES": 3, "CAMERAS": 2, "IMAGES_PER_CAMERA": 2}
DATASET |= {"HEIGHT": 64, "WIDTH": 32}
PASSPHRASE = "FUZZ_PASSPHRASE"  # the environment variable that holds it
CONFIG = f"""
_BASE_: CONFIGS/privacy_agw.yml
MODEL:
  DEVICE: cpu
  BACKBONE: {{NAME: build_osnet_backbone, DEPTH: x0_25, FEAT_DIM: 128}}
PRIVACY:
  ANONYMIZER: {{WIDTH: 4}}
  RECOVERY: {{WIDTH: 4}}
  DISCRIMINATOR: {{WIDTH: 4}}
  UPPER_BOUND: ''
  UPGRADE: {{BASELINE_RANK1: '0'}}
INPUT: {{SIZE_TRAIN: [{SIZE[0]}, {SIZE[1]}], SIZE_TEST: [{SIZE[0]}, {SIZE[1]}]}}
DATALOADER: {{NUM_WORKERS: 0}}
DATASETS:
  SYNTHETIC: {json.dumps(DATASET)}
"""


def make_inputs(product: Product, world: Path) -> None:
    """Fill a folder with valid inputs.

    Args:
        product: whose command lines and formats they are of.
        world: an empty folder; the current one of this process.
    """
    os.environ["FASTREID_DATASETS"] = "datasets"
    os.environ[PASSPHRASE] = "fuzz"
    (world / "datasets").mkdir()
    config = CONFIG.replace("CONFIGS", str(product.tree / "configs" / "Synthetic"))
    (world / "config.yml").write_text(config)
    _pictures(world)
    _models(world)
    _script(world)
    _collections(product)
    _video(world)
    _indexes(product)
    _evaluations(product)
    _study(world)


def _run(product: Product, *words: str) -> None:
    if product.run(words):
        raise RuntimeError(f"the intact command fails: {' '.join(words)}")


def _picture(size: tuple[int, int], rng: random.Random):
    """Coloured areas with soft edges."""
    from PIL import Image

    colours = Image.frombytes("RGB", (2, 4), rng.randbytes(24))
    return colours.resize((size[1], size[0]), Image.Resampling.BICUBIC)


def _pictures(world: Path) -> None:
    rng = random.Random(0)
    for name, size in PICTURES.items():
        path = world / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _picture(size, rng).save(path)
    for ending in ("png", "jpg", "tif", "webp", "bmp", "gif"):
        (world / "pictures" / ending).mkdir(parents=True)
        _picture((32, 16), rng).save(world / "pictures" / ending / f"picture.{ending}")
    (world / "gallery").mkdir()
    for number in range(GALLERY):
        _picture(SIZE, rng).save(world / "gallery" / f"{number:03}.png")
    shutil.copy(world / "gallery" / "007.png", world / "query.png")
    (world / "gallery_of_two").mkdir()


def _models(world: Path) -> None:
    """model.pth and base.pth of fixed random weights, with contrast; anonymizer.onnx and recovery.onnx."""
    import torch
    from fastreid.modeling import build_model

    import fastreid_privacy

    for name, options in {"model": [], "base": ["PRIVACY.PROTECTION", "conventional"]}.items():
        options = ["MODEL.HEADS.NUM_CLASSES", "4", "DATASETS.TESTS", "('SyntheticPedestrians',)", *options]
        cfg = fastreid_privacy.load_config(world / "config.yml", options)
        torch.manual_seed(0)
        state = build_model(cfg).eval().state_dict()
        for key in [f"{part}.up.0.0.weight" for part in ("anonymizer", "recovery")]:
            if key in state:
                state[key] *= 100  # or all pictures would be grey, and any damage without effect
        torch.save({"model": state, "config": cfg.dump()}, world / f"{name}.pth")
    text = torch.load(world / "model.pth", weights_only=True)["config"]
    for part in ("anonymizer", "recovery"):
        about = {"part": part, "config": text, "version": "0", "fingerprint": "1" * 64}
        (world / f"{part}.onnx").write_bytes(small_graph(about))


def _script(world: Path) -> None:
    """script.pth: a program of TorchScript, which writes a file when torch reads it."""
    import torch

    class Writes(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images

        @torch.jit.export
        def __getstate__(self) -> bool:
            return self.training

        @torch.jit.export
        def __setstate__(self, state: bool) -> None:
            self.training = state
            torch.save(torch.ones(1), "PROOF")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Writes()), str(world / "script.pth"))


def small_graph(about: dict[str, str], nodes=(), tensors=()) -> bytes:
    """A graph of images as ``tools/export.py --onnx`` writes them, of a single convolution.

    Args:
        about: its metadata.
        nodes: to be run before it; they take ``pictures`` and give ``images``.
        tensors: that they take.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(0, 0.3, (3, 3, 3, 3)).astype(np.float32), "weight")
    bias = numpy_helper.from_array(rng.normal(90, 20, 3).astype(np.float32), "bias")
    shape: list[str | int | None] = ["batch", 3, *SIZE]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Conv", ["images", "weight", "bias"], ["mapped"], pads=[1, 1, 1, 1])],
        "graph",
        [helper.make_tensor_value_info("pictures" if nodes else "images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("mapped", TensorProto.FLOAT, shape)],
        [weight, bias, *tensors],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"format": "fastreid_privacy", **about, "sha256": "0" * 64})
    return summed(model.SerializeToString())


def summed(content: bytes) -> bytes:
    """A file with its checksum filled in, as newer versions write it; older ones ignore it."""
    try:
        from fastreid_privacy.checkpoints.checksum import with_checksum
    except ImportError:
        return content
    return with_checksum(content)


def _collections(product: Product) -> None:
    export = ("export", "--weights", "model.pth", "--output")
    _run(product, *export, "release", "--unencrypted")
    _run(product, *export, "locked", "--passphrase-env", PASSPHRASE)
    for keys in ("keys", "keys_of_another"):
        _run(product, "export", "--new-identity", "--unencrypted", "--output", keys)
    Path("camera").mkdir()
    shutil.copy("keys/identity.pub", "camera")
    protect = ("anonymize", "--weights", "release/anonymizer.safetensors", "--input", "raw", "--output")
    _run(product, *protect, "protected", "--batch-size", "1")
    _run(product, *protect, "sealed", "--seal", "keys/identity.pub")
    _run(product, *protect, "sealed_to_another", "--seal", "keys_of_another/identity.pub")
    _carried(product)
    _searchable(product)
    blur = ("anonymize", "--method", "blur", "--input", "raw", "--output", "blurred")
    _run(product, *blur)
    _run(product, "anonymize", "--weights", "anonymizer.onnx", "--input", "raw", "--output", "by_graph")
    # what a kill leaves: a journal without its last line, and not all files
    shutil.copytree("protected", "killed")
    lines = Path("killed/manifest.jsonl").read_bytes().splitlines(keepends=True)
    Path("killed/manifest.jsonl").unlink()
    Path("killed/.manifest.journal").write_bytes(b"".join(lines[:-2]))
    (Path("killed") / json.loads(lines[-2])["path"]).unlink()


def _carried(product: Product) -> None:
    """Files that carry their originals, in pixels and in segments; an older tree has them beside."""
    newer = (product.tree / "fastreid_privacy" / "keys" / "segments.py").exists()
    pixels = ("--carry", "pixels", "--carry-fit", "best") if newer else ()
    segments = ("--format", "jpg", *(("--carry", "segment") if newer else ()))
    for folder, keys, carry in (
        ("carried", "keys", pixels),
        ("carried_to_another", "keys_of_another", pixels),
        ("in_segments", "keys", segments),
    ):
        blur = ("anonymize", "--method", "blur", "--input", "raw", "--output", folder)
        _run(product, *blur, "--seal", f"{keys}/identity.pub", *carry)


def _searchable(product: Product) -> None:
    """Files that carry templates of the raw pictures; an older tree knows none."""
    if not (product.tree / "fastreid_privacy" / "keys" / "templates.py").exists():
        return
    for keys in ("search", "search_of_another"):
        _run(product, "export", "--new-search", "--unencrypted", "--output", keys)
    shutil.copy("search/search.pub", "camera")
    for folder, keys, carry in (
        ("searchable", "search", ("--carry", "pixels")),
        ("searchable_by_another", "search_of_another", ("--carry", "pixels")),
        ("searchable_in_segments", "search", ("--carry", "segment", "--format", "jpg")),
        ("searchable_beside", "search", ("--carry", "beside")),
    ):
        blur = ("anonymize", "--method", "blur", "--input", "raw", "--output", folder)
        _run(product, *blur, "--search", f"{keys}/search.pub", "--reid", "model.pth", *carry)


def _video(world: Path) -> None:
    """video.mkv, four frames of 64 × 96 pixels, and boxes.txt."""
    import av
    import numpy as np

    rng, size = random.Random(1), (64, 96)
    with av.open(str(world / "video.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width = size
        stream.pix_fmt = "bgr0"
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(np.asarray(_picture(size, rng)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    boxes = [f"{frame},{who},{10 + 40 * who},8,20,40,0.9,-1,-1,-1" for frame in (1, 2, 4) for who in (0, 1)]
    (world / "boxes.txt").write_text("\n".join(boxes) + "\n")


def _indexes(product: Product) -> None:
    for kind in ("flat", "hnsw", "ivfpq"):
        words = ("--weights", "model.pth", "--gallery", "gallery", "--index", f"{kind}.index")
        _run(product, "retrieve", "build", *words, "--kind", kind)


def _evaluations(product: Product) -> None:
    """base and run: results.json, query_ranks.npz and the report's pictures of two evaluations."""
    for folder, weights, protection in (
        ("base", "base.pth", "conventional"),
        ("run", "model.pth", "learned"),
    ):
        _run(
            product,
            *("train_net", "--eval-only", "--config-file", "config.yml", "MODEL.WEIGHTS", weights),
            *("OUTPUT_DIR", folder, "PRIVACY.PROTECTION", protection),
        )
    results = json.loads(Path("base/results.json").read_text())
    results["validation"] = {"OI-DI": {"Rank-1": 50.0}}  # of a training
    Path("base/results.json").write_text(json.dumps(results, indent=1))


def _study(world: Path) -> None:
    """A key of a study and the answers of two participants."""
    pairs = {
        f"{group[0]}{number}{index}": {"participant": number, "group": group, "same": index % 2 == 0}
        for group in ("blur-base-oi_pi", "raw-oi_oi")
        for number in (1, 2)
        for index in range(4)
    }
    key = {"schema": 1, "study": "abc", "participants": 2, "runs": "runs", "pairs": pairs}
    (world / "study").mkdir()
    (world / "study" / "key.json").write_text(json.dumps(key, indent=1))
    for number in (1, 2):
        own = [name for name, pair in pairs.items() if pair["participant"] == number]
        given = {name: {"answer": "same" if rank % 3 else "different"} for rank, name in enumerate(own)}
        answers = {"schema": 1, "study": "abc", "participant": number, "answers": given}
        (world / "study" / f"answers_{number}.json").write_text(json.dumps(answers))


def png_of(size: tuple[int, int]) -> bytes:
    """A valid picture of a size (height, width)."""
    buffer = io.BytesIO()
    _picture(size, random.Random(2)).save(buffer, format="PNG")
    return buffer.getvalue()
