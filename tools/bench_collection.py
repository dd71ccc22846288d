"""The collection part of tools/bench.py: protecting a folder end to end, beside each of its stages alone."""

import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fastreid_privacy.checkpoints.image_maps import ImageMap
from fastreid_privacy.checkpoints.onnx_export import image_graph
from fastreid_privacy.checkpoints.onnx_runtime import OnnxNetwork
from fastreid_privacy.collection import Source, folder_source, protect_collection
from fastreid_privacy.collection.protect import BatchOf
from fastreid_privacy.core.files import write_atomically
from fastreid_privacy.core.pictures import read_picture
from fastreid_privacy.model.storage import ImageStorage
from fastreid_privacy.networks import UNetGenerator

SIZE, BATCH = (128, 64), 32


def bench_collection(images: int) -> None:
    """Protect ``images`` rendered-size JPEG files with the demo's untrained generator, and print what each
    stage takes."""
    print(f"\nProtecting {images:,} images of 128×64, U-Net of width 24, {os.cpu_count()} cores")
    torch.manual_seed(0)
    image_map = ImageMap(
        UNetGenerator(width=24, depth=6), None, ImageStorage("png"), SIZE, fingerprint="bench"
    )
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        raw, files = Path(folder, "raw"), ImageStorage("png")
        raw.mkdir()
        _write_images(raw, images)
        source = folder_source(raw)
        few = [raw / path for path in source.paths[:1000]]
        pictures = [read_picture(path) for path in few]
        network = BatchOf(image_map, BATCH)
        network(pictures[:BATCH])
        mapped: list[np.ndarray] = []

        def write(numbered: tuple[int, np.ndarray]) -> None:
            number, picture = numbered
            content = files.encode(picture)
            write_atomically(Path(folder, f"{number}.png"), lambda file: file.write(content))

        stages: dict[str, Callable[[], object]] = {
            "decode": lambda: _threads(read_picture, few, workers),
            "network": lambda: [
                mapped.extend(network(pictures[at : at + BATCH])) for at in range(0, len(pictures), BATCH)
            ],
            "encode and write": lambda: _threads(write, list(enumerate(mapped)), workers),
        }
        walls, seconds = [], 0.0
        for name, stage in stages.items():
            wall, cpu = _measure(stage)
            walls.append(wall * images / len(few))
            seconds += cpu * images / len(few)
            print(
                f"  {name + ' alone':24}{len(few) / wall:8.0f} images/s   {cpu / len(few) * 1000:6.2f} CPU "
                "ms an image"
            )
        _bench_runtimes(image_map, pictures)
        bound = max(*walls, seconds / workers)
        protect_collection(
            Source(raw, source.paths[:500]),
            Path(folder, "warm"),
            image_map,
            batch_size=BATCH,
            workers=workers,
        )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, _ = _measure(
            lambda: protect_collection(
                source, Path(folder, "out"), image_map, batch_size=BATCH, workers=workers
            )
        )
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(
            f"  {'end to end':24}{images / wall:8.0f} images/s   {wall / bound:.2f} × max(slowest stage, "
            "CPU seconds / cores)"
        )
        print(
            f"  {'peak memory':24}{grown:8.0f} MiB above that of a run of 500 images, "
            f"{grown * 1024 / images:.1f} KiB an image"
        )


def _bench_runtimes(image_map: ImageMap, pictures: Sequence[np.ndarray]) -> None:
    """The network alone in one thread, as each thread of a collection has it: torch in both precisions, and
    onnxruntime beside it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    onnx = OnnxNetwork(image_graph(image_map.network, "anonymizer", SIZE), "graph", "cpu")
    ways = {
        "torch float32": (image_map.network, "float32"),
        "torch bfloat16": (image_map.network, "bfloat16"),
        "onnx": (onnx, "float32"),
    }
    maps = {
        name: BatchOf(ImageMap(network, None, image_map.storage, SIZE, precision=how), BATCH)
        for name, (network, how) in ways.items()
    }
    few = pictures[: 10 * BATCH]
    walls: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5):  # in turns: what else the machine does then slows all of them alike
        for name, batches in maps.items():
            walls[name].append(
                _measure(
                    lambda batches=batches: [
                        batches(few[at : at + BATCH]) for at in range(0, len(few), BATCH)
                    ]
                )[0]
            )
    for name, seconds in walls.items():
        ratio = min(walls["torch float32"]) / min(seconds)
        print(
            f"  {'one thread, ' + name:27}{len(few) / min(seconds):5.0f} images/s   {ratio:6.2f} × torch "
            "float32"
        )
    torch.set_num_threads(threads)


def _write_images(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (16, 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:06d}.jpg", quality=90)


def _threads(function: Callable, items: Sequence, workers: int) -> None:
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(function, items))


def _measure(function: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu
