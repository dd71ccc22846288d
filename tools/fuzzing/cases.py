"""One case: a command, one thing done to one of its files, and what came of it."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from . import options
from .child import Ended, Task, run_limited
from .damage import SPECIAL
from .forging import PROOF
from .kinds import EQUAL, KINDS, NAMES, Target
from .product import Product

OPTIONS, OPTIONS_SHARE = "options", 2
REFUSED, HARMLESS, WRONG, TRACEBACK, HANG = "refused", "harmless", "silent wrong", "traceback", "hang"
OUTCOMES = (REFUSED, HARMLESS, WRONG, TRACEBACK, HANG)
LOG = ".said"
# of what a run says of itself: times, places, versions, and hashes of what is random or damaged
BY_THE_WAY = (
    ".sealed",
    ".log",
    ".txt",
    ".yaml",
    ".html",
    "metrics.json",
    ".lock",
    "SHA256SUMS",
    ".0",
    ".sources.jsonl",
    "release.json",
)
OWN_KEYS = (
    "gallery",
    "recovered_from",
    "recipient",
    "sealed_sha256",
    "checkpoint",
    "config",
    "version",
    "sha256_above",
)

Content = dict[str, object]
Intact = Callable[[Target], Content]


@dataclass(frozen=True)
class Case:
    """What is tried.

    Attributes:
        kind: of the file.
        number: of the case within the kind.
        target: the command.
        told: what is done to the file.
        damage: does it, in the folder of the case; None: nothing.
        level: what exit code 0 has to leave.
    """

    kind: str
    number: int
    target: Target
    told: str
    damage: Callable[[], object] | None
    level: str


@dataclass(frozen=True)
class Found:
    """What came of a case: ``outcome`` is one of ``OUTCOMES``."""

    kind: str
    number: int
    words: str
    told: str
    outcome: str
    why: str

    def as_json(self) -> dict[str, object]:
        """Its fields."""
        return asdict(self)


def share_out(count: int, kinds: Sequence[str]) -> list[tuple[str, int]]:
    """Kinds and numbers of ``count`` cases or a few more, each kind by its share, the kinds mixed."""
    shares = {kind: KINDS[kind].share if kind in KINDS else OPTIONS_SHARE for kind in kinds}
    each = {kind: -(-count * share // sum(shares.values())) for kind, share in shares.items()}
    cases = [(number / each[kind], kind, number) for kind in kinds for number in range(each[kind])]
    return [(kind, number) for _, kind, number in sorted(cases)]


def draw_case(kind: str, number: int, seed: int, world: Path) -> Case:
    """The case of a kind and a number: the same for the same seed.

    Args:
        kind: a name of ``KINDS``, or ``OPTIONS``.
        number: from 0.
        seed: of the run.
        world: folder of the intact inputs.
    """
    rng = random.Random(f"{seed}:{kind}:{number}")
    if kind == OPTIONS:
        target, told = options.draw(rng)
        return Case(kind, number, target, told, None, target.level)
    about = KINDS[kind]
    target = about.targets[number % len(about.targets)]
    path, choice = Path(target.file), rng.random()
    if choice < 0.06:
        name = rng.choice(sorted(SPECIAL))
        level = about.gone or target.level
        return Case(kind, number, target, name, lambda: _replace(path, SPECIAL[name]), level)
    foreign = about.foreign if target.level == EQUAL else target.level
    if choice < 0.12:
        other = rng.choice(about.exchanged or _files(world))
        content = (world / other).read_bytes()
        return Case(kind, number, target, f"is {other}", lambda: _write(path, content), foreign)
    intact = (world / target.file).read_bytes()
    if about.forged and choice < 0.45:
        name = rng.choice(sorted(about.forged))
        forge = about.forged[name]
        return Case(kind, number, target, f"forged {name}", lambda: _write(path, forge(intact, rng)), foreign)
    damage = rng.choice(about.damages)
    return Case(
        kind, number, target, damage.__name__, lambda: _write(path, damage(intact, rng)), target.level
    )


def run_cases(
    cases: Sequence[Case], product: Product, world: Path, folder_of: Callable[[Case], Path], intact: Intact
) -> Iterator[Found]:
    """Try cases, one after the other, and judge each.

    Args:
        cases: of :func:`draw_case`.
        product: whose commands are called.
        world: folder of the intact inputs.
        folder_of: a case to its folder; made anew.
        intact: what commands write with intact inputs.
    """
    tasks, listed = [], []
    for case in cases:
        folder = folder_of(case)
        prepare(case.target, world, folder)
        listed.append(_listed(folder))
        tasks.append(Task(partial(_try, case, product), folder, folder / LOG))
    for case, before, ended in zip(cases, listed, run_limited(tasks), strict=True):
        expected = intact(case.target) if case.target.file and not ended.code else None
        outcome, why = judge(case, ended, folder_of(case), before, expected)
        yield Found(case.kind, case.number, " ".join(case.target.words), case.told, outcome, why)


def _try(case: Case, product: Product) -> int:
    if case.damage:
        case.damage()
    return product.run(case.target.words) or (product.run(case.target.then) if case.target.then else 0)


def output_of_intact(target: Target, product: Product, world: Path, folder: Path) -> Content:
    """What a command writes with intact inputs.

    Raises:
        RuntimeError: when it fails.
    """
    prepare(target, world, folder)

    intact = Case("", 0, target, "", None, EQUAL)
    (ended,) = run_limited([Task(partial(_try, intact, product), folder, folder / LOG)])
    found = contents(folder, target.outputs)
    if ended.code or ended.exceeded or not found:
        raise RuntimeError(f"the intact command fails: {' '.join(target.words)}\n{ended.said}")
    return found


def prepare(target: Target, world: Path, folder: Path) -> None:
    """A new folder with copies of what a command reads."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    needs = [*target.needs, *([target.file] if target.file else [])]
    if target.words[0] == "train_net":
        needs += ["datasets", "config.yml"]
    for name in (*needs, "script.pth", "raw/three.jpg", "keys/identity.pub"):
        source, copy = world / name, folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, dirs_exist_ok=True)
        else:
            shutil.copy(source, copy)


def judge(
    case: Case, ended: Ended, folder: Path, before: dict[str, int], intact: Content | None
) -> tuple[str, str]:
    """(outcome, the reason in a line) of an ended command."""
    last = next((line for line in reversed(ended.said.splitlines()) if line.strip()), "")[:300]
    if (folder / PROOF).exists():
        return WRONG, "the file was run"
    if ended.exceeded:
        return HANG, f"{ended.exceeded}: {last}"
    if "Traceback (most recent call last)" in ended.said or ended.code not in (0, 2):
        return TRACEBACK, f"exit {ended.code}: {last}"
    if elsewhere := _elsewhere(case.target, folder, before):
        return WRONG, f"it has written {elsewhere}"
    if ended.code == 2:
        return (REFUSED, last) if last else (TRACEBACK, "exit 2 without a message")
    found = contents(folder, case.target.outputs)
    if not found:
        return WRONG, "exit 0, and nothing was written"
    if intact is None or case.level not in (EQUAL, NAMES):
        return HARMLESS, ""
    if found.keys() != intact.keys():
        differing = sorted(found.keys() ^ intact.keys())
        return WRONG, f"exit 0, and other files: {', '.join(differing)[:200]}"
    differing = [name for name in found if found[name] != intact[name]]
    if case.level == EQUAL and differing:
        return WRONG, f"exit 0, and another content: {', '.join(sorted(differing))[:200]}"
    return HARMLESS, ""


def contents(folder: Path, outputs: tuple[str, ...]) -> Content:
    """What a command wrote, by path; without what differs between two runs of the same."""
    found: Content = {}
    for output in outputs:
        paths = [folder / output, *sorted((folder / output).rglob("*"))]
        for path in paths:
            if path.is_file() and not path.name.endswith(BY_THE_WAY):
                found[str(path.relative_to(folder))] = _content(path)
            elif path.name == "report.html":
                found[str(path.relative_to(folder))] = b""
    return found


def _content(path: Path) -> object:
    data = path.read_bytes()
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    if path.suffix == ".safetensors":  # the order of its metadata is random
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        header["__metadata__"].pop("sha256", None)
        return header, data[8 + length :]
    if path.suffix in (".json", ".jsonl"):
        texts = data.splitlines() if path.suffix == ".jsonl" else [data]
        return [_without_own(json.loads(text)) for text in texts]
    return data


def _without_own(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_own(item) for key, item in value.items() if key not in OWN_KEYS}
    return [_without_own(item) for item in value] if isinstance(value, list) else value


def _files(world: Path) -> tuple[str, ...]:
    """Small files of the inputs, by path, without the many pictures."""
    names = (path.relative_to(world) for path in sorted(world.rglob("*")) if path.is_file())
    return tuple(str(name) for name in names if name.parts[0] not in ("gallery", "datasets"))


def _listed(folder: Path) -> dict[str, int]:
    """Path → size of all that is there."""
    return {str(path.relative_to(folder)): path.lstat().st_size for path in folder.rglob("*")}


def _elsewhere(target: Target, folder: Path, before: dict[str, int]) -> str:
    """A file that the command has made or changed outside of its outputs."""
    allowed = (*target.outputs, *target.writes, "datasets", LOG, *([target.file] if target.file else []))
    for name, size in _listed(folder).items():
        below = any(name == path or name.startswith(f"{path}/") for path in allowed)
        if not below and before.get(name) != size and not (folder / name).is_dir():
            return name if target.file else ""  # options name the output themselves
    return ""


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)
