import io

import numpy as np
import pytest
from PIL import Image

from seg.data.dataset import Pair
from seg.data.images import Size
from seg.doctor.duplicates import ALIKE, groups, near, normal
from seg.doctor.measure import Measured, looks
from tests.doctor.conftest import mask, odd, photo


def seen(image: np.ndarray, name: str = "x") -> Measured:
    look, bits = looks(image)
    size = Size(*image.shape[:2])
    return Measured(Pair(name, name, name), image_size=size, digest=image.tobytes()[:64], look=look, bits=bits)


def encoded(image: np.ndarray, scale: float = 1, quality: int = 60) -> np.ndarray:
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    file = io.BytesIO()
    Image.fromarray(image).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def test_the_same_pixels_in_two_splits_fail(tree, only):
    Image.fromarray(photo(0)).save(tree.image("a_photo").with_suffix(".png"))
    Image.fromarray(photo(0)).save(tree.image("h_photo").with_suffix(".png"))
    tree.image("a_photo").unlink()
    tree.image("h_photo").unlink()
    finding = only("duplicates", "fail")
    assert finding.places[0].where.endswith("a_photo.png")
    assert "h_photo.png (train and val; the same pixels)" in finding.places[0].note


def test_an_image_in_two_lists_fails(tree, only):
    path = tree.root / "ImageSets" / "Segmentation" / "val.txt"
    path.write_text(path.read_text() + "a_photo\n")
    finding = only("duplicates", "fail")
    assert [(place.where, place.note) for place in finding.places] == [
        (str(tree.image("a_photo")), "listed in train and val")
    ]


def test_the_same_pixels_twice_in_a_split_are_a_warning(tree, only):
    tree.image("b_photo").write_bytes(tree.image("a_photo").read_bytes())
    assert "1 image that repeat" in only("duplicates", "warn").text


@pytest.mark.parametrize(("scale", "quality"), [(1, 40), (0.8, 75), (1.3, 90), (0.5, 80)])
def test_an_image_encoded_and_scaled_anew_in_another_split_is_a_warning(tree, only, scale, quality):
    copy = encoded(photo(0), scale, quality)
    Image.fromarray(copy).save(tree.image("i_photo"), quality=90)
    tree.write("i_photo", mask(8, *copy.shape[:2]))
    finding = only("duplicates", "warn", stride=8)
    assert "1 of 3 images that score" in finding.text
    assert finding.places[0].where == str(tree.image("a_photo"))
    assert finding.places[0].other.image == str(tree.image("i_photo"))


def test_frames_of_one_film_in_two_splits_are_a_warning_with_their_number(tree):
    start = photo(99, 96, 400)
    for number, name in enumerate(["drive_001", "drive_002", "drive_003", "drive_004", "drive_005"]):
        split = "train" if number < 3 else "val"
        tree.add(split, name, number)
        Image.fromarray(start[:, 9 * number : 9 * number + 120]).save(tree.image(name), quality=95)
    found = [finding for finding in odd(tree.examined()) if "film" in finding.text and "both" in finding.text]
    assert len(found) == 1
    assert "2 of the frames" in found[0].text
    assert (found[0].places[0].where, found[0].places[0].note) == ("drive…", "3 in train, 2 in val")


def test_numbered_photographs_are_no_film(tree):
    for number in range(8):
        tree.add("train" if number < 5 else "val", f"2007_{number:06}", 100 + number)
    assert odd(tree.examined()) == []


def test_near_finds_what_comparing_all_with_all_finds():
    rng = np.random.default_rng(0)
    images = []
    for number in range(60):
        image = photo(number)
        images.append(seen(image, f"{number}"))
        if number % 3 == 0:
            images.append(seen(encoded(image, 0.9, 70), f"{number} again"))
        if number % 7 == 0:
            images.append(seen(np.roll(image, 1 + number % 3, axis=1), f"{number} moved"))
    rng.shuffle(images)
    expected = set()
    for one in range(len(images)):
        for other in range(one + 1, len(images)):
            a, b = images[one], images[other]
            flipped = int(np.unpackbits(a.bits ^ b.bits).sum())
            if flipped <= 7 and float(normal(a.look) @ normal(b.look)) >= ALIKE:
                expected.add((one, other))
    found = set(near(images))
    assert len(expected) >= 15
    assert expected <= found
    unlike = [pair for pair in found if images[pair[0]].pair.id.split()[0] != images[pair[1]].pair.id.split()[0]]
    assert unlike == []


def test_images_without_structure_are_nobody_s_duplicates():
    flat = [seen(np.full((40, 50, 3), value, np.uint8), f"{value}") for value in (0, 1, 2, 255)]
    assert near(flat) == []


def test_ten_thousand_images_alike_are_not_all_compared_with_all():
    one = seen(photo(0))
    crowd = [one._replace(digest=number.to_bytes(4, "big")) for number in range(10_000)]
    assert 9_999 <= len(near(crowd)) <= 10_000 * 16 * 8


def test_groups_are_what_pairs_join():
    assert groups([(1, 2), (5, 6), (2, 9), (8, 9)]) == [[1, 2, 8, 9], [5, 6]]
    assert groups([]) == []
