import numpy as np
from PIL import Image

from seg.export.samples import folder_images
from seg.loading import load


def test_images_that_are_smaller_than_networks_take_are_calibrated_on_as_they_are_predicted(workplace, trained):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    (workplace / "photos").mkdir()
    Image.fromarray(pixels).save("photos/small.png")
    predictor = load(trained, "cpu")
    seen = []
    predictor.network = lambda images: seen.append(images) or images.float()
    predictor.logits(predictor.tensor(pixels)[None])
    (image,) = folder_images(workplace / "photos", load(trained, "cpu"), 4)
    assert image.shape == (1, 3, 32, 40)
    assert image.equal(seen[0])
    np.testing.assert_array_equal(image[0, :, :20].permute(1, 2, 0).numpy(), pixels)
    assert (image[0, :, 19:] == image[0, :, 19:20]).all()
