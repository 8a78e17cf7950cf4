import csv

import pytest
import torch
from torch import nn

from seg import optimisation
from seg.models import FCN, SMP, DeepLabV3, SegNet, UNet
from seg.models.parts import encoder_layers, encoder_of
from tests.command import run, write_config
from tests.test_task import task


class SignDescent(torch.optim.Optimizer):
    """An optimiser that this project has never heard of."""

    def __init__(self, params, lr: float, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * parameter.grad.sign()
        return loss


def test_an_optimiser_of_any_installed_module_trains_with_the_encoders_rate_logged(workplace, shapes):
    own = ["--model.optimizer", "tests.test_optimisation.SignDescent", "--model.optimizer.lr", "0.01"]
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1)
    run("--config", config, *own, "--model.encoder_lr", "0.1")
    with (workplace / "runs/tiny/version_0/metrics.csv").open() as file:
        row = next(csv.DictReader(file))
    assert (float(row["lr/net"]), float(row["lr/encoder"])) == pytest.approx((0.01, 0.001))


def groups(net: nn.Module, **settings) -> dict[str, dict]:
    built = task(net)
    found = optimisation.parameter_groups(built, built.net, **settings)
    held = [id(parameter) for group in found for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in built.parameters())
    return {group["name"]: group for group in found}


def test_norms_and_biases_are_not_decayed_unless_asked_for():
    found = groups(UNet(3, width=4, depth=2))
    assert list(found) == ["net", "net_not_decayed"]
    assert all(parameter.ndim > 1 for parameter in found["net"]["params"])
    assert all(parameter.ndim <= 1 for parameter in found["net_not_decayed"]["params"])
    assert found["net_not_decayed"]["weight_decay"] == 0.0
    assert "weight_decay" not in found["net"]
    assert list(groups(UNet(3, width=4, depth=2), decay_norms=True)) == ["net"]


def test_an_encoder_has_its_share_of_the_rate_and_the_rest_the_whole():
    net = UNet(3, width=4, depth=2)
    found = groups(net, encoder_lr=0.1)
    optimizer = optimisation.build_optimizer(lambda params: torch.optim.SGD(params, lr=0.5), list(found.values()), 2.0)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({"net": 1.0, "net_not_decayed": 1.0, "encoder": 0.1, "encoder_not_decayed": 0.1})
    inside = {id(parameter) for parameter in net.down.parameters()}
    assert inside == {
        id(parameter) for name in ("encoder", "encoder_not_decayed") for parameter in found[name]["params"]
    }
    assert optimisation.logged_groups(optimizer) == {"lr/net": 0, "lr/encoder": 3}
    assert "lr_factor" not in optimizer.param_groups[0]


def test_layer_decay_falls_from_the_encoders_end_to_the_image():
    net = UNet(3, width=4, depth=2)
    found = groups(net, layer_decay=0.5, encoder_lr=0.8)
    expected = {f"encoder_{level + 1}": 0.8 * 0.5 ** (3 - level) for level in range(3)}
    assert {name: group["lr_factor"] for name, group in found.items() if name in expected} == pytest.approx(expected)
    for level in range(3):
        own = {id(parameter) for parameter in net.down[level].parameters() if parameter.ndim > 1}
        assert {id(parameter) for parameter in found[f"encoder_{level + 1}"]["params"]} == own


@pytest.mark.parametrize(
    ("net", "layers", "first", "last"),
    [
        (lambda: DeepLabV3(3, "resnet18", channels=8), 9, "conv1.weight", "layer4.1.conv2.weight"),
        (lambda: SegNet(3, width=4), 5, "0.0.weight", "4.0.weight"),
        (lambda: FCN(3, encoder="resnet18"), 9, "network.conv1.weight", "network.layer4.1.conv2.weight"),
        (lambda: SMP(3, "Unet", "resnet18"), 9, "conv1.weight", "layer4.1.conv2.weight"),
        (lambda: SMP(3, "Segformer", "mit_b0"), 12, "patch_embed1.proj.weight", "block4.1.mlp.fc2.weight"),
        (lambda: SMP(3, "DPT", "tu-vit_tiny_patch16_224"), 14, "model.pos_embed", "model.head.weight"),
    ],
    ids=["DeepLabV3", "SegNet", "FCN", "Unet", "Segformer", "DPT"],
)
def test_encoders_fall_into_layers_in_the_order_of_their_depth(net, layers, first, last):
    encoder = encoder_of(net())
    found = encoder_layers(encoder)
    named = dict(encoder.named_parameters())
    assert len(found) == layers
    assert any(parameter is named[first] for parameter in found[0])
    assert any(parameter is named[last] for parameter in found[-1])
    assert sum(len(layer) for layer in found) == len(named)


def test_a_factor_for_an_encoder_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"encoder_lr.*Conv2d has no part"):
        groups(nn.Conv2d(3, 3, 1), encoder_lr=0.1)


@pytest.mark.parametrize(
    "settings", [{"encoder_lr": -1}, {"layer_decay": 0}, {"layer_decay": 1.5}, {"lr_reference_batch": 0}]
)
def test_impossible_factors_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=f"model.{next(iter(settings))}"):
        task(**settings)
