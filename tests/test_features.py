import numpy as np
import pytest
import torch
from torch import nn

from seg import features
from seg.heat import heat


def test_feature_maps_are_drawn_from_their_own_smallest_to_largest_value_those_that_vary_most_first():
    flat, ramp = np.full((1, 8, 8), 3.0), np.linspace(-2, 5, 64).reshape(1, 8, 8)
    picture = features.feature_maps(np.concatenate([flat, ramp]), columns=2, smallest=8)
    assert picture.shape == (8, 8 + 4 + 8, 3)
    assert np.array_equal(picture[:, :8], heat((ramp[0] + 2) / 7))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_filters_of_any_number_of_channels_are_drawn_on_one_scale(channels):
    weights = np.zeros((5, channels, 3, 3))
    weights[1, 0, 1, 1], weights[2, channels - 1, 0, 2] = 2.0, -1.0
    picture = features.filters(weights, columns=5, smallest=3)
    assert picture.shape == (3 if channels == 3 else 4 * channels - 1, 5 * 3 + 4 * 4, 3)
    if channels == 3:
        assert picture[1, 7 + 1].tolist() == [255, 128, 128]
        assert picture[0, 14 + 2].tolist() == [128, 128, 64]
    else:
        assert picture[1, 7 + 1].tolist() == [178, 24, 43], "the largest, positive"
        last = 4 * (channels - 1)
        assert np.abs(picture[last, 14 + 2].astype(int) - np.array([144, 178.5, 213.5])).max() <= 1, "half, negative"


def test_the_field_shows_at_its_peak_and_the_image_elsewhere():
    field, image = np.zeros((9, 12)), np.full((9, 12, 3), 200, dtype=np.uint8)
    field[4, 5] = 0.25
    picture = features.receptive_field(field, image, scale=False)
    assert picture.shape == (9, 12, 3)
    difference = (picture != picture[0, 0]).any(axis=2)
    assert np.argwhere(difference).tolist() == [[4, 5]]
    bare = features.receptive_field(field, scale=False)
    assert np.array_equal(bare, heat((field > 0).astype(float)))
    assert features.receptive_field(np.full((3, 3), np.nan)).ndim == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda: features.feature_maps(np.zeros((4, 4))),
        lambda: features.feature_maps(np.zeros((0, 4, 4))),
        lambda: features.filters(np.zeros((4, 3, 3))),
        lambda: features.receptive_field(np.zeros((4, 4)), np.zeros((4, 5, 3))),
    ],
)
def test_arrays_of_another_shape_are_refused(call):
    with pytest.raises(ValueError, match="expected"):
        call()


def test_collected_maps_are_those_of_the_modules_and_leave_the_network_as_it_was():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1))
    net.train()
    net[1].eval()  # frozen
    images = torch.randn(2, 3, 8, 8)
    statistics = net[1].running_mean.clone()
    maps = features.collect(net, images, ["0", "1"])
    convolved = nn.functional.conv2d(images, net[0].weight, net[0].bias)
    assert np.allclose(maps["0"], convolved.detach().numpy(), atol=1e-6)
    assert maps["1"].min() < 0, "kept before the activation changed it in place"
    assert set(features.collect(net, images)) == {"0", "1", "2", "3"}
    assert (net.training, net[1].training) == (True, False)
    assert torch.equal(net[1].running_mean, statistics)
    assert not any(module._forward_hooks for module in net.modules())
    with pytest.raises(ValueError, match="'9'"):
        features.collect(net, images, ["9"])
