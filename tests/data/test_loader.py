import numpy as np
import pytest
import torch
from torch.nn import functional

from seg.data.loader import resized


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.5])
@pytest.mark.parametrize("mask_size", [(20, 30), (45, 61)])
def test_a_batch_is_resized_bilinearly_and_its_masks_to_the_nearest_pixel(factor, mask_size):
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 20, 30), dtype=torch.uint8, generator=random)
    images = images.contiguous(memory_format=torch.channels_last)
    masks = torch.randint(0, 255, (2, *mask_size), dtype=torch.uint8, generator=random)
    new = resized({"image": images, "mask": masks, "id": ["a", "b"]}, factor)
    size = (round(20 * factor), round(30 * factor))
    expected = functional.interpolate(images.double(), size, mode="bilinear", align_corners=False)
    assert torch.allclose(new["image"].double(), expected, atol=1e-3)
    assert new["image"].is_contiguous(memory_format=torch.channels_last)
    # the pixel under the middle of each new pixel, in numpy
    sides = [round(side * factor) for side in mask_size]
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(sides, mask_size, strict=True)
    )
    np.testing.assert_array_equal(new["mask"].numpy(), masks.numpy()[:, rows[:, None], columns])
    assert (new["mask"].dtype, new["id"]) == (torch.uint8, ["a", "b"])


def test_a_factor_of_one_leaves_the_batch_as_it_is():
    batch = {"image": torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "mask": torch.zeros(1, 4, 4, dtype=torch.uint8)}
    assert resized(batch, 1.0) is batch
