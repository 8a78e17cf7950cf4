import csv

import numpy as np
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


@pytest.mark.parametrize(("name", "rate", "said"), [("LBFGS", 0.1, "parameter groups"), ("AdamW", -0.1, "-0.1")])
def test_what_an_optimiser_refuses_is_one_message(workplace, shapes, capsys, name, rate, said):
    own = ["--model.optimizer", f"torch.optim.{name}", "--model.optimizer.lr", str(rate)]
    with pytest.raises(SystemExit) as ended:
        run("--config", write_config(workplace / "tiny.yaml", shapes), *own)
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert "model.optimizer: " in printed
    assert said in printed


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


KINDS = [
    (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    (torch.optim.Adam, {"lr": 0.01, "amsgrad": True}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
]


def weights_after_steps(kind, settings, fused: bool, contiguous_state: bool = False) -> list[torch.Tensor]:
    """Return what four steps make of a kernel in channels_last and a bias; the state may change its layout midway."""
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(8, 6, 3, 3, generator=generator).contiguous(memory_format=torch.channels_last)
    parameters = [nn.Parameter(kernel), nn.Parameter(torch.randn(5, generator=generator))]
    optimizer = kind(parameters, **settings)
    if fused:
        optimisation.fuse(optimizer)
        assert optimizer.param_groups[0]["fused"]
    for step in range(4):
        for parameter in parameters:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.grad = torch.empty_like(parameter).copy_(noise)
        optimizer.step()
        if contiguous_state and step == 1:
            held = optimizer.state_dict()
            for state in held["state"].values():
                state.update({name: value.contiguous() for name, value in state.items() if torch.is_tensor(value)})
            optimizer.load_state_dict(held)
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize(("kind", "settings"), KINDS)
@pytest.mark.parametrize("contiguous_state", [False, True])
def test_one_pass_over_each_tensor_makes_the_same_steps_whatever_the_layout_of_a_loaded_state(
    kind, settings, contiguous_state
):
    expected = weights_after_steps(kind, settings, fused=False)
    found = weights_after_steps(kind, settings, fused=True, contiguous_state=contiguous_state)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("late", [0, 2])
def test_momenta_of_one_pass_begin_whenever_their_gradients_do(late, nesterov):
    """The reference is the rule of torch's documentation, in float64: a momentum begins with its first gradient."""
    random = np.random.default_rng(0)
    expected = [random.normal(size=7), random.normal(size=7)]
    parameters = [nn.Parameter(torch.from_numpy(values.copy())) for values in expected]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=nesterov)
    optimisation.fuse(optimizer)
    momenta: list = [None, None]
    for step in range(5):
        for index, parameter in enumerate(parameters):
            gradient = random.normal(size=7)
            parameter.requires_grad_(index == 0 or step >= late)  # as FreezeEncoder does
            parameter.grad = torch.from_numpy(gradient) if parameter.requires_grad else None
            if parameter.requires_grad:
                momenta[index] = gradient if momenta[index] is None else 0.9 * momenta[index] + gradient
                expected[index] -= 0.1 * (gradient + 0.9 * momenta[index] if nesterov else momenta[index])
        optimizer.step()
        assert ("momentum_buffer" in optimizer.state[parameters[1]]) == (step >= late)
    for parameter, values in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), values, rtol=1e-12)


def test_dampened_momenta_which_begin_like_no_other_step_are_not_fused():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.1, momentum=0.9, dampening=0.5)
    optimisation.fuse(optimizer)
    assert not optimizer.param_groups[0]["fused"]


@pytest.mark.parametrize("told", [{"fused": False}, {"foreach": True}])
def test_an_optimiser_that_was_told_how_to_work_does_so(told):
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(2))], **told)
    optimisation.fuse(optimizer)
    assert optimizer.param_groups[0]["fused"] is told.get("fused")


def test_an_optimiser_that_knows_no_single_pass_is_left_alone():
    optimizer = SignDescent([nn.Parameter(torch.zeros(2))], lr=0.1)
    optimisation.fuse(optimizer)
    assert "fused" not in optimizer.param_groups[0]


@pytest.mark.parametrize("net", [UNet(3, width=4), SegNet(3, width=4), SMP(3, arch="Unet", encoder="resnet18")])
def test_gradients_lie_in_memory_as_their_weights_do_which_a_single_pass_relies_on(net):
    net = net.to(memory_format=torch.channels_last).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last))
    for _ in range(2):  # what is added up, too
        logits.float().square().mean().backward(retain_graph=True)
    for name, parameter in net.named_parameters():
        assert parameter.grad.stride() == parameter.stride(), name
