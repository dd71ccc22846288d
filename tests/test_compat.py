"""Every workaround of fastreid_privacy.compat: what fastreid alone does, and what it does after ``import
fastreid_privacy``."""

from __future__ import annotations

from fastreid_privacy import compat  # before fastreid: importing the package makes it work

# isort: split
import collections
import json
import multiprocessing
import subprocess
import sys
import types
import warnings
from pathlib import Path

import fastreid.data
import fastreid.data.build as data_build
import fastreid.data.transforms.build as transforms_build
import fastreid.engine.defaults as defaults
import numpy as np
import plain_fastreid
import pytest
import torch
from fastreid.engine import DefaultTrainer, hooks
from fastreid.engine.train_loop import AMPTrainer, SimpleTrainer, TrainerBase
from fastreid.modeling.meta_arch.baseline import Baseline
from fastreid.modeling.meta_arch.mgn import MGN
from fastreid.solver.build import build_optimizer
from fastreid.utils.events import CommonMetricPrinter, EventStorage, JSONWriter
from fastreid.utils.params import ContiguousParams
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from fastreid_privacy.compat.data import PlainDataLoader
from fastreid_privacy.compat.patching import ORIGINALS, original_of

# The machine of a test run may have a GPU, where some of fastreid's own code works.
fails_without_gpu = pytest.raises((AssertionError, RuntimeError))
ROOT = Path(__file__).parent.parent


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A function that trains plain fastreid with some options and returns the trainer, its weights before,
    and OUTPUT_DIR."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))

    def train(*options):
        output = tmp_path / "output"
        output.mkdir()
        torch.manual_seed(0)
        trainer = DefaultTrainer(plain_fastreid.tiny_config(output, *options))
        before = plain_fastreid.weights_of(trainer.model)
        trainer.train()
        return trainer, before, output

    return train


# -- imports -------------------------------------------------------------------------------------------------


def test_a_script_that_tried_fastreid_first():
    """fastreid alone cannot be imported; after our import it can, and what was imported before it is mended
    too."""
    script = """
import sys, torch
from fastreid.solver import build_optimizer
from fastreid.utils.checkpoint import Checkpointer
for module in ("fastreid.data", "fastreid.evaluation", "fastreid.engine"):
    try:
        __import__(module)
        sys.exit(f"{module} works alone")
    except ImportError as error:
        assert "torch._six" in str(error) or "Mapping" in str(error), error
assert build_optimizer.__defaults__ == (True,)
import fastreid_privacy
from fastreid.data import build_reid_train_loader
from fastreid.engine import DefaultTrainer, launch
from fastreid.evaluation import print_csv_format
assert build_optimizer.__defaults__ == (False,)
assert launch is fastreid_privacy.compat.launch
assert Checkpointer._load_file.__module__.startswith("fastreid_privacy")
# what torch calls deprecated inside fastreid is not shown to its users
from fastreid.data.transforms import ToTensor
from fastreid.utils.compute_dist import build_dist
from PIL import Image
ToTensor()(Image.new("RGB", (2, 2)))
build_dist(torch.ones(1, 2), torch.ones(1, 2))
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert run.returncode == 0 and run.stderr == "", run.stderr


def test_no_stand_in_stays():
    assert "torch._six" not in sys.modules and not hasattr(torch, "_six")
    assert not hasattr(collections, "Mapping")
    with pytest.raises(ImportError):
        __import__("torch._six")


def test_applying_twice_changes_nothing():
    before, loader, optimizer = dict(ORIGINALS), data_build.build_reid_train_loader, defaults.AMPTrainer
    compat.apply()
    assert before == ORIGINALS
    assert data_build.build_reid_train_loader is loader and defaults.AMPTrainer is optimizer
    assert all(
        not getattr(original, "__module__", "").startswith("fastreid_privacy")
        for original in ORIGINALS.values()
    )


# -- data ----------------------------------------------------------------------------------------------------


class Numbers(torch.utils.data.Dataset):
    def __init__(self, size, broken=None):
        self.size, self.broken = size, broken

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index == self.broken:
            raise OSError(f"image {index} cannot be read")
        return {"images": torch.full((3,), float(index)), "targets": index, "img_paths": f"{index}.jpg"}


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_gives_what_torch_gives(workers):
    options = {
        "dataset": Numbers(10),
        "batch_size": 4,
        "collate_fn": data_build.fast_batch_collator,
        "num_workers": workers,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pinned memory without a GPU warns
        loader = data_build.DataLoaderX(0, pin_memory=True, **options)
        ours, theirs = list(loader), list(DataLoader(**options))
    assert len(loader) == len(ours) == 3
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a["images"].cpu(), b["images"]) and torch.equal(a["targets"].cpu(), b["targets"])
        assert a["img_paths"] == b["img_paths"]
    assert len(list(loader)) == 3  # a second pass


def test_workers_that_are_not_forked(monkeypatch, tmp_path):
    """macOS, Windows, and every process of ``launch`` before it is told otherwise: the worker's first import
    is fastreid.data."""
    Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(tmp_path / "image.png")
    data_set = fastreid.data.CommDataset([(str(tmp_path / "image.png"), 5, 0)], transforms_build.ToTensor())
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: "spawn")
    loader = PlainDataLoader(0, dataset=data_set, num_workers=1, collate_fn=data_build.fast_batch_collator)
    assert [batch["images"].mean().item() for batch in loader] == [7.0]
    with pytest.raises(RuntimeError, match="worker"):
        list(
            DataLoader(
                data_set,
                num_workers=1,
                collate_fn=data_build.fast_batch_collator,
                multiprocessing_context="spawn",
            )
        )


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_hands_on_what_the_data_set_raises(workers):
    loader = PlainDataLoader(0, dataset=Numbers(6, broken=3), batch_size=2, num_workers=workers)
    batches = iter(loader)
    next(batches)
    with pytest.raises(OSError, match="image 3 cannot be read"):
        next(batches)


def test_loader_upstream_needs_a_gpu():
    if torch.cuda.is_available():
        original_of(data_build, "DataLoaderX")(0, dataset=Numbers(2))
    else:
        with fails_without_gpu:
            original_of(data_build, "DataLoaderX")(0, dataset=Numbers(2))


def test_loader_moves_to_the_device_that_was_set(monkeypatch):
    monkeypatch.setattr(compat.data, "loader_device", "meta")
    loader = PlainDataLoader(0, dataset=Numbers(2), batch_size=2, collate_fn=data_build.fast_batch_collator)
    batch = next(iter(loader))
    assert batch["images"].device.type == batch["targets"].device.type == "meta"
    assert batch["img_paths"] == ["0.jpg", "1.jpg"]
    monkeypatch.setattr(compat.data, "loader_device", "auto")
    assert PlainDataLoader(0, dataset=Numbers(2)).device.type == (
        "cuda" if torch.cuda.is_available() else "cpu"
    )


def test_batches_go_where_the_config_keeps_the_model(tmp_path, monkeypatch):
    """On a machine with a GPU: what was said for all loaders holds again for the next."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(compat.data, "loader_device", "auto")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    cfg = plain_fastreid.tiny_config(tmp_path)
    tested = defaults.build_reid_test_loader(cfg, dataset_name="TinyPedestrians")[0]
    loaders = [defaults.build_reid_train_loader(cfg), tested]
    assert [loader.device.type for loader in loaders] == ["cpu", "cpu"]
    cfg.MODEL.DEVICE = "cuda"
    assert defaults.build_reid_train_loader(cfg).device.type == "cuda" and compat.data.loader_device == "auto"


def test_shutdown_ends_the_workers():
    loader = PlainDataLoader(0, dataset=Numbers(100), batch_size=1, num_workers=2)
    loader.shutdown()  # nothing has begun
    batches = iter(loader)
    next(batches)
    workers = loader._batches()._workers
    assert all(worker.is_alive() for worker in workers)
    loader.shutdown()
    assert not any(worker.is_alive() for worker in workers)


def test_data_folder_is_read_when_a_loader_is_built(tmp_path, monkeypatch):
    cfg = plain_fastreid.tiny_config(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / name))
        assert defaults.build_reid_test_loader(cfg, dataset_name="TinyPedestrians")[1] == 8
        assert fastreid.data.build_reid_train_loader(cfg).dataset.num_classes == 4
        assert len(list((tmp_path / name).iterdir())) == 16


def test_random_affine_of_fastreid():
    cfg = plain_fastreid.tiny_config(
        "", "INPUT.AFFINE.ENABLED", True, "INPUT.REA.ENABLED", False, "INPUT.FLIP.ENABLED", False
    )
    cfg.INPUT.PADDING.ENABLED = False
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 16, 3), dtype=np.uint8))
    transform = transforms_build.build_transforms(cfg, is_train=True)
    torch.manual_seed(3)
    ours = transform(image)
    torch.manual_seed(3)
    affine = transforms.RandomAffine(
        10, scale=(0.9, 1.1), shear=0.1, interpolation=transforms.InterpolationMode.NEAREST, fill=0
    )
    assert np.array_equal(ours.permute(1, 2, 0).numpy(), np.asarray(affine(image), np.float32))
    with pytest.raises(TypeError, match="resample"):
        original_of(transforms_build, "T").RandomAffine(degrees=10, resample=False, fillcolor=0)


# -- training ------------------------------------------------------------------------------------------------


def test_plain_fastreid_trains(trained):
    """The whole of a plain script: AMP asked for, weights move, the last epoch's evaluation is on record,
    checkpoints load."""
    trainer, before, output = trained("SOLVER.AMP.ENABLED", True)
    after = plain_fastreid.weights_of(trainer.model)
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(moved) > 0.9 * len(before)
    assert type(trainer._trainer) is SimpleTrainer
    records = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert [record["iteration"] for record in records if "Rank-10" in record] == [3, 7]
    checkpoint = trainer.checkpointer._load_file(output / "model_final.pth")
    assert checkpoint["epoch"] == 1 and set(after) <= set(checkpoint["model"])


def step(optimizer, model, wrapper):
    loss = model(torch.ones(2, 3)).square().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if isinstance(wrapper, ContiguousParams):
        original_of(ContiguousParams, "assert_buffer_is_valid")(wrapper)


@pytest.mark.parametrize("options, moves", [({}, True), ({"contiguous": True}, False)])
def test_optimizer_moves_weights_by_default(options, moves):
    """contiguous=True, fastreid's default, leaves every weight as it was, and its own check passes."""
    model = torch.nn.Linear(3, 2)
    optimizer, wrapper = build_optimizer(plain_fastreid.tiny_config(""), model, **options)
    before = plain_fastreid.weights_of(model)
    for _ in range(3):
        step(optimizer, model, wrapper)
    assert all(torch.equal(before[name], weight) != moves for name, weight in model.named_parameters())
    if not moves:
        with pytest.raises(ValueError, match="contiguous=False"):
            wrapper.assert_buffer_is_valid()


@pytest.mark.parametrize("meta_arch", [Baseline, MGN])
@pytest.mark.parametrize("wrap", [lambda images: images, lambda images: {"images": images}])
def test_normalisation_leaves_the_batch_alone(meta_arch, wrap):
    mean, std = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1), torch.tensor([4.0, 5.0, 6.0]).view(1, 3, 1, 1)
    model = types.SimpleNamespace(pixel_mean=mean, pixel_std=std, device=torch.device("cpu"))
    images = torch.rand(2, 3, 4, 4) * 255
    kept = images.clone()
    first, second = (
        meta_arch.preprocess_image(model, wrap(images)),
        meta_arch.preprocess_image(model, wrap(images)),
    )
    assert torch.equal(images, kept) and torch.equal(first, second)
    assert torch.equal(
        meta_arch.preprocess_image(model, wrap(kept.to(torch.uint8))), (kept.to(torch.uint8) - mean) / std
    )
    upstream = original_of(meta_arch, "preprocess_image")(model, wrap(images))
    assert torch.equal(upstream, first) and not torch.equal(images, kept)
    with pytest.raises(TypeError, match="list"):
        meta_arch.preprocess_image(model, [images])


def test_amp_on_the_cpu_upstream_fails():
    if torch.cuda.is_available():
        assert original_of(defaults, "AMPTrainer") is AMPTrainer
        return
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = original_of(defaults, "AMPTrainer")(model, [torch.ones(1, 1)], optimizer, None)
    with pytest.raises(AssertionError, match="CUDA is required"):
        trainer.run_step()
    assert type(defaults.AMPTrainer(model, [torch.ones(1, 1)], optimizer, None)) is SimpleTrainer


class Loop(TrainerBase):
    """A trainer that does nothing but count."""

    def __init__(self, *loop_hooks, max_epoch=2, iters_per_epoch=3):
        super().__init__()
        self.max_epoch, self.iters_per_epoch = max_epoch, iters_per_epoch
        self.max_iter = max_epoch * iters_per_epoch
        self.register_hooks(loop_hooks)

    def run_step(self):
        self.storage.put_scalar("total_loss", self.iter)

    def run(self):
        self.train(0, self.max_epoch, self.iters_per_epoch)


class Broken(hooks.HookBase):
    def before_train(self):
        raise OSError("disk full")


@pytest.mark.parametrize("period", [0, -1])
def test_training_without_evaluation(trained, period):
    trainer, _, output = trained("TEST.EVAL_PERIOD", period, "SOLVER.MAX_EPOCH", 1)
    assert trainer._last_eval_results is None and (output / "model_final.pth").is_file()


def test_hooks_upstream_fail_without_evaluation(monkeypatch):
    monkeypatch.setattr(hooks.EvalHook, "after_train", original_of(hooks.EvalHook, "after_train"))
    with pytest.raises(ZeroDivisionError):
        Loop(hooks.EvalHook(0, dict)).run()
    with pytest.raises(AttributeError):
        Loop(hooks.EvalHook(1, dict), Broken()).run()


def test_an_early_exception_is_not_hidden():
    with pytest.raises(OSError, match="disk full"):
        Loop(hooks.EvalHook(1, dict), Broken()).run()


@pytest.mark.parametrize("period", [1, 2, 3])
def test_last_evaluation_is_written(tmp_path, monkeypatch, period):
    """Upstream leaves the last one out. Period 3 of 2 epochs: evaluated after the last epoch, in
    after_train."""

    def epochs_written(name):
        loop = Loop()
        results = iter(range(1, 9))
        evaluation = hooks.EvalHook(period, lambda: {"Rank-1": float(next(results))})
        loop.register_hooks([evaluation, hooks.PeriodicWriter([JSONWriter(str(tmp_path / name))], 2)])
        loop.run()
        return [
            line["Rank-1"]
            for line in map(json.loads, (tmp_path / name).read_text().splitlines())
            if "Rank-1" in line
        ]

    ours = epochs_written("ours.json")
    assert ours == ([1.0, 2.0] if period == 1 else [1.0])
    for name in ("after_step", "after_train"):
        monkeypatch.setattr(hooks.PeriodicWriter, name, original_of(hooks.PeriodicWriter, name))
    assert epochs_written("upstream.json") == ours[:-1]


def test_a_failed_training_writes_nothing_more(tmp_path):
    class Fails(Loop):
        def run_step(self):
            raise OSError("no more data")

    with pytest.raises(OSError, match="no more data"):
        Fails(hooks.PeriodicWriter([JSONWriter(str(tmp_path / "metrics.json"))])).run()
    assert (tmp_path / "metrics.json").read_text() == ""


def test_resuming_after_the_last_epoch(tmp_path):
    """No step is left: nothing to evaluate, nothing to write; upstream fails for want of an epoch."""
    writers = [CommonMetricPrinter(6), JSONWriter(str(tmp_path / "metrics.json"))]
    loop = Loop(hooks.EvalHook(1, dict), hooks.PeriodicWriter(writers))
    loop.train(2, 2, 3)
    assert (tmp_path / "metrics.json").read_text() == ""


def test_metrics_of_a_step_on_the_cpu():
    """train_loop.py:271 enters ``torch.cuda.stream(None)`` where there is no GPU: it works as it is."""
    with EventStorage() as storage:
        SimpleTrainer._write_metrics(types.SimpleNamespace(iter=0), {"loss": torch.tensor(2.0)}, 0.1)
    assert storage.latest()["total_loss"][0] == 2.0
