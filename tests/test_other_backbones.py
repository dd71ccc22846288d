"""The recipes of projects/OtherBackbones: each trains, freezes what it says, evaluates and upgrades; and what
their files say."""

from __future__ import annotations

# before fastreid: importing the package makes it work
from fastreid_privacy.training.trainer import PrivacyTrainer

# isort: split
import gc
import math
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import small_options
from fastreid.engine.hooks import HookBase
from torch import nn

from fastreid_privacy import load_anonymizer, load_config
from fastreid_privacy.config import flat_keys
from fastreid_privacy.core.errors import UserError
from fastreid_privacy.networks import halvings
from fastreid_privacy.training import solver
from fastreid_privacy.training.evaluate_only import evaluate_only

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "projects" / "OtherBackbones" / "configs"
PAIRS = {"OI-OI", "OI-PI", "PI-OI", "PI-PI", "OI-DI", "RI-RI"}
GAN = ["anonymizer", "recovery", "anonymization_discriminator", "recovery_discriminator"]

# What makes a recipe small enough for a test; its heads, losses, schedule and freezing stay.
RESNET18 = {"MODEL.BACKBONE.DEPTH": "18x", "MODEL.BACKBONE.FEAT_DIM": 512}
SMALLER = {
    "bot": RESNET18,
    "sbs": {**RESNET18, "MODEL.BACKBONE.WITH_NL": False},
    # 5 rows of features, for its branch of three stripes
    "mgn": {"INPUT.SIZE_TRAIN": [80, 32], "INPUT.SIZE_TEST": [80, 32]},
    "osnet": {},
    "vit": {"MODEL.BACKBONE.DEPTH": "small"},
}
# Top-level modules of the Re-ID model, and those that are held at first.
MGN_BRANCHES = ["b1", "b2", "b3"]
MGN_HEADS = ["b1_head", "b2_head", "b21_head", "b22_head", "b3_head", "b31_head", "b32_head", "b33_head"]
REID = {"mgn": ["backbone", *MGN_BRANCHES, *MGN_HEADS]}
HELD = {"sbs": ["backbone"], "mgn": ["backbone", *MGN_BRANCHES]}


def small_config(name: str, output_dir: Path | str = "", **overrides):
    """A recipe for two steps of eight images on the small data set, a check after them that any result
    passes."""
    options = {
        "DATASETS.NAMES": ("SyntheticPedestrians",),
        "DATASETS.TESTS": ("SyntheticPedestrians",),
        "DATASETS.VALIDATION.FRACTION": 0.7,
        "DATALOADER.NUM_INSTANCE": 4,
        "MODEL.BACKBONE.PRETRAIN": False,
        "PRIVACY.UPGRADE.EPS_PSNR": 100.0,
        "PRIVACY.UPGRADE.EPS_SSIM": 2.0,
        "INPUT.PADDING.SIZE": 2,
        "SOLVER.IMS_PER_BATCH": 8,
        "SOLVER.MAX_EPOCH": 1,
        "SOLVER.FREEZE_ITERS": 1,
        # Without weight decay, which would move weights that no gradient reaches.
        "SOLVER.WEIGHT_DECAY": 0.0,
        "SOLVER.WEIGHT_DECAY_NORM": 0.0,
        "SOLVER.WEIGHT_DECAY_BIAS": 0.0,
        **SMALLER[name],
        **overrides,
    }
    return load_config(CONFIGS / f"{name}.yml", small_options(output_dir, **options))


class Fingerprints(HookBase):
    """A checksum of every parameter and buffer before training and after each step."""

    def __init__(self, model: nn.Module):
        self.model, self.taken = model, []

    def take(self) -> None:
        self.taken.append(
            {
                name: zlib.crc32(value.detach().numpy().tobytes())
                for name, value in self.model.state_dict().items()
            }
        )

    before_train = after_step = take


@pytest.fixture(scope="module", params=SMALLER)
def trained(request, small_dataset, tmp_path_factory):
    """A recipe after its training: model, cfg, record, results on the test set, and fingerprints of its
    weights after 0, 1, … steps."""
    trainer = PrivacyTrainer(
        small_config(request.param, tmp_path_factory.mktemp(request.param)), baseline_rank1=0.0
    )
    fingerprints = Fingerprints(trainer.model)
    trainer.register_hooks([fingerprints])
    trainer.train()
    (evaluation,) = trainer.test(trainer.cfg, trainer.model).values()
    run = SimpleNamespace(
        name=request.param,
        model=trainer.model,
        cfg=trainer.cfg,
        record=trainer.record,
        results=evaluation.figures,
        taken=fingerprints.taken,
    )
    # Trainer and hooks refer to each other, and MGN's gradients and moments alone hold a gigabyte.
    trainer.optimizer.zero_grad()
    trainer.optimizer.state.clear()
    del trainer, fingerprints
    yield run
    vars(run).clear()
    gc.collect()


def moved(before: dict, after: dict) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def learnable(model: nn.Module, parts: list[str]) -> set[str]:
    return {
        name
        for name, value in model.named_parameters()
        if value.requires_grad and name.split(".")[0] in parts
    }


def test_every_network_learns_and_frozen_layers_wait(trained):
    parts = {name.split(".")[0] for name, _ in trained.model.named_parameters()} - {"supervision"}
    assert parts == {*REID.get(trained.name, ["backbone", "heads"]), *GAN}
    held = HELD.get(trained.name, [])
    free = learnable(trained.model, [part for part in parts if part not in held])
    initial, first, second, *_ = trained.taken

    assert free <= moved(initial, first)
    # BatchNorm statistics included
    assert not {name for name in moved(initial, first) if name.split(".")[0] in held}
    assert free | learnable(trained.model, held) <= moved(first, second)
    # no part is empty or frozen for ever
    assert all(f"{part}." in "".join(learnable(trained.model, [part])) for part in parts)


def test_evaluates_all_pairs(trained):
    results = trained.results
    assert set(results["retrieval"]) == PAIRS
    for figures in results["retrieval"].values():
        assert all(0 <= figures[metric] <= 100 for metric in ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP"))
    assert set(results["image_quality"]) == {"protected", "desensitized", "recovered"}
    assert all(math.isfinite(figures["PSNR"]) for figures in results["image_quality"].values())


def test_upgrades_to_the_anonymizer_as_it_is(trained):
    (check,) = trained.record.checks
    supervision, anonymizer = trained.model.supervision, trained.model.anonymizer.state_dict()
    assert check["decision"] == "upgrade" and bool(supervision.upgraded)
    target = supervision.frozen_anonymizer.state_dict()
    assert target.keys() == anonymizer.keys() and all(
        torch.equal(target[key], anonymizer[key]) for key in target
    )
    last = trained.taken[-1]  # of training: G* was still what it had been at first
    assert all(
        last[f"supervision.frozen_anonymizer.{key}"] == trained.taken[0][f"anonymizer.{key}"]
        for key in target
    )


def test_checkpoint_is_tested_alone(trained):
    """``--eval-only`` with the checkpoint of the run, and the anonymizer from that file, without the
    trainer."""
    (alone,) = evaluate_only(trained.cfg).values()
    assert alone["checkpoint"] == "model_best.pth"
    for pair in PAIRS:
        assert alone["retrieval"][pair] == pytest.approx(trained.results["retrieval"][pair], abs=1e-4), pair
    images = torch.randint(0, 256, (2, 3, *trained.cfg.INPUT.SIZE_TEST), dtype=torch.uint8)
    protect = load_anonymizer(Path(trained.cfg.OUTPUT_DIR) / "model_best.pth", device="cpu")
    with torch.no_grad():
        expected = trained.model.eval().protect(images.float())
    torch.testing.assert_close(protect(images).float(), expected, atol=0, rtol=0)


# -- what the files say --------------------------------------------------------------------------------------


def full_config(name: str):
    return load_config(CONFIGS / f"{name}.yml", ["MODEL.DEVICE", "cpu"])


def test_there_are_five_recipes():
    assert {path.stem for path in CONFIGS.glob("*.yml")} == set(SMALLER)


@pytest.mark.parametrize("name", SMALLER)
def test_recipe_differs_from_agw_in_the_reid_model_only(name):
    agw = flat_keys(load_config(ROOT / "configs" / "Market" / "privacy_agw.yml", ["MODEL.DEVICE", "cpu"]))
    recipe = flat_keys(full_config(name))
    differing = {key for key in agw if agw[key] != recipe[key]} - {
        "TEST.PAPER_RESULTS",
        "PRIVACY.CENTER_LOSS.WEIGHT",
    }
    of_the_recipe = ("MODEL.", "INPUT.SIZE_", "SOLVER.", "DATALOADER.NUM_INSTANCE", "OUTPUT_DIR")
    assert not {key for key in differing if not key.startswith(of_the_recipe)}
    assert recipe["TEST.PAPER_RESULTS"] == [] and recipe["PRIVACY.CENTER_LOSS.WEIGHT"] == 0
    assert halvings(*recipe["INPUT.SIZE_TRAIN"]) == 7  # the U-Net is as deep as the paper's


def test_outputs_are_apart():
    assert len({full_config(name).OUTPUT_DIR for name in SMALLER}) == len(SMALLER)


def cosine(epoch: int, first: int, last: int, low: float) -> float:
    return low + (1 - low) * (1 + math.cos(math.pi * min(max(epoch - first, 0) / (last - first), 1))) / 2


@pytest.mark.parametrize(
    ("name", "base", "expected"),
    [
        ("bot", 3.5e-4, {0: 0.1, 9: 1, 49: 1, 50: 0.1, 99: 0.1, 100: 0.01, 119: 0.01}),
        ("osnet", 3.5e-4, {0: 0.1, 9: 1, 49: 1, 50: 0.1, 99: 0.1, 100: 0.01, 119: 0.01}),
        ("sbs", 3.5e-4, {0: 0.1, 9: 1, 30: 1, 40: cosine(40, 30, 59, 0.002), 59: 0.002}),
        ("mgn", 3.5e-4, {0: 0.1, 9: 1, 30: 1, 40: cosine(40, 30, 59, 0.002), 59: 0.002}),
        ("vit", 1e-4, {0: 0.01, 4: 1, 60: cosine(60, 4, 119, 0.002), 119: 0.002}),
    ],
)
def test_learning_rate(name, base, expected):
    cfg = full_config(name)
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = solver.build_lr_scheduler(cfg, optimizer)["lr_sched"]
    for epoch in range(cfg.SOLVER.MAX_EPOCH):
        if epoch in expected:
            assert optimizer.param_groups[0]["lr"] == pytest.approx(base * expected[epoch], rel=1e-9), epoch
        optimizer.step()
        scheduler.step()
    assert max(expected) == cfg.SOLVER.MAX_EPOCH - 1


@pytest.mark.parametrize(
    ("name", "device", "dimension", "millions"),
    # Nothing is computed on torch's meta device, but fastreid's ViT asks a tensor for its value when it is
    # built.
    [
        ("bot", "meta", 2048, 23.5),
        ("sbs", "meta", 2048, 23.5),
        ("mgn", "meta", 8 * 256, 68.8),
        ("osnet", "meta", 512, 1.9),
        ("vit", "cpu", 768, 85.7),
    ],
)
def test_full_size_model(name, device, dimension, millions):
    overrides = [
        "MODEL.DEVICE",
        device,
        "MODEL.HEADS.NUM_CLASSES",
        4,
        "MODEL.BACKBONE.PRETRAIN",
        False,
        "PRIVACY.PROTECTION",
        "none",
    ]
    cfg = load_config(CONFIGS / f"{name}.yml", overrides)
    with torch.device(device), torch.no_grad():
        model = PrivacyTrainer.build_model(cfg).eval()
        assert model({"images": torch.zeros(1, 3, *cfg.INPUT.SIZE_TEST)}).shape == (1, dimension)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.1
    )


def test_vit_takes_timm_weights_at_another_size(tmp_path):
    """fastreid resizes the 14×14 position embeddings of a 224×224 model; names and head are timm's."""
    options = {"MODEL.HEADS.NUM_CLASSES": 4, "PRIVACY.PROTECTION": "none"}
    donor = PrivacyTrainer.build_model(small_config("vit", **options)).backbone.state_dict()
    positions = torch.randn(1, 1 + 14 * 14, 768)
    head = {"head.weight": torch.randn(1000, 768), "head.bias": torch.randn(1000)}
    path = tmp_path / "vit.pth"
    torch.save({**donor, **head, "pos_embed": positions}, path)
    cfg = small_config(
        "vit", **options, **{"MODEL.BACKBONE.PRETRAIN": True, "MODEL.BACKBONE.PRETRAIN_PATH": path}
    )
    loaded = PrivacyTrainer.build_model(cfg).backbone.state_dict()
    assert all(torch.equal(loaded[key], donor[key]) for key in donor if key != "pos_embed")
    assert loaded["pos_embed"].shape == (1, 1 + (64 // 16) * (32 // 16), 768)
    assert torch.equal(loaded["pos_embed"][:, 0], positions[:, 0])  # the class token keeps its place


def test_vit_without_its_weights_says_which_key_names_them():
    with pytest.raises(UserError, match=r"MODEL\.BACKBONE\.PRETRAIN_PATH"):
        PrivacyTrainer.build_model(
            small_config("vit", **{"MODEL.BACKBONE.PRETRAIN": True, "MODEL.HEADS.NUM_CLASSES": 4})
        )


def test_refused_download_says_which_key_names_the_weights(monkeypatch, tmp_path):
    """OSNet's weights lie on Google Drive, which refuses files that are fetched too often, with an error of
    gdown's own."""
    import gdown

    def refuse(url, *args, **kwargs):
        raise gdown.exceptions.FileURLRetrievalError(
            "Too many users have viewed or downloaded this file recently"
        )

    monkeypatch.setattr(gdown, "download", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"Too many users.*MODEL\.BACKBONE\.PRETRAIN_PATH"):
        PrivacyTrainer.build_model(
            small_config("osnet", **{"MODEL.BACKBONE.PRETRAIN": True, "MODEL.HEADS.NUM_CLASSES": 4})
        )
