"""DeepLab v1, v3 and v3+ against their papers and torchvision."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seg.models import DeepLabLargeFOV, DeepLabV3, DeepLabV3Plus
from seg.models.resnet import ResNet, block_rates
from tests.models.networks import deeplab, deeplab_plus, largefov


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def millions(build) -> float:
    with torch.device("meta"):
        return round(sum(parameter.numel() for parameter in build().parameters()) / 1e6, 2)


def test_they_have_the_parameters_of_the_papers():
    assert millions(lambda: DeepLabLargeFOV(11)) == 20.50
    assert millions(lambda: DeepLabV3(11)) == 39.64
    assert millions(lambda: DeepLabV3(11, "resnet101")) == 58.63
    assert millions(lambda: DeepLabV3Plus(11)) == 40.35
    assert millions(lambda: DeepLabV3Plus(11, decoder_convolutions=1)) == 39.76
    assert millions(lambda: DeepLabV3Plus(11, separable=True)) < 30


@pytest.mark.parametrize("auxiliary", [False, True])
def test_v3_equals_torchvision_with_the_same_weights(auxiliary):
    from torchvision.models.segmentation import deeplabv3_resnet50

    peer = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=5, aux_loss=auxiliary)
    for module in peer.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training, not 0 and 1
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    ours = DeepLabV3(5, output_stride=8, auxiliary=auxiliary)
    assert ours.rates == [12, 24, 36]
    # both list encoder, ASPP, head and auxiliary head in the order of the paper; only the names differ
    theirs = list(peer.backbone.state_dict().values()) + list(peer.classifier.state_dict().values())
    parts = [ours.encoder, ours.aspp.branches, ours.aspp.image, ours.aspp.project, ours.head]
    if auxiliary:
        theirs += list(peer.aux_classifier.state_dict().values())
        parts.append(ours.auxiliary)
    own = [value for part in parts for value in part.state_dict().values()]
    for mine, other in zip(own, theirs, strict=True):
        mine.copy_(other)

    images = torch.randn(2, 3, 67, 97)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), peer.eval()(images)["out"], rtol=1e-4, atol=1e-4)
    drops = [[module.p for module in net.modules() if isinstance(module, nn.Dropout)] for net in (ours, peer)]
    assert drops[0] == drops[1] == [0.5, 0.1][: 1 + auxiliary]
    for net in (ours, peer):
        net.train()
        for module in net.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    with torch.no_grad():
        result, expected = ours(images), peer(images)
        logits = result[0] if auxiliary else result
        torch.testing.assert_close(logits, expected["out"], rtol=1e-3, atol=1e-3)
        if auxiliary:
            torch.testing.assert_close(result[1][0], expected["aux"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("build", [deeplab, deeplab_plus])
def test_the_auxiliary_head_trains_the_encoder_up_to_the_stage_before_the_last(build):
    net = build(auxiliary=True)().train()
    _, (auxiliary,) = net(torch.randn(2, 3, 64, 64))
    auxiliary.square().mean().backward()
    assert net.encoder.conv1.weight.grad.any()
    assert net.encoder.layer3[1].conv2.weight.grad.any()
    assert all(parameter.grad is None for parameter in net.encoder.layer4.parameters())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_without_dilation_the_encoder_is_torchvisions_resnet(name):
    import torchvision

    peer = torchvision.models.get_model(name, weights=None).eval()
    ours = ResNet(name, output_stride=32).eval()
    ours.load_state_dict({key: value for key, value in peer.state_dict().items() if not key.startswith("fc.")})
    images = torch.randn(1, 3, 65, 80)
    x = peer.maxpool(peer.relu(peer.bn1(peer.conv1(images))))
    with torch.no_grad():
        for mine, stage in zip(ours(images), (peer.layer1, peer.layer2, peer.layer3, peer.layer4), strict=True):
            x = stage(x)
            torch.testing.assert_close(mine, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_stride_is_traded_for_rate_at_any_depth(encoder, output_stride):
    with torch.device("meta"):
        net = DeepLabV3(3, encoder, output_stride=output_stride).eval()
        maps = net.encoder(torch.empty(1, 3, 128, 96))
    expected = [min(stride, output_stride) for stride in (4, 8, 16, 32)]
    assert [128 // m.shape[2] for m in maps] == [96 // m.shape[3] for m in maps] == expected
    rates = [max(m.dilation[0] for m in stage.modules() if isinstance(m, nn.Conv2d)) for stage in stages(net)]
    assert rates == [max(1, stride // output_stride) for stride in (4, 8, 16, 32)]


def stages(net):
    return [net.encoder.layer1, net.encoder.layer2, net.encoder.layer3, net.encoder.layer4]


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_leaves_the_values_where_the_strided_network_has_them(name, output_stride):
    # Every n-th value of the dilated maps is the strided network's: the hole algorithm computes the same, densely.
    strided, dense = (ResNet(name, output_stride=stride).eval() for stride in (32, output_stride))
    dense.load_state_dict(strided.state_dict())
    images = torch.randn(1, 3, 128, 128)
    step = 32 // output_stride
    with torch.no_grad():
        expected, maps = strided(images)[-1], dense(images)[-1]
    torch.testing.assert_close(maps[..., ::step, ::step], expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_rates_follow_the_stage_the_multi_grid_or_the_pattern():
    blocks = (3, 4, 6, 3)
    ones = [[1] * 3, [1] * 4]
    assert block_rates(blocks, 32) == [*ones, [1] * 6, [1] * 3]
    assert block_rates(blocks, 16) == [*ones, [1] * 6, [1, 2, 2]]
    assert block_rates(blocks, 8) == [*ones, [1] + [2] * 5, [2, 4, 4]]
    assert block_rates(blocks, 16, multi_grid=[1, 2, 4]) == [*ones, [1] * 6, [2, 4, 8]]  # section 3.2.1: 2 · (1, 2, 4)
    assert block_rates(blocks, 8, multi_grid=[1, 2, 4])[-1] == [4, 8, 16]
    assert block_rates(blocks, 8, dilation=[1, 2, 5]) == [*ones, [1, 2, 5, 1, 2, 5], [1, 2, 5]]
    assert block_rates(blocks, 16, dilation=[1, 3, 5]) == [*ones, [1] * 6, [1, 3, 5]]


def test_the_decoder_of_v3_plus_sees_fine_maps_and_v3_does_not():
    images = torch.randn(1, 3, 64, 64)
    for build, changes in ((deeplab(), False), (deeplab_plus(), True)):
        net = build().eval()
        maps = net.encoder(images)
        with torch.no_grad():
            one, other = (net.decode([scale * maps[0], *maps[1:]], (64, 64)) for scale in (1.0, 2.0))
        assert torch.equal(one, other) is not changes


@pytest.mark.parametrize("separable", [False, True])
def test_v3_plus_equals_its_paper_written_out_with_functions_at_the_papers_kind_of_size(separable):
    # At multiples of 16 plus 1, as the paper's 513 and 769, values on their grid are those aligned at the corners.
    net = deeplab_plus(separable=separable)().eval().double()
    images = torch.randn(1, 3, 65, 81, dtype=torch.float64)
    maps = net.encoder(images)
    seen = [branch(maps[-1]) for branch in net.aspp.branches]
    mean = net.aspp.image(F.adaptive_avg_pool2d(maps[-1], 1))
    x = net.aspp.project(torch.cat([*seen, mean.expand_as(seen[0])], 1))
    x = F.interpolate(x, maps[0].shape[2:], mode="bilinear", align_corners=True)
    x = net.classifier(net.decoder(torch.cat([x, net.low_level(maps[0])], 1)))
    x = F.interpolate(x, (65, 81), mode="bilinear", align_corners=True)
    torch.testing.assert_close(net(images), x)

    kernels = [(layer.kernel_size[0], layer.groups > 1) for layer in net.decoder if isinstance(layer, nn.Conv2d)]
    assert kernels == 2 * ([(3, True), (1, False)] if separable else [(3, False)])
    assert [branch[0].dilation[0] for branch in net.aspp.branches] == [1, 6, 12, 18]


def test_largefov_equals_the_paper_written_out_with_functions():
    net = largefov()().eval().double()
    images = torch.randn(1, 3, 57, 90, dtype=torch.float64)
    x = images
    for stage, stride in zip(net.stages, (2, 2, 2, 1, 1), strict=True):
        rate = 2 if stage is net.stages[4] else 1
        for layer in stage:
            if isinstance(layer, nn.Conv2d):
                x = F.relu(F.conv2d(x, layer.weight, layer.bias, padding=rate, dilation=rate))
        x = F.max_pool2d(x, 3, stride, padding=1)
    x = F.avg_pool2d(x, 3, 1, padding=1)
    x = F.relu(F.conv2d(x, net.fc6[0].weight, net.fc6[0].bias, padding=12, dilation=12))
    x = F.relu(F.conv2d(x, net.fc7[0].weight, net.fc7[0].bias))
    x = F.conv2d(x, net.classifier.weight, net.classifier.bias)
    logits = net(images)
    # Logit (i, j) lies on pixel (8 i, 8 j), and in between they are interpolated.
    torch.testing.assert_close(logits[..., ::8, ::8], x)
    halfway = logits[..., 4::8, ::8][..., : x.shape[2] - 1, :]
    torch.testing.assert_close(halfway, (x[..., :-1, :] + x[..., 1:, :]) / 2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: deeplab()(encoder="resnet55"), "encoder: 'resnet55' is unknown; nearest: resnet50.*resnet152"),
        (lambda: deeplab()(output_stride=7), "output_stride: 7, but maps of stride 8, 16 or 32 are possible"),
        (lambda: deeplab()(multi_grid=[1, 2, 4]), "the last stage has 2 blocks"),
        (lambda: deeplab()(multi_grid=[1, 0]), r"multi_grid: \[1, 0\], but rates of 1 or more"),
        (lambda: deeplab()(multi_grid=[1, 2], dilation=[1, 2]), "leave one of them out"),
        (lambda: deeplab()(output_stride=32, dilation=[1, 2]), "at output_stride 32 no stage is dilated"),
        (lambda: deeplab()(rates=[]), r"rates: \[\]"),
        (lambda: deeplab()(channels=0), "channels: 0"),
        (lambda: deeplab()(dropout=1), "dropout: 1"),
        (lambda: deeplab()(norm="layer"), "norm: 'layer' is none of"),
        (lambda: deeplab_plus()(decoder_convolutions=0), "decoder_convolutions, low_level_channels: 0, 48"),
        (lambda: largefov()(rate=0), "rate: 0"),
        (lambda: largefov()(norm="layer"), "norm: 'layer' is none of"),
        (lambda: largefov()(width=0), "width: 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
