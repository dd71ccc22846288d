"""Two processes on the CPU over gloo, through the training command: one run, the same on both."""

from __future__ import annotations

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work
from in_process import train

# isort: split
import json
from types import SimpleNamespace

import distributed_run
import pytest
import torch

from fastreid_privacy.commands import train as command_line
from fastreid_privacy.model.losses import update_centers

# Whatever the first check measures upgrades. Images are tested one by one: a batch of another size is rounded
# otherwise.
PROCESSES = 2
OPTIONS = {
    "PRIVACY.UPGRADE.EPS_PSNR": 100.0,
    "PRIVACY.UPGRADE.EPS_SSIM": 2.0,
    "PRIVACY.UPGRADE.EPS_RANK1": 101.0,
    "TEST.IMS_PER_BATCH": PROCESSES,
}


@pytest.fixture(scope="module")
def ranks(small_dataset, tmp_path_factory):
    """What each process saw of a run of two epochs, and OUTPUT_DIR."""
    output = tmp_path_factory.mktemp("distributed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line, "main", distributed_run.train_and_record)
        patch.setenv("OMP_NUM_THREADS", "1")
        argv = [
            "--num-gpus",
            str(PROCESSES),
            "--dist-url",
            "auto",
            "--config-file",
            str(SMALL_CONFIG),
            *small_options(output, **OPTIONS),
        ]
        assert train(*argv) == 0
    seen = [torch.load(output / f"seen_{rank}.pt", weights_only=False) for rank in range(PROCESSES)]
    return SimpleNamespace(seen=seen, output=output)


def test_there_are_two_processes_with_images_of_their_own(ranks):
    first, second = ranks.seen
    assert first["world_size"] == second["world_size"] == PROCESSES
    assert len(first["paths"]) == len(second["paths"]) >= 4
    for mine, others in zip(first["paths"], second["paths"], strict=True):
        assert len(mine) == len(others) == 16 // PROCESSES  # SOLVER.IMS_PER_BATCH is that of all processes
        assert not set(mine) & set(others)


def test_each_process_draws_numbers_of_its_own(ranks):
    """Noise, dropout and erased boxes; anew in each epoch of two steps."""
    seeds = [seen["seeds"] for seen in ranks.seen]
    assert [len(set(steps)) for steps in seeds] == [2, 2]
    assert not set(seeds[0]) & set(seeds[1])


def test_weights_and_buffers_are_equal_on_both(ranks):
    """After each epoch: parameters by averaged gradients, BatchNorm statistics by rank 0, the upgraded target
    by the decision."""
    first, second = ranks.seen
    assert first["initial"] == second["initial"]
    assert first["epochs"] == second["epochs"] and len(first["epochs"]) == 2
    parts = {
        name.split(".")[0] for name, value in first["epochs"][-1].items() if value != first["initial"][name]
    }
    assert parts >= {
        "backbone",
        "heads",
        "anonymizer",
        "recovery",
        "anonymization_discriminator",
        "recovery_discriminator",
        "centers",
    }
    assert parts >= {"supervision"}


def test_decisions_are_equal_on_both(ranks):
    first, second = ranks.seen
    assert first["record"] == second["record"] and len(first["record"]["checks"]) == 2
    assert first["record"]["checks"][0]["decision"] == "upgrade"
    assert first["supervision_upgraded"] and second["supervision_upgraded"]
    assert json.loads((ranks.output / "results.json").read_text())["checks"] == first["record"]["checks"]


def test_only_the_first_process_writes(ranks):
    assert sorted(path.name for path in ranks.output.glob("*.pth")) == [
        "model_0000.pth",
        "model_best.pth",
        "model_final.pth",
    ]
    assert len(list(ranks.output.glob("events.*"))) == 1
    lines = [json.loads(line) for line in (ranks.output / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == sorted({line["iteration"] for line in lines})


def test_an_evaluation_over_two_processes_is_that_of_one(ranks, tmp_path):
    """results.json of the run against ``--eval-only`` of its checkpoint in this process."""
    options = small_options(
        tmp_path, **{**OPTIONS, "TEST.IMS_PER_BATCH": 1, "MODEL.WEIGHTS": ranks.output / "model_best.pth"}
    )
    assert train("--eval-only", "--config-file", SMALL_CONFIG, *options) == 0
    alone, together = (
        json.loads((folder / "results.json").read_text()) for folder in (tmp_path, ranks.output)
    )
    assert (
        alone["retrieval"].keys()
        == together["retrieval"].keys()
        == {"OI-OI", "OI-PI", "PI-OI", "PI-PI", "OI-DI", "RI-RI"}
    )
    for pair, figures in together["retrieval"].items():
        assert figures == pytest.approx(alone["retrieval"][pair], rel=1e-12), pair
    for domain, figures in together["image_quality"].items():
        # LPIPS is not, without its weights
        measured = {name: value for name, value in figures.items() if value is not None}
        assert measured == pytest.approx(
            {name: alone["image_quality"][domain][name] for name in measured}, rel=1e-9
        ), domain


def test_the_center_update_is_that_of_the_whole_batch(ranks):
    """Shares of 5 and 7 images; identities on both processes, on one, on none."""
    centers, features, targets = distributed_run.center_example()
    expected = centers.clone()
    for number in range(len(centers)):  # c ← c − lr · ∂/∂c of the mean of |f − c|²
        members = features[targets == number]
        expected[number] -= 0.5 * 2 * (centers[number] - members).sum(dim=0) / len(features)
    first, second = (seen["centers"] for seen in ranks.seen)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, expected)
    update_centers(centers, features, targets, lr=0.5)
    torch.testing.assert_close(first, centers)
    assert torch.equal(first[5], distributed_run.center_example()[0][5])


def test_a_batch_that_two_processes_cannot_share(capfd, tmp_path, small_dataset):
    argv = [
        "--num-gpus",
        "2",
        "--config-file",
        str(SMALL_CONFIG),
        *small_options(tmp_path / "run", **{"SOLVER.IMS_PER_BATCH": 20}),
    ]
    assert train(*argv) == 2
    assert "leaves 10 images each, no multiple of DATALOADER.NUM_INSTANCE 4" in capfd.readouterr().err
