import pytest
import torch
import torch.nn.functional as F

from seg.tta import Averaged, resized


def image(height: int = 40, width: int = 56) -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def equivariant(images: torch.Tensor) -> torch.Tensor:
    """Convolve with a kernel that is its own mirror image both ways."""
    generator = torch.Generator().manual_seed(1)
    kernel = torch.randn(4, 3, 3, 3, generator=generator)
    kernel = kernel + kernel.flip(-1)
    kernel = kernel + kernel.flip(-2)
    return F.conv2d(images.float() / 100, kernel, padding=1)


def lopsided(images: torch.Tensor) -> torch.Tensor:
    kernel = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(2))
    return F.conv2d(images.float() / 100, kernel, padding=1)


@pytest.mark.parametrize("flips", ["horizontal", "flips"])
def test_flips_change_nothing_for_an_equivariant_network(flips):
    expected = equivariant(image()).softmax(1)
    torch.testing.assert_close(Averaged(equivariant, flips)(image()), expected, atol=1e-5, rtol=0)


def test_probabilities_of_every_view_are_averaged_where_their_pixels_came_from():
    views = [lopsided(image()), lopsided(image().flip(-1)).flip(-1)]
    views += [lopsided(image().flip(-2)).flip(-2), lopsided(image().flip(-2, -1)).flip(-2, -1)]
    expected = torch.stack([view.softmax(1) for view in views]).mean(0)
    torch.testing.assert_close(Averaged(lopsided, "flips")(image()), expected)
    assert (expected - views[0].softmax(1)).abs().max() > 0.01


def test_scales_give_the_network_other_sizes_and_come_back_to_the_image():
    sizes = []

    def network(images):
        sizes.append(tuple(images.shape[-2:]))
        assert images.dtype == torch.uint8
        return lopsided(images)

    found = Averaged(network, "horizontal", (0.5, 1.0, 1.25))(image())
    assert sizes == [(20, 28)] * 2 + [(40, 56)] * 2 + [(50, 70)] * 2
    assert found.shape == (1, 4, 40, 56)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 40, 56))


def test_scales_change_nothing_where_the_network_knows_no_place():
    flat = torch.full((1, 3, 40, 56), 77, dtype=torch.uint8)
    found = Averaged(lambda images: images.float() / 50, "flips", (0.75, 1.0, 1.5))(flat)
    torch.testing.assert_close(found, (flat / 50).softmax(1))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_resized_pixels_keep_their_type_and_their_mean(dtype):
    pixels = image().to(dtype)
    half = resized(pixels, (20, 28))
    assert half.dtype == dtype
    assert abs(float(half.float().mean()) - float(pixels.float().mean())) < 1


@pytest.mark.parametrize(("flips", "scales", "message"), [("spin", (1.0,), "--tta spin"), ("none", (0.0,), "--scales")])
def test_views_that_cannot_be_are_refused(flips, scales, message):
    with pytest.raises(ValueError, match=message):
        Averaged(lopsided, flips, scales)
