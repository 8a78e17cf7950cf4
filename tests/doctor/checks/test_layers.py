import torch
from torch import nn

from tests.doctor.setups import NUMBER, Plain, frozen


def test_dead_relus_are_found_in_modules_and_in_functions(doctor):
    net = Plain()
    nn.init.constant_(net.second.bias, -100.0)
    found = doctor.findings("layers", "gradients", net=net)
    assert [(f.check, f.severity) for f in found] == [("layers", "fail"), ("gradients", "fail")] or {
        f.severity for f in found
    } == {"fail"}
    assert any("dead" in f.text for f in found)


def test_half_dead_relus_are_warned_of(doctor):
    net = Plain()
    with torch.no_grad():
        net.second.bias[:11] = -100.0
    finding = doctor.only("layers", net=net)
    assert finding.severity == "warn"
    assert "69 %" in finding.places[0].note


def test_an_exploding_initialisation_is_found(doctor):
    net = Plain()
    with torch.no_grad():
        net.first.weight.mul_(300)
        net.second.weight.mul_(300)
    found = doctor.findings("layers", "loss", net=net)
    assert [(f.check, f.severity) for f in found] == [("loss", "fail"), ("layers", "fail")]
    assert "explode" in found[1].text


def test_a_vanishing_initialisation_is_found(doctor):
    net = nn.Sequential(*[nn.Conv2d(3, 3, 1, bias=False) for _ in range(7)], nn.Conv2d(3, NUMBER, 1))
    with torch.no_grad():
        for layer in net:
            layer.weight.mul_(1e-2)
    finding = doctor.only("layers", net=net)
    assert finding.severity == "fail"
    assert "vanish" in finding.text


def test_frozen_batch_norms_are_found_where_their_statistics_are_nobodys(doctor):
    finding = doctor.only("norms", net=Plain(norm=True), change=frozen)
    assert finding.severity == "fail"
    assert "frozen" in finding.text
    assert doctor.only("norms", net=Plain(norm=True)).severity == "pass"


def test_frozen_batch_norms_with_loaded_statistics_are_meant(doctor):
    net = Plain(norm=True)
    net.norm.running_mean.fill_(0.3)
    finding = doctor.only("norms", net=net, change=frozen)
    assert finding.severity == "pass"
    assert "frozen" in finding.text


def test_a_momentum_of_zero_freezes_too(doctor):
    net = Plain(norm=True)
    net.norm.momentum = 0.0
    assert doctor.only("norms", net=net).severity == "fail"


def test_missing_weights_are_told_and_frozen_norms_then_forgiven(doctor):
    found = doctor.findings("norms", net=Plain(norm=True), change=frozen, missing_weights="weights: no connection")
    assert [(f.check, f.severity) for f in found] == [("weights", "warn"), ("norms", "pass")]
