import pytest
from torch import Tensor, nn
from torch.nn import functional

from seg.doctor.setup import Setup
from tests.doctor.setups import NUMBER, Plain, data_of


def test_raw_images_make_a_network_without_norms_sure_of_wrong_answers(doctor, shapes):
    finding = doctor.only("loss", net=Plain(), data=data_of(shapes, mean=[0.0] * 3, std=[1.0] * 3))
    assert finding.severity == "fail"
    assert "sure of wrong answers" in finding.text


def test_a_network_that_knows_the_answers_is_told(doctor, monkeypatch):
    def answers(setup: Setup, batch: dict) -> Tensor:
        known = batch["mask"].long().clamp(max=NUMBER - 1)
        return 20.0 * functional.one_hot(known, NUMBER).permute(0, 3, 1, 2)

    monkeypatch.setattr(Setup, "logits", answers)
    finding = doctor.only("loss")
    assert finding.severity == "warn"
    assert "knows the answers" in finding.text


@pytest.mark.parametrize("ending", [nn.ReLU(), nn.Softmax(1), nn.Sigmoid(), nn.LogSoftmax(1)])
def test_a_classifier_that_ends_in_an_activation_is_found(doctor, ending):
    finding = doctor.only("logits", net=nn.Sequential(Plain(), ending))
    assert finding.severity == "fail"


def test_scores_that_start_at_zero_are_not_taken_for_a_relu(doctor):
    net = Plain()
    nn.init.zeros_(net.classifier.weight)
    nn.init.zeros_(net.classifier.bias)
    assert [f.severity for f in doctor.findings("logits", "loss", "gradients", "layers", net=net)] == ["pass"] * 4
