"""projects/IdentityDP: its noise against Laplace's distribution, its budget against integrals, its command
lines from outside."""

from __future__ import annotations

from conftest import initial_weights, small_options  # before fastreid: importing the package makes it work
from in_process import anonymize, train

# isort: split
import importlib
import json
import math
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from scipy import integrate, stats

from fastreid_privacy import UserError, load_anonymizer
from fastreid_privacy.checkpoints.reading import write_safetensors
from fastreid_privacy.compare.methods import read_methods
from fastreid_privacy.core.projects import load_projects
from fastreid_privacy.desensitize import Desensitizer
from fastreid_privacy.manifest import MANIFEST

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "projects" / "IdentityDP"
KEY = "PRIVACY.DESENSITIZER.IDENTITY_DP_"
NAMES = ("sampling", "mechanism", "accounting", "networks", "learning", "training", "model_file", "operator")


class Parts:
    """The modules of the project, by their names."""

    def __init__(self):
        load_projects([PROJECT])
        for name in (*NAMES, "sweep", "commands"):
            setattr(self, name, importlib.import_module(f"identity_dp.{name}"))


@pytest.fixture
def parts(own_imports):
    return Parts()


@pytest.fixture
def model(parts, tmp_path):
    """A model of small random networks, whose pictures have contrast and depend on the identity."""
    torch.manual_seed(0)
    networks = parts.networks.IdentityNetworks(parts.networks.Sizes(32, 16, 8, 4, 2))
    with torch.no_grad():
        for weight in networks.parameters():
            weight.mul_(2)
    path = tmp_path / "identity_dp.safetensors"
    path.write_bytes(parts.model_file.model_bytes(networks, {"trained_on": ["nothing"]}))
    return path


def pictures(count: int, height: int = 32, width: int = 16) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), generator=draw, dtype=torch.uint8)


def operator(model: Path, **options) -> Desensitizer:
    return Desensitizer(
        "identity_dp",
        identity_dp_model=str(model),
        **{f"identity_dp_{name}": value for name, value in options.items()},
    )


# -- the noise -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [1.0, 100.0])
def test_noise_has_the_laplace_distribution(parts, epsilon):
    """Of secret seeds, of a stream of one seed, and of the operating system."""
    budget = parts.mechanism.Budget.of(epsilon, 0, 64)
    assert budget.scale == pytest.approx(16 / epsilon, rel=1e-6) and budget.scale >= 16 / epsilon
    expected = stats.laplace(scale=16 / epsilon).cdf
    for seed, floor in ((7, 0.01), (None, 1e-6)):  # what cannot be repeated must not fail by chance
        steps = parts.sampling.laplace_steps(5_000, budget.halves, parts.sampling.source_of(seed))
        values = np.array(steps) * parts.mechanism.GRID
        assert stats.kstest(values, expected).pvalue > floor
        assert stats.pearsonr(values[:-1], values[1:]).pvalue > floor  # one says nothing of the next
        assert stats.kstest(values, stats.laplace(scale=12 / epsilon).cdf).pvalue < 1e-6  # it would show


@pytest.mark.parametrize("halves", [1, 2, 5])
def test_coarse_noise_is_laplace_noise_rounded_exactly(parts, halves):
    """Where a step is as large as the noise, rounding shows; each whole number has its exact probability."""
    count, scale = 20_000, halves / 2
    drawn = Counter(parts.sampling.laplace_steps(count, halves, parts.sampling.source_of(3)))
    cdf = stats.laplace(scale=scale).cdf
    inner = range(-3 * halves, 3 * halves + 1)
    expected = [count * (cdf(k + 0.5) - cdf(k - 0.5)) for k in inner]
    found = [drawn[k] for k in inner]
    kept = [number for number, value in enumerate(expected) if value > 5]
    rest = [count - sum(found[k] for k in kept)], [count - sum(expected[k] for k in kept)]
    found, expected = (
        [side[k] for k in kept] + more for side, more in zip((found, expected), rest, strict=True)
    )
    assert stats.chisquare(found, expected).pvalue > 0.01


def test_noise_is_a_function_of_the_whole_seed_and_else_never_the_same(parts):
    def draw(seed):
        return parts.sampling.laplace_steps(8, 10**6, parts.sampling.source_of(seed))

    assert draw(2**255 + 1) == draw(2**255 + 1)
    seeds = (2**255 + 1, 1, 0, -1, 2**32, 2**255, 2**300)
    assert len({tuple(draw(seed)) for seed in seeds}) == len(seeds)
    assert draw(None) != draw(None)
    with pytest.raises(ValueError, match="at least half a step, not 0"):
        parts.sampling.laplace_steps(1, 0, parts.sampling.source_of(0))


def unit_vectors(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_new_identities_are_old_ones_with_noise_at_length_one(parts):
    mechanism, sampling = parts.mechanism, parts.sampling
    raw = unit_vectors(5, 16)
    cosines = []
    for epsilon in (1e4, 100.0, 1.0):
        budget = mechanism.Budget.of(epsilon, 0, 16)
        found = mechanism.perturb(raw, budget, sampling.sources_of(range(5), 5))
        for vector, got, seed in zip(raw, found, range(5), strict=True):
            noise = np.array(sampling.laplace_steps(16, budget.halves, sampling.source_of(seed)))
            moved = vector + noise * mechanism.GRID
            np.testing.assert_allclose(got, moved / np.linalg.norm(moved), atol=1e-5)
        cosines.append(float((raw * found).sum(axis=1).mean()))
    assert cosines[0] > 0.99 > cosines[1] > 0.5 > cosines[2]
    assert mechanism.perturb(raw[:0], budget, []).shape == (0, 16)


def test_no_two_embeddings_are_further_apart_than_the_sensitivity(parts):
    """Also after rounding to the grid, and though float32 makes some longer than one."""
    mechanism = parts.mechanism
    for dimension in (2, 64, 2048):
        worst = mechanism.worst_sensitivity(dimension)
        equal = np.full((1, dimension), dimension**-0.5, np.float32) * np.float32(1 + 1e-6)
        vectors = np.concatenate([unit_vectors(50, dimension), equal, -equal])
        steps = mechanism.to_grid(vectors)
        assert (steps.astype(object) ** 2).sum(axis=1).max() <= 2**48
        apart = mechanism.largest_distance(steps * mechanism.GRID)
        assert worst * (1 - 1e-5 * math.sqrt(dimension)) < apart <= worst
    assert mechanism.worst_sensitivity(2048) == pytest.approx(90.51, abs=0.01)
    with pytest.raises(UserError, match="not finite"):
        mechanism.to_grid(np.array([[math.nan, 1.0]]))


# -- the budget ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moved", [0.01, 0.5, 3.0])
def test_divergences_are_those_of_integrals(parts, moved):
    one, other = stats.laplace().pdf, stats.laplace(loc=moved).pdf
    for order in (1.01, 2.0, 8.0):
        pieces = [(-60, 0), (0, moved), (moved, 60)]
        integral = sum(
            integrate.quad(lambda x, order=order: one(x) ** order * other(x) ** (1 - order), *piece)[0]
            for piece in pieces
        )
        (found,) = parts.accounting.laplace_divergence(moved, np.array([order]))
        assert found == pytest.approx(math.log(integral) / (order - 1), rel=1e-4, abs=1e-6)


def test_opposite_embeddings_of_equal_numbers_are_the_worst_pair(parts):
    divergence, dimension = parts.accounting.laplace_divergence, 8
    for scale in (0.05, 0.5, 5.0):
        worst = dimension * divergence(2 / math.sqrt(dimension) / scale)
        pairs = [unit_vectors(2, dimension, seed) for seed in range(30)]
        pairs += [np.array([vector, -vector]) for vector in unit_vectors(30, dimension)]
        pairs.append(np.array([np.eye(dimension)[0], -np.eye(dimension)[0]]))
        for one, other in pairs:
            cost = sum(divergence(abs(difference) / scale) for difference in one - other)
            assert (cost <= worst * (1 + 1e-9)).all()


@pytest.mark.parametrize(
    ("epsilon", "images", "by_renyi", "by_loss_distribution"),
    [(1.0, 1, 0.52739, 0.49218), (10.0, 20, 41.8647, 39.8622), (100.0, 20, 1187.329, 1171.823)],
)
def test_the_composed_budget_is_that_of_a_library(parts, epsilon, images, by_renyi, by_loss_distribution):
    """dp-accounting 0.6.0, told of images × 64 Laplace mechanisms: its Rényi accountant gives the same, and
    its accountant of privacy losses, which says what the worst pair has at least, a little less."""
    budget = parts.mechanism.Budget.of(epsilon, 0, 64)
    found = parts.accounting.composed(budget, images)
    assert found["added"] == pytest.approx(images * epsilon, rel=1e-6)
    assert found["tighter"] == pytest.approx(by_renyi, rel=2e-4)
    assert by_loss_distribution < found["tighter"] < found["added"]


def test_more_images_and_less_noise_cost_more(parts):
    composed, budget = parts.accounting.composed, parts.mechanism.Budget.of
    none = composed(budget(5.0, 0, 16), 0)
    assert none == {"added": 0, "tighter": 0}
    for name in ("added", "tighter"):
        costs = [composed(budget(5.0, 0, 16), images)[name] for images in (1, 2, 10)]
        costs += [composed(budget(epsilon, 0, 16), 10)[name] for epsilon in (6.0, 50.0)]
        assert costs == sorted(set(costs))
    measured = budget(5.0, 4.0, 16)  # half of the worst case: half of the noise, and twice the true ε
    assert composed(measured, 1)["added"] == pytest.approx(10, rel=1e-6)
    assert "no guarantee; for any two embeddings ε is 10" in measured.source


def test_the_account_counts_who_is_not_known_as_one_person_and_as_everybody(parts):
    account = parts.accounting.account_of(parts.mechanism.Budget.of(5.0, 0, 16))
    for people, most in (([], 0), ([1, 1, 2], 2), ([None] * 4, 4), ([1, 1, 2, None], 3)):
        told = account(people)
        assert told["most_images_of_one_person"] == most and told["images"] == len(people)
        assert told["epsilon_of_one_person"] == pytest.approx(5 * most, rel=1e-6)
        json.dumps(told, allow_nan=False)


# -- the operator --------------------------------------------------------------------------------------------


def test_the_operator_draws_new_people(parts, model):
    images = pictures(3)
    drawn = operator(model, epsilon=50.0)
    one, same, other = (
        drawn(images, seeds=[1, 2, 3]),
        drawn(images, seeds=[1, 2, 3]),
        drawn(images, seeds=[1, 2, 4]),
    )
    assert one.dtype == torch.uint8 and one.shape == images.shape and torch.equal(one, same)
    differs = (one != other).flatten(1).any(dim=1)
    assert differs.tolist() == [False, False, True]
    assert not torch.equal(drawn(images), drawn(images))  # of the operating system's randomness
    levels = drawn(images.float(), seeds=[1, 2, 3])
    assert torch.equal(levels.round().byte(), one) and levels.dtype == torch.float32
    alone = torch.cat([drawn(images[number : number + 1], seeds=[number + 1]) for number in range(3)])
    assert (alone.int() - one.int()).abs().max() <= 1  # batches round a little differently
    large = drawn(pictures(1, 64, 32), seeds=[1])
    assert large.shape == (1, 3, 64, 32)
    assert one.float().std() > 10  # the pictures have contrast, so the above can fail


def test_with_a_huge_budget_it_is_the_decoder_of_the_raw_identity(parts, model):
    images = pictures(2)
    networks = parts.model_file.read_model(model).networks
    unit = images.float() / 127.5 - 1
    expected = (networks.decoder(networks.attributes(unit), networks.identity(unit)) + 1) * 127.5
    found = operator(model, epsilon=1e9)(images.float(), seeds=[1, 2])
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


def test_the_seeded_mode_repeats_itself_and_says_so(parts, model):
    images = pictures(3)
    seeded = operator(model, seed=5)
    assert torch.equal(seeded(images, seeds=[1, 2, 3]), seeded(images))
    assert (seeded(images[1:]).int() - seeded(images)[1:].int()).abs().max() <= 1
    assert not torch.equal(operator(model, seed=6)(images), seeded(images))
    about = seeded.description.about
    assert "FOR TESTS" in about["noise"] and about["seed"] == 5
    assert not {"sensitivity_source", "epsilon_for_any_two_embeddings"} & set(about)
    (told,) = seeded.description.account([1, 1, 2]).items()
    assert told[0] == "budget" and "no budget holds" in told[1]
    assert "secret" in operator(model).description.about["noise"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epsilon": 0.0}, ["IDENTITY_DP_EPSILON is 0.0", "above 0"]),
        ({"epsilon": -1.0}, ["IDENTITY_DP_EPSILON is -1.0"]),
        ({"epsilon": math.nan}, ["IDENTITY_DP_EPSILON is nan"]),
        ({"epsilon": math.inf}, ["IDENTITY_DP_EPSILON is inf"]),
        ({"sensitivity": -1.0}, ["IDENTITY_DP_SENSITIVITY is -1.0", "2√8 = 5.657"]),
        ({"sensitivity": 6.0}, ["IDENTITY_DP_SENSITIVITY is 6.0"]),
        ({"sensitivity": math.nan}, ["IDENTITY_DP_SENSITIVITY is nan"]),
        ({"seed": -2}, ["IDENTITY_DP_SEED is -2"]),
        ({"model": ""}, ["IDENTITY_DP_MODEL", "train.py"]),
        ({"model": "absent.safetensors"}, ["absent.safetensors cannot be read"]),
    ],
)
def test_options_that_make_no_sense_are_refused(parts, model, options, words):
    with pytest.raises(UserError) as error:
        operator(options.pop("model", model), **options)
    assert all(word in str(error.value) for word in words)


def rewritten(parts, model: Path, **changes) -> bytes:
    """The model's file with other metadata, and a right checksum."""
    with safe_open(model, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = {key: value for key, value in file.metadata().items() if key != "sha256"}
    told = json.loads(metadata["model"])
    told["sizes"].update(changes.pop("sizes", {}))
    told.update(changes)
    return write_safetensors(tensors, {**metadata, "model": json.dumps(told)})


def test_files_that_are_no_model_are_refused_with_the_reason(parts, model, tmp_path):
    flipped = bytearray(model.read_bytes())
    flipped[-1] ^= 1
    others = {
        "another method \\(fastreid_privacy\\)": write_safetensors(
            {"weight": torch.zeros(2)}, {"format": "fastreid_privacy"}
        ),
        "no file of a network, or damaged": b"no safetensors",
        "checksum is wrong": bytes(flipped),
        "not those of a network of its sizes": rewritten(parts, model, sizes={"width": 5}),
        "dimension is 9999; it lies between": rewritten(parts, model, sizes={"dimension": 9999}),
        "multiples of 8": rewritten(parts, model, sizes={"height": 33}),
        "no whole numbers": rewritten(parts, model, sizes={"code": 2.0}),
        "has format 2": rewritten(parts, model, schema=2),
    }
    for number, (words, content) in enumerate(others.items()):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        with pytest.raises(UserError, match=words) as error:
            operator(path)
        assert str(path) in str(error.value)
    model.write_bytes(rewritten(parts, model, about={}))  # exchanged under the same name: read anew
    assert operator(model).description.about["model_sha256"] == parts.model_file.read_model(model).sha256


def test_a_model_is_no_checkpoint_of_an_anonymizer(parts, model):
    with pytest.raises(UserError, match=str(model)):
        load_anonymizer(model, "cpu")


# -- the commands --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", "1,1.0", "1,,2", "one"])
def test_budgets_are_some_numbers_each_once(given, parts, capsys):
    with pytest.raises(SystemExit) as left:
        parts.commands.sweep_command(["--epsilons", given])
    assert left.value.code == 2 and "argument --epsilons: " in capsys.readouterr().err


def protect(raw: Path, output: Path, model: Path, **options) -> int:
    pairs = {f"{KEY}MODEL": model, **{f"{KEY}{name.upper()}": value for name, value in options.items()}}
    words = ["--project", PROJECT, "--method", "identity_dp", "--input", raw, "--output", output]
    words += ["--device", "cpu", *(word for pair in pairs.items() for word in pair)]
    return anonymize(*words)


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()]


def test_a_collection_says_what_its_budget_promises(parts, model, tmp_path, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    for number, picture in enumerate(pictures(3, 48, 20).permute(0, 2, 3, 1).numpy()):
        Image.fromarray(picture).save(raw / f"000{max(1, number)}_c{number + 1}s1_000000_00.png")
    Image.fromarray(picture).save(raw / "somebody.png")
    assert protect(raw, tmp_path / "out", model, epsilon=5.0) == 0
    printed = capsys.readouterr().out
    first, *_, last = lines_of(tmp_path / "out")
    told = first["operator"]
    assert (told["epsilon"], told["dimension"]) == (5.0, 8)
    assert told["sensitivity"] == pytest.approx(2 * math.sqrt(8)) and "2√d" in told["sensitivity_source"]
    assert told["noise"].startswith("secret") and str(model) not in json.dumps(first)
    account = last["account"]
    assert account["most_images_of_one_person"] == 3  # two of person 1, and one of nobody knows whom
    assert account["epsilon_of_one_person"] == pytest.approx(15, rel=1e-6)
    assert account["epsilon_of_one_person_at_delta"] < 15 and "not the picture" in account["covers"]
    for words in ("epsilon of one person: 15.0\n", "sensitivity source: worst case 2√d", "noise: secret"):
        assert words in printed
    with Image.open(tmp_path / "out" / "somebody.png") as picture:
        assert picture.size == (16, 32)
    content = (tmp_path / "out" / "somebody.png").read_bytes()
    assert protect(raw, tmp_path / "again", model, epsilon=5.0) == 0  # another secret
    assert (tmp_path / "again" / "somebody.png").read_bytes() != content
    for name in ("one", "other"):
        assert protect(raw, tmp_path / name, model, seed=3) == 0
    assert (tmp_path / "one" / "somebody.png").read_bytes() == (
        tmp_path / "other" / "somebody.png"
    ).read_bytes()
    assert "FOR TESTS" in lines_of(tmp_path / "one")[0]["operator"]["noise"]


def test_bad_budgets_write_nothing(parts, model, tmp_path, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.new("RGB", (16, 32)).save(raw / "somebody.png")
    for value in ("0.0", "-3", "nan", "1e999"):
        assert protect(raw, tmp_path / "out", model, epsilon=value) == 2
        assert "IDENTITY_DP_EPSILON" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def training_words(output: Path, **overrides) -> list[str]:
    keys = {"INPUT.SIZE_TRAIN": [32, 16], "INPUT.SIZE_TEST": [32, 16], "SOLVER.MAX_EPOCH": 3, **overrides}
    flags = ["--identity-epochs", "1", "--dimension", "8", "--width", "4", "--code", "2"]
    config = ["--config-file", str(PROJECT / "configs" / "synthetic.yml")]
    return [*config, *flags, *small_options(output, **keys)]


def test_training_goes_on_where_it_was_interrupted(parts, small_dataset, tmp_path, monkeypatch, capsys):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert parts.commands.train_command(training_words(whole)) == 0
    assert "validation_rank1" in capsys.readouterr().err
    done = []

    def interrupted(*arguments):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(True)
        return step(*arguments)

    step = parts.training.step
    monkeypatch.setattr(parts.training, "step", interrupted)
    assert parts.commands.train_command(training_words(halves)) == 130
    assert "goes on from the last epoch" in capsys.readouterr().err
    monkeypatch.setattr(parts.training, "step", step)
    assert not (halves / parts.training.MODEL).exists()
    assert parts.commands.train_command(training_words(halves, SEED=1)) == 2
    assert "(SEED 0 → 1)" in capsys.readouterr().err
    assert parts.commands.train_command(training_words(halves)) == 0
    assert "epoch 1 of 3" not in capsys.readouterr().err
    files = [folder / parts.training.MODEL for folder in (whole, halves)]
    one, other = (parts.model_file.read_model(file) for file in files)
    assert one.about == other.about and one.about["trained_on"] == ["SyntheticPedestrians"]
    for name, weight in one.networks.state_dict().items():
        assert torch.equal(weight, other.networks.state_dict()[name])
    drawn = operator(files[0])(pictures(2), seeds=[1, 2])
    assert drawn.shape == (2, 3, 32, 16)


def test_a_model_of_other_images_is_not_taken_for_these(parts, small_dataset, tmp_path, monkeypatch, capsys):
    datasets = tmp_path / "datasets"
    shutil.copytree(small_dataset, datasets)
    monkeypatch.setenv("FASTREID_DATASETS", str(datasets))
    assert parts.commands.train_command(training_words(tmp_path / "out")) == 0
    for file in datasets.glob("*/bounding_box_train/*.jpg"):
        file.write_bytes(file.read_bytes() + b"\0")
    capsys.readouterr()
    assert parts.commands.train_command(training_words(tmp_path / "out")) == 2
    assert "(images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"SOLVER.MAX_EPOCH": 1}, "--identity-epochs is 1"),
        ({"INPUT.SIZE_TRAIN": [36, 16], "INPUT.SIZE_TEST": [36, 16]}, "36×16"),
        ({"SOLVER.BASE_LR": 1e30}, "the training diverged"),
    ],
)
def test_what_cannot_be_trained_is_refused(parts, small_dataset, tmp_path, capsys, overrides, words):
    assert parts.commands.train_command(training_words(tmp_path / "run", **overrides)) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run" / parts.training.MODEL).exists()


def test_each_network_learns_from_its_own_losses_alone(parts):
    torch.manual_seed(0)
    learner = parts.learning.Learner(parts.networks.Sizes(32, 16, 8, 4, 2), 4)
    people = torch.arange(4).repeat_interleave(4)
    images = torch.rand(16, 3, 32, 16) * 2 - 1

    def reached(losses: dict) -> dict[str, set[str]]:
        found = {}
        for name, loss in losses.items():
            learner.zero_grad()
            loss.backward(retain_graph=True)
            moved = [key for key, weight in learner.named_parameters() if weight.grad is not None]
            found[name] = {key.removeprefix("networks.").split(".")[0] for key in moved}
        return found

    assert set().union(*reached(learner.recognition(images, people)).values()) == {"identity", "classes"}
    drawing = reached(learner.drawing(images, people))
    assert drawing["rebuild"] == {"decoder", "attributes"}
    assert drawing["new_identity"] == drawing["realistic"] == {"decoder", "attributes"}
    assert drawing["anonymous_code"] == {"attributes"}
    assert drawing["name_by_code"] == {"namer"} and drawing["discriminate"] == {"critic"}
    assert set(drawing) | {"recognise", "triplet"} == set(parts.learning.WEIGHTS)


def test_partners_are_of_the_same_or_of_another_person(parts):
    people = torch.tensor([0, 0, 0, 1, 1, 2])
    for _ in range(20):
        same, other = parts.learning.of_same(people), parts.learning.of_others(people)
        assert torch.equal(people[same], people) and not (people[other] == people).any()
        assert not (same == torch.arange(6))[:5].any() and same[5] == 5
    assert torch.equal(parts.learning.of_others(torch.zeros(3)), torch.arange(3))


def test_the_sweep_measures_budgets_beside_raw_images(parts, model, small_dataset, tmp_path, capsys):
    raw = str(next(small_dataset.glob("SyntheticPedestrians*")))
    stranger = initial_weights(tmp_path / "stranger.pth")
    words = f"--model {model} --raw {raw} --stranger {stranger} --output {tmp_path / 'sweep'} --device cpu"
    words = [*words.split(), *["--epsilons", "1,1000", "--draws", "2", "--tasks", "0.001"]]
    assert parts.commands.sweep_command(words) == 0
    assert "| ε = 1 |" in capsys.readouterr().out
    result = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    untouched, without, loose, strict = result["rows"]
    assert untouched["PSNR"] is None and untouched["cosine_of_pictures"] == pytest.approx(1)
    assert untouched["stranger_OI_PI"] == untouched["stranger_PI_PI"]
    assert (loose["epsilon"], strict["epsilon"]) == (1000, 1)
    assert loose["cosine_of_embeddings"] > 0.9 > 0.5 > strict["cosine_of_embeddings"]
    assert strict["diversity_levels"] > loose["diversity_levels"] and "diversity_levels" not in without
    assert loose["epsilon_of_20_images"]["added"] == pytest.approx(20_000, rel=1e-5)
    assert strict["tasks"]["attributes"]["raw"]["balanced_accuracy"] > 0
    with Image.open(tmp_path / "sweep" / "sweep.png") as picture:
        assert picture.size == (2 * 16 * 4, 2 * 32 * 6)
    assert parts.commands.sweep_command(words) == 2 and "there already" in capsys.readouterr().err
    for flag, value in (("--epsilons", "0"), ("--draws", "1"), ("--tasks", "2")):
        elsewhere = [*words, "--output", str(tmp_path / "other"), flag, value]
        assert parts.commands.sweep_command(elsewhere) == 2
        assert value in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_milliseconds_are_those_of_drawing_alone(parts, model, small_dataset, tmp_path, monkeypatch):
    """On a clock that reading moves by a second an image, and drawing by 4 ms."""
    clock = [0.0]

    class Read(parts.sweep.Files):
        def __call__(self, subjects):
            clock[0] += len(subjects)
            return super().__call__(subjects)

    def drawn(networks, images, budget, sources):
        clock[0] += 0.004 * len(images)
        return images

    monkeypatch.setattr(parts.sweep, "Files", Read)
    monkeypatch.setattr(parts.sweep, "new_people", drawn)
    monkeypatch.setattr(parts.sweep, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    raw = str(next(small_dataset.glob("SyntheticPedestrians*")))
    stranger = initial_weights(tmp_path / "stranger.pth")
    request = parts.sweep.SweepRequest(
        model, raw, stranger, (100.0,), tmp_path / "sweep", draws=2, tasks=0, device="cpu"
    )
    untouched, *redrawn = parts.sweep.run_sweep(request)["rows"]
    assert "milliseconds" not in untouched
    assert [row["milliseconds"] for row in redrawn] == pytest.approx([4.0, 4.0])


def test_base_learns_from_new_people(parts, model, small_dataset, tmp_path):
    words = ["--project", str(PROJECT), "--config-file", str(PROJECT / "configs" / "base_identity_dp.yml")]
    backbone = {"NAME": "build_osnet_backbone", "DEPTH": "x0_25", "FEAT_DIM": 128}
    options = {f"MODEL.BACKBONE.{key}": value for key, value in backbone.items()}
    options |= {f"{KEY}MODEL": str(model), "SOLVER.MAX_EPOCH": 1}  # of 32×16, and the images are 64×32
    assert train(*words, *small_options(tmp_path / "run", **options)) == 0
    anonymizer = load_anonymizer(tmp_path / "run" / "model_final.pth", "cpu")
    images = pictures(2, 64, 32)
    assert torch.equal(anonymizer(images, seeds=[1, 2]), operator(model)(images, seeds=[1, 2]))


def test_the_comparison_has_blur_and_nothing_beside_it(parts):
    found = read_methods(PROJECT / "configs" / "compare.yml")
    assert [method.name for method in found.methods] == ["none", "blur", "identity_dp"]
    assert found.reference == "blur"
