"""What a check of a training run measures, against the whole evaluation of the same images."""

from conftest import SMALL_CONFIG, small_options  # before fastreid: importing the package makes it work

# isort: split
import pytest
import torch

from fastreid_privacy import data
from fastreid_privacy.config import load_config
from fastreid_privacy.training import testing
from fastreid_privacy.training.trainer import PrivacyTrainer


@pytest.fixture(params=["none", "conventional", "learned"])
def cfg(request, small_dataset, tmp_path):
    keys = {"MODEL.HEADS.NUM_CLASSES": 12, "PRIVACY.PROTECTION": request.param, "TEST.IMS_PER_BATCH": 7}
    return load_config(SMALL_CONFIG, small_options(tmp_path, **keys))


@pytest.fixture
def model(cfg):
    torch.manual_seed(3)
    return PrivacyTrainer.build_model(cfg).eval()


def whole_evaluation(cfg, model):
    loader, num_query = data.build_validation_loader(cfg)
    evaluator = testing.hybrid_evaluator(cfg, num_query)
    for batch in loader:
        evaluator.process(batch, model.extract_domains(batch))
    return evaluator.evaluate().figures


def test_a_check_finds_what_the_whole_evaluation_finds(cfg, model):
    found, whole = testing.validate(cfg, model).figures, whole_evaluation(cfg, model)
    pairs = {"none": {"OI-OI"}, "conventional": {"OI-DI", "OI-PI"}, "learned": {"OI-PI"}}
    assert found["retrieval"].keys() == pairs[cfg.PRIVACY.PROTECTION]
    assert found["retrieval"] == {pair: whole["retrieval"][pair] for pair in found["retrieval"]}
    assert set(whole["image_quality"]) - set(found["image_quality"]) <= {"recovered"}
    for name, figures in found["image_quality"].items():
        assert figures == pytest.approx(whole["image_quality"][name], nan_ok=True), name


def test_a_check_shows_each_image_to_reid_once_and_recovers_none(cfg, model, monkeypatch):
    seen = []
    features = model.reid_features
    monkeypatch.setattr(
        model, "reid_features", lambda images, flip=False: [seen.append(len(images)), features(images)][1]
    )
    if cfg.PRIVACY.PROTECTION == "learned":
        monkeypatch.setattr(model, "recover", lambda _: pytest.fail("recovered"))
    testing.validate(cfg, model)
    assert sum(seen) == len(data.build_validation_loader(cfg)[0].dataset)


def test_a_check_computes_in_the_precision_of_training(cfg, model):
    types = set()
    model.backbone.register_forward_hook(lambda *args: types.add(args[-1].dtype))
    testing.validate(cfg, model)
    cfg.defrost()
    cfg.SOLVER.AMP.ENABLED = True
    testing.validate(cfg, model)
    assert types == {torch.float32, torch.bfloat16}


def test_images_of_a_domain_of_ones_own_need_no_recovery_and_no_new_argument(cfg, model, monkeypatch):
    whole = type(model).domain_images
    monkeypatch.setattr(type(model), "domain_images", lambda self, batch: whole(self, batch))
    assert testing.validate(cfg, model).figures["retrieval"]
