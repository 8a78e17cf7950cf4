import numpy as np
import pytest
import torch

from seg.data import VOC
from seg.data.shapes import NAMES


def module(root, **settings):
    data = VOC(str(root), list(NAMES), num_workers=0, batch_size=2, **settings)
    data.setup("fit")
    return data


def test_by_default_training_resizes_images_and_masks_alike(shapes):
    batch = next(iter(module(shapes, resize=[64, 80], crop=[48, 64]).train_dataloader()))
    assert batch["image"].shape == (2, 3, 48, 64)
    assert batch["mask"].shape == (2, 48, 64)


@pytest.mark.parametrize("cache", ["none", "ram"])
def test_masks_can_keep_their_size_in_training_while_the_image_is_scaled_last(shapes, cache):
    settings = {"resize": [48, 64], "resize_masks": False, "augment": [], "cache": cache, "seed": 3}
    data = module(shapes, **settings)
    for _ in range(2):  # the second time from the cache
        for key in range(4):
            sample = data.datasets["train"][key]
            assert sample["image"].shape == (3, 48, 64)
            full = VOC(str(shapes), list(NAMES), augment=[], num_workers=0)
            full.setup("fit")
            whole = full.datasets["train"][key]
            assert torch.equal(sample["mask"], whole["mask"])


def test_a_crop_of_the_mask_is_scaled_as_the_whole_image_would_be(shapes):
    data = module(shapes, resize=[64, 64], resize_masks=False, crop=[32, 48])
    height, width = data.datasets["val"].read(0)[1].shape
    sample = data.datasets["train"][0]
    source = np.asarray(data.datasets["train"].read(0)[1].shape)
    assert sample["mask"].shape == (32, 48)
    assert sample["image"].shape == (3, round(32 * 64 / source[0]), round(48 * 64 / source[1]))
    assert data.datasets["val"][0]["image"].shape == (3, 64, 64)
    assert data.datasets["val"][0]["mask"].shape == (height, width)


def test_a_resized_image_shows_the_same_scene_as_its_mask(shapes):
    data = module(shapes, resize=[240, 320], augment=[])
    sample = data.datasets["train"][1]
    inside = sample["mask"] == 0
    assert sample["image"].float()[:, inside].std() < sample["image"].float().std() * 1.5
    assert sample["mask"].shape == (240, 320)
