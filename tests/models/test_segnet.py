"""SegNet, SegNet-Basic and DeconvNet: unpooling with the encoder's own indices, and the papers' layers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seg.models import DeconvNet, SegNet, SegNetBasic
from seg.models.pooling import MaxPool, MaxUnpool
from tests.models.networks import NETWORKS, basic, deconvnet, segnet

unpooling = pytest.mark.parametrize("name", ["segnet", "segnet_basic", "deconvnet", "segnet_none"])


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (1, 1), (1, 4)])
def test_unpooling_puts_each_maximum_back_where_it_was_and_zeros_elsewhere(size):
    x = torch.randn(2, 3, *size)
    values, indices = MaxPool()(x)
    assert values.shape[2:] == (-(-size[0] // 2), -(-size[1] // 2))
    result = MaxUnpool()(values, indices, size)
    for image in range(2):
        for channel in range(3):
            expected = torch.zeros(size)
            for row in range(0, size[0], 2):
                for column in range(0, size[1], 2):
                    window = x[image, channel, row : row + 2, column : column + 2]
                    best = int(window.argmax())
                    place = (row + best // window.shape[1], column + best % window.shape[1])
                    expected[place] = window.max()
            assert torch.equal(result[image, channel], expected)
    if size[0] % 2 == size[1] % 2 == 0:
        assert torch.equal(result, nn.MaxUnpool2d(2)(values, indices, size))


@unpooling
def test_every_decoder_unpools_exactly_where_its_encoders_maxima_were(name):
    net = NETWORKS[name]().eval()
    encoded, unpooled = [], []
    for encoder in net.encoders:
        encoder.register_forward_hook(lambda module, args, output: encoded.append(output))
    net.unpool.register_forward_hook(lambda module, args, output: unpooled.append((args[0], output)))
    with torch.no_grad():
        net(torch.randn(1, 3, 75, 93))
    assert len(unpooled) == len(encoded)
    for maps, (values, placed) in zip(reversed(encoded), unpooled, strict=True):
        assert placed.shape == maps.shape
        # brute force: a place holds a value if, and only if, it is the first maximum of its window
        height, width = maps.shape[2:]
        padded = F.pad(maps, (0, width % 2, 0, height % 2), value=-torch.inf)
        windows = padded.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        first = F.one_hot(windows.argmax(-1), 4).bool()
        where = first.unflatten(-1, (2, 2)).permute(0, 1, 2, 4, 3, 5).flatten(4, 5).flatten(2, 3)[..., :height, :width]
        assert torch.equal(placed[where].sort().values, values.flatten().sort().values)
        assert not placed[~where].any()


@unpooling
def test_other_indices_change_the_result(name):
    net = NETWORKS[name]().eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net(images)
        first = lambda module, args: (args[0], _upper_left(args[1], args[2]), args[2])  # noqa: E731
        net.unpool.register_forward_pre_hook(first)
        assert (net(images) - expected).abs().max() > 0.01 * expected.std()


def _upper_left(indices: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    rows = torch.arange(0, size[0], 2)[:, None] * size[1]
    return (rows + torch.arange(0, size[1], 2)).expand_as(indices)


def test_they_have_the_parameters_of_the_papers():
    with torch.device("meta"):
        counts = {kind: sum(p.numel() for p in kind(11).parameters()) for kind in (SegNet, SegNetBasic)}
        counts[DeconvNet] = sum(p.numel() for p in DeconvNet(21).parameters())
    # Biases in front of norms, which ports keep and which do nothing, would make SegNet's 29.45 million.
    assert {kind: round(count / 1e6, 2) for kind, count in counts.items()} == {
        SegNet: 29.44,
        SegNetBasic: 1.42,
        DeconvNet: 251.79,
    }


def channels(net: nn.Module) -> list[tuple[int, int, int]]:
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    return [(layer.in_channels, layer.out_channels, layer.kernel_size[0]) for layer in layers]


def test_segnets_decoder_is_the_mirror_image_of_its_encoder():
    with torch.device("meta"):
        net = SegNet(11)
    encoder, decoder = channels(net.encoders), [*channels(net.decoders), *channels(net.classifier)]
    assert [out for _, out, _ in encoder] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert [(out, before) for before, out, _ in reversed(decoder)][1:] == [(a, b) for a, b, _ in encoder][1:]
    assert (decoder[-1], {size for *_, size in encoder + decoder}) == ((64, 11, 3), {3})


def test_the_basic_network_has_four_convolutions_of_7_a_side_and_no_relu_in_its_decoders():
    with torch.device("meta"):
        net = SegNetBasic(11)
    assert channels(net) == [(3, 64, 7)] + [(64, 64, 7)] * 7 + [(64, 11, 1)]
    assert not any(isinstance(module, nn.ReLU) for module in net.decoders.modules())


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (segnet(dropout=0.5), [(16, 8), (32, 4), (32, 2), (32, 4), (16, 8), (8, 16)]),
        (basic(dropout=0.5), [(8, 16), (8, 8), (8, 4), (8, 8), (8, 16), (8, 32)]),
    ],
)
def test_dropout_follows_the_three_deepest_encoders_and_decoders(build, expected):
    net, seen = build().eval(), []
    net.dropout.register_forward_hook(lambda module, args, output: seen.append((output.shape[1], output.shape[2])))
    net(torch.randn(1, 3, 64, 64))
    assert net.dropout.p == 0.5
    assert seen == expected


@pytest.mark.parametrize("size", [(33, 70), (256, 353)])
def test_deconvnet_equals_its_paper_written_out_with_functions(size):
    net = deconvnet(norm="none", dropout=0.5)().eval().double()
    x, pooled = torch.randn(1, 3, *size, dtype=torch.float64), []
    images = x
    for encoder in net.encoders:
        x = encoder(x)
        shape = x.shape[2:]
        x, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        pooled.append((indices, shape))
    height, width = x.shape[2:]
    x = F.pad(x, (0, max(0, 7 - width), 0, max(0, 7 - height)))
    x = F.relu(F.conv2d(x, net.fc6[0].weight, net.fc6[0].bias))
    x = F.relu(F.conv2d(x, net.fc7[0].weight, net.fc7[0].bias))
    x = F.relu(F.conv_transpose2d(x, net.deconv_fc6[0].weight, net.deconv_fc6[0].bias))[..., :height, :width]
    for decoder, (indices, shape) in zip(net.decoders, reversed(pooled), strict=True):
        empty = torch.zeros(*x.shape[:2], shape.numel(), dtype=x.dtype)
        x = decoder(empty.scatter(2, indices.flatten(2), x.flatten(2)).unflatten(2, shape))
    torch.testing.assert_close(net(images), F.conv2d(x, net.classifier.weight, net.classifier.bias))
    assert [module.p for module in net.modules() if isinstance(module, nn.Dropout)] == [0.5, 0.5]


def test_deconvnet_has_the_layers_of_the_papers_table_and_a_single_place_at_its_size():
    with torch.device("meta"):
        net = DeconvNet(21).eval()
    assert channels(net.fc6) == [(512, 4096, 7)]
    assert channels(net.fc7) == [(4096, 4096, 1)]
    assert channels(net.deconv_fc6) == [(4096, 512, 7)]
    assert [out for _, out, _ in channels(net.decoders)] == [512] * 5 + [256] * 3 + [128] * 2 + [64] * 3
    assert channels(net.classifier) == [(64, 21, 1)]
    shapes = []
    net.fc7.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape)))
    for size in ((224, 224), (32, 40), (256, 353)):
        net(torch.empty(1, 3, *size, device="meta"))
    assert shapes == [(1, 4096, 1, 1), (1, 4096, 1, 1), (1, 4096, 2, 6)]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: segnet()(norm="layer"), "norm: 'layer' is none of"),
        (lambda: segnet()(attention="self"), "attention: 'self' is none of"),
        (lambda: segnet()(dropout=1), "dropout: 1"),
        (lambda: segnet()(width=0), "width: 0"),
        (lambda: basic()(width=0), "width: 0"),
        (lambda: basic()(dropout=2), "dropout: 2"),
        (lambda: deconvnet()(norm="layer"), "norm: 'layer' is none of"),
        (lambda: deconvnet()(dropout=1), "dropout: 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
