"""Protecting a folder end to end, beside each of its stages alone."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..checkpoints.image_maps import ImageMap
from ..checkpoints.onnx_export import image_graph
from ..checkpoints.onnx_runtime import OnnxNetwork
from ..collection.batch_mapper import BatchMapper
from ..collection.guard import Guard, hold
from ..collection.protect import ProtectionOptions, protect_collection
from ..collection.source import Source, folder_source
from ..compat.distributed import available_cores
from ..core.files import write_whole
from ..core.pictures import read_picture
from ..desensitize import Desensitizer
from ..manifest import KEPT, MANIFEST, read_manifest
from ..model.storage import ImageStorage
from ..model.supervision import Thresholds
from ..model.verdict import Constraint
from ..networks import UNetGenerator

SIZE, BATCH = (128, 64), 32


def bench_collection(images: int) -> None:
    """Protect JPEG files of rendered people's size with the demo's untrained generator, and print the times.

    Of the whole, with and without the guard, and of each stage alone.
    """
    workers = available_cores()
    print(f"\nProtecting {images:,} images of 128×64, U-Net of width 24, {workers} cores")
    image_map = demo_map()
    generator, constraint = image_map.network, image_map.constraint
    assert isinstance(generator, UNetGenerator) and constraint is not None
    with tempfile.TemporaryDirectory() as folder:
        raw, files = Path(folder, "raw"), ImageStorage("png")
        raw.mkdir()
        write_images(raw, images)
        source = folder_source(raw)
        few = [raw / path for path in source.paths[:1000]]
        pictures = [read_picture(path) for path in few]
        network = BatchMapper(image_map, BATCH)
        network(pictures[:BATCH])
        mapped: list[np.ndarray] = []

        def write(numbered: tuple[int, np.ndarray]) -> None:
            number, picture = numbered
            content = files.encode(picture)
            write_whole(Path(folder, f"{number}.png"), content)

        stages: dict[str, Callable[[], object]] = {
            "decode": lambda: _threads(read_picture, few, workers),
            "network": lambda: mapped.extend(_batches(network, pictures)),
            "guard": lambda: _guarded(constraint, pictures, mapped),
            "encode and write": lambda: _threads(write, list(enumerate(mapped)), workers),
        }
        walls: dict[str, float] = {}
        seconds: dict[str, float] = {}
        for name, stage in stages.items():
            wall, cpu = _measure(stage)
            walls[name], seconds[name] = wall * images / len(few), cpu * images / len(few)
            speed, each = len(few) / wall, cpu / len(few) * 1000
            print(f"  {name + ' alone':24}{speed:8.0f} images/s   {each:6.2f} CPU ms an image")
        _bench_runtimes(generator, image_map.storage, pictures)

        def protect(some: Source, output: str, guard: Guard | None) -> None:
            options = ProtectionOptions(batch_size=BATCH, workers=workers, guard=guard)
            protect_collection(some, Path(folder, output), image_map, files, options)

        protect(Source(raw, source.paths[:500]), "warm", Guard())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for name, guard in (("without guard", None), ("with guard", Guard())):
            wall, _ = _measure(partial(protect, source, name, guard))
            part = [stage for stage in stages if guard is not None or stage != "guard"]
            bound = max(*(walls[stage] for stage in part), sum(seconds[stage] for stage in part) / workers)
            ratio = f"{wall / bound:.2f} × max(slowest stage, CPU seconds / cores)"
            print(f"  {'end to end, ' + name:24}{images / wall:8.0f} images/s   {ratio}")
            if guard is not None:
                print(f"  {guard.told(_kept(Path(folder, name)))}")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        above = f"above that of a run of 500 images, {grown * 1024 / images:.1f} KiB an image"
        print(f"  {'peak memory':24}{grown:8.0f} MiB {above}")


def demo_map() -> ImageMap:
    """The demo's anonymizer, untrained."""
    torch.manual_seed(0)
    return ImageMap(
        UNetGenerator(width=24, depth=6),
        None,
        ImageStorage("png"),
        SIZE,
        fingerprint="bench",
        constraint=Constraint(partial(Desensitizer, "blur"), Thresholds()),
    )


def _bench_runtimes(generator: UNetGenerator, storage: ImageStorage, pictures: Sequence[np.ndarray]) -> None:
    """The network alone in one thread, as each thread of a collection has it.

    Torch in both precisions, and onnxruntime beside it.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    onnx = OnnxNetwork(image_graph(generator, "anonymizer", SIZE), "graph", "cpu")
    maps = {
        "torch float32": ImageMap(generator, None, storage, SIZE),
        "torch bfloat16": ImageMap(generator, None, storage, SIZE, precision="bfloat16"),
        "onnx": ImageMap(onnx, None, storage, SIZE),
    }
    few = pictures[: 2 * BATCH]  # bfloat16 without instructions for it takes twenty times as long

    def wall(image_map: ImageMap) -> float:
        batches = BatchMapper(image_map, BATCH)
        return _measure(lambda: _batches(batches, few))[0]

    # in turns: what else the machine does then slows all of them alike
    rounds = [{name: wall(image_map) for name, image_map in maps.items()} for _ in range(5)]
    best = {name: min(one[name] for one in rounds) for name in maps}
    for name, seconds in best.items():
        speed, ratio = len(few) / seconds, best["torch float32"] / seconds
        print(f"  {'one thread, ' + name:27}{speed:5.0f} images/s   {ratio:6.2f} × torch float32")
    torch.set_num_threads(threads)


def _batches(network: BatchMapper, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All pictures through the network, a batch at a time."""
    starts = range(0, len(pictures), BATCH)
    return [mapped for at in starts for mapped in network(pictures[at : at + BATCH]) if mapped is not None]


def _guarded(constraint: Constraint, raw: Sequence[np.ndarray], mapped: Sequence[np.ndarray]) -> None:
    """What the guard does alone, batch after batch: desensitize, compare, blend."""
    desensitizer, files = constraint.desensitizer(), ImageStorage("png")
    for at in range(0, len(raw), BATCH):
        images, ours = (
            torch.from_numpy(np.stack(some[at : at + BATCH])).permute(0, 3, 1, 2).float()
            for some in (raw, mapped)
        )
        hold(images, ours, desensitizer(images), files, constraint.thresholds)


def _kept(folder: Path) -> list[float]:
    return [entry[KEPT] for entry in read_manifest(folder / MANIFEST).entries.values()]


def write_images(folder: Path, count: int) -> None:
    """JPEG files of rendered people's size, all of them different."""
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
