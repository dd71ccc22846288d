"""Protecting a folder by tasks of Ray on this machine, beside as many threads of one process."""

from __future__ import annotations

import os
import re
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..checkpoints.image_maps import ImageMap
from ..cluster import RayEngine
from ..collection.guard import Guard
from ..collection.protect import protect_collection
from ..collection.protected_files import ProtectionOptions
from ..collection.run import Threads
from ..collection.source import Source, folder_source
from ..collection.work import Engine
from ..compat.distributed import available_cores
from ..manifest import MANIFEST
from ..model.storage import ImageStorage
from .collection import BATCH, demo_map, write_images

FEW = 512  # images of the short run, which tells what starting costs
LOOK_SECONDS = 1.0
TICKS = os.sysconf("SC_CLK_TCK")  # of the system's counts of CPU time, in a second


class Cost(NamedTuple):
    """Of a run: wall seconds, CPU seconds with those of Ray's processes, and the peak of a task's, in MiB."""

    wall: float
    cpu: float
    peak: float


def bench_cluster(images: int) -> None:
    """Protect the images of :func:`bench_collection`, and print the times of one and of two workers.

    What starting Ray and its processes costs is told apart: by a run of a few images beside that of all.

    Args:
        images: of the long run, more than a thousand.
    """
    cores = min(2, available_cores())
    print(f"\nProtecting {images:,} images of 128×64 with the guard, by tasks of Ray and by threads")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "raw").mkdir()
        write_images(folder / "raw", images)
        source, image_map = folder_source(folder / "raw"), demo_map()
        for workers in range(1, cores + 1):
            engines: dict[str, Engine] = {
                f"{workers} threads": Threads(workers),
                f"{workers} tasks of Ray": RayEngine(cores=workers),
            }
            threads, ray = (
                _measure(source, folder, called, engine, image_map) for called, engine in engines.items()
            )
            ratio = f"{ray.wall / threads.wall:.2f} × the time and {ray.cpu / threads.cpu:.2f} × the CPU time"
            print(
                f"  {workers} tasks: {ratio} of {workers} threads for each image; the same files and manifest"
            )
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  peak memory of the command {grown:.0f} MiB")


def _measure(source: Source, folder: Path, called: str, engine: Engine, image_map: ImageMap) -> Cost:
    """What an image costs, in seconds; what starting does is printed apart."""

    def protect(paths: list[str], output: str) -> Cost:
        options = ProtectionOptions(batch_size=BATCH, guard=Guard())
        some = Source(source.root, paths)
        return _cost(
            lambda: protect_collection(some, folder / output, image_map, ImageStorage("png"), options, engine)
        )

    few, all_ = protect(source.paths[:FEW], f"{called} few"), protect(source.paths, called)
    first = folder / "1 threads" / MANIFEST
    assert (folder / called / MANIFEST).read_bytes() == first.read_bytes()  # it has the hashes of all files
    wall, cpu = ((all_[at] - few[at]) / (len(source.paths) - FEW) for at in (0, 1))
    memory = f"   peak of a task {few.peak:.0f} MiB, {all_.peak:.0f} MiB of all" if all_.peak else ""
    print(
        f"  {called:16}{1 / wall:6.0f} images/s {cpu * 1000:7.2f} CPU ms an image   start "
        f"{few.wall - FEW * wall:5.1f} s, {few.cpu - FEW * cpu:5.1f} CPU s{memory}",
        flush=True,
    )
    return Cost(wall, cpu, all_.peak)


def _cost(action: Callable[[], object]) -> Cost:
    """What a call costs, Ray's processes included, as far as the system tells of them (Linux)."""
    seen: dict[int, tuple[float, float]] = {}
    over, looking = threading.Event(), [0.0]

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            seen.update(_below(os.getpid()))
        looking[0] = time.thread_time()

    watcher = threading.Thread(target=look)
    watcher.start()
    start, own = time.perf_counter(), time.process_time()
    try:
        action()
    finally:
        wall = time.perf_counter() - start
        over.set()
        watcher.join()
    cpu = time.process_time() - own - looking[0] + sum(seconds for seconds, _ in seen.values())
    return Cost(wall, cpu, max((peak for _, peak in seen.values()), default=0.0))


def _below(process: int) -> dict[int, tuple[float, float]]:
    """Of all processes below a process: CPU seconds, and the peak of a task of Ray in MiB, of others 0."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        number = int(place.name)
        parents[number], seconds[number] = int(words[1]), (int(words[11]) + int(words[12])) / TICKS

    def is_below(number: int) -> bool:
        while number in parents:
            number = parents[number]
            if number == process:
                return True
        return False

    return {number: (seconds[number], _peak_of_task(number)) for number in parents if is_below(number)}


def _peak_of_task(process: int) -> float:
    """MiB that a process of Ray's tasks has had at most; 0 of others."""
    place = Path("/proc", str(process))
    try:
        if not (place / "cmdline").read_bytes().startswith(b"ray::"):
            return 0.0
        found = re.search(r"VmHWM:\s+(\d+) kB", (place / "status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0
