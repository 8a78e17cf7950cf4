import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import seg
from seg.data import Labelme
from seg.infer import Predictor
from seg.predict import annotations, main
from seg.predict.kinds import Annotating
from seg.predict.one import Wanted, predicted
from tests.predict.conftest import photo

NAMES = ["background", "dish", "glass", "table"]
COLORS = [[0, 0, 0], [200, 0, 0], [0, 200, 0], [0, 0, 200]]


class Quarters:
    """Predict by colour: pixels are of the class whose colour they have, for certain in the left half only."""

    def __init__(self):
        self.class_names, self.class_colors, self.image_kind = NAMES, COLORS, ["rgb", "uint8"]
        self.mean, self.std, self.clip, self.resize, self.ignore_index = [0.0] * 3, [1.0] * 3, None, None, 255
        self.device = torch.device("cpu")

    def __call__(self, images):
        colors = torch.tensor(COLORS)[None, :, :, None, None]
        near = -(images[:, None].int() - colors).abs().sum(2).float() / 40
        near[..., near.shape[-1] // 2 :] /= 10
        return near


def painted(path: Path, mask: np.ndarray, orientation: int = 1) -> Path:
    """Write an image in the colours of a mask, stored turned where its EXIF says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.array(COLORS, np.uint8)[mask])
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {1: image, 6: image.transpose(Image.Transpose.ROTATE_90)}[orientation]
    turned.save(path, exif=exif)
    return path


def scene() -> np.ndarray:
    """Draw regions that touch, a hole of background, and one of another class."""
    mask = np.zeros((60, 80), np.uint8)
    mask[35:] = 3
    mask[10:50, 10:30] = 1
    mask[20:30, 15:25] = 0
    mask[5:45, 45:75] = 2
    mask[20:30, 55:65] = 1
    return mask


def annotated(image: Path, target: Path, annotating: Annotating = Annotating()) -> dict:  # noqa: B008
    predictor = Predictor(Quarters())
    result = predicted(predictor, image, predictor.read(image), Wanted(certainty=True, visible=annotating.embed))
    annotations.write_annotation(target, result, annotating)
    return json.loads(target.read_text(encoding="utf-8"))


def masks_of(root: Path) -> dict[str, np.ndarray]:
    """Read a folder as training would."""
    data = Labelme(root=str(root), classes=NAMES, num_workers=0, augment=[])
    reader = data.reader()
    return {pair.id: reader.mask(pair) for pair in data.pairs("train")}


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("embed", [False, True])
def test_what_is_trained_on_again_is_what_was_predicted(workplace, orientation, embed):
    mask = scene()
    image = painted(Path("photos/dîner 1.png"), mask, orientation)
    held = annotated(image, Path("photos/dîner 1.json"), Annotating(tolerance=0, embed=embed))
    assert held["imagePath"] == "dîner 1.png"
    assert (held["imageHeight"], held["imageWidth"]) == mask.shape
    assert (held["imageData"] is not None) == embed
    if embed:
        image.unlink()
    np.testing.assert_array_equal(masks_of(Path("photos"))["dîner 1"], mask)


@pytest.mark.parametrize(
    ("bands", "dtype", "suffix"),
    [(1, "uint16", "png"), (5, "uint8", "tif"), (3, "float32", "tif"), (2, "uint16", "npy")],
)
def test_an_image_that_labelme_cannot_show_is_in_the_file_as_a_picture(workplace, monkeypatch, bands, dtype, suffix):
    pixels = np.where(scene()[:, :, None] > 0, 200, 100).repeat(bands, 2).astype(dtype)
    path = workplace / f"x.{suffix}"
    if suffix == "npy":
        np.save(path, pixels)
    elif suffix == "png":
        Image.fromarray(pixels[:, :, 0]).save(path)
    else:
        tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
    network = Quarters()
    network.image_kind, network.mean, network.std = ["native", dtype], [0.0] * bands, [1.0] * bands
    monkeypatch.setattr(Quarters, "__call__", lambda self, images: torch.zeros(1, 4, *images.shape[2:]))
    monkeypatch.setattr("seg.loading.load", lambda *args, **options: Predictor(network))
    Path("best.ckpt").touch()
    main(["best.ckpt", str(path), "--out", "out", "--save", "labelme"])
    held = json.loads(Path("out/labelme/x.json").read_text())
    assert held["imagePath"] == f"../../x.{suffix}"
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(held["imageData"]))))
    shown = pixels[:, :, :3] if (bands, dtype) == (5, "uint8") else np.where(pixels[:, :, :1] > 100, 255, 0)
    np.testing.assert_array_equal(picture, np.broadcast_to(shown, (60, 80, 3)))


def test_shapes_and_images_of_low_confidence_are_flagged(workplace):
    image = painted(Path("x.png"), scene())
    shapes = annotated(image, Path("x.json"), Annotating(uncertain_below=0.8))["shapes"]
    flags = {(shape["label"], shape["points"][0][0] < 40): shape["flags"]["uncertain"] for shape in shapes}
    assert not flags["dish", True]
    assert flags["glass", False]
    logits = Quarters()(torch.from_numpy(np.array(Image.open(image))).permute(2, 0, 1)[None])[0]
    confidence = logits.double().softmax(0).amax(0).numpy()
    glass = next(shape for shape in shapes if shape["label"] == "glass")
    assert glass["description"] == f"confidence {confidence[scene() == 2].mean():.2f}"
    for threshold in (float(confidence.mean()) - 0.01, float(confidence.mean()) + 0.01):
        held = annotated(image, Path("x.json"), Annotating(uncertain_below=threshold))
        assert held["flags"] == {"uncertain": bool(threshold > confidence.mean())}


def test_beside_the_images_or_in_a_folder_of_their_own(workplace, checkpoint, capsys):
    photo(Path("photos/x.png"))
    photo(Path("photos/in/y.png"))
    main([str(checkpoint), "photos", "--out", "photos", "--save", "labelme"])
    assert "labelme in photos\n" in capsys.readouterr().out
    main([str(checkpoint), "photos", "--out", "out", "--save", "labelme"])
    assert "labelme in out/labelme\n" in capsys.readouterr().out
    places = {"photos/x.json": "x.png", "photos/in/y.json": "y.png"}
    places |= {"out/labelme/x.json": "../../photos/x.png", "out/labelme/in/y.json": "../../../photos/in/y.png"}
    assert {path.as_posix() for path in Path().rglob("*.json") if path.name[0] != "."} == places.keys()
    for path, image in places.items():
        assert json.loads(Path(path).read_text())["imagePath"] == image
    for folder in ("photos", "out/labelme"):
        listed = (Path(folder) / "labels.txt").read_text().split()
        assert listed == ["__ignore__", "_background_", *seg.load(checkpoint).network.class_names[1:]]


def test_a_class_list_that_is_there_stays(workplace, checkpoint, capsys):
    photo(Path("photos/x.png"))
    Path("photos/labels.txt").write_text("_background_\ncircle\nnew class\n")
    main([str(checkpoint), "photos", "--out", "photos", "--save", "labelme"])
    assert "labels.txt was there and stays; it does not name __ignore__, square" in capsys.readouterr().out
    assert "new class" in Path("photos/labels.txt").read_text()


def test_a_class_list_that_cannot_be_read_costs_no_table(workplace, checkpoint, capsys):
    photo(Path("photos/x.png"))
    Path("photos/labels.txt").write_bytes("_background_\nGefäß\n".encode("latin-1"))
    main([str(checkpoint), "photos", "--out", "photos", "--save", "labelme", "ranking"])
    assert "labels.txt is not a text in UTF-8" in capsys.readouterr().out
    assert "photos/x.png" in Path("photos/ranking.csv").read_text()


SHARED = Path(os.environ.get("SEG_SHARED_DATA", "nowhere")) / "labelme"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs real annotations (SEG_SHARED_DATA)")
@pytest.mark.parametrize("name", ["plants", "dishes/img"])
def test_real_photos_come_back_as_they_were_predicted(workplace, checkpoint, name):
    images = [path for path in sorted((SHARED / name).iterdir()) if path.suffix in (".jpg", ".jpeg")][:3]
    for path in images:
        Path("photos").mkdir(exist_ok=True)
        (Path("photos") / path.name).write_bytes(path.read_bytes())
    main([str(checkpoint), "photos", "--out", "photos", "--save", "labelme", "masks", "--tolerance", "0"])
    masks = {path.stem: np.array(Image.open(path)) for path in Path("photos").glob("*.png")}
    data = Labelme(root="photos", num_workers=0)
    found = {pair.id: data.reader().mask(pair) for pair in data.pairs("train")}
    assert found.keys() == masks.keys() == {path.stem for path in images}
    for stem, mask in masks.items():
        np.testing.assert_array_equal(found[stem], mask)


def labelme_python() -> str:
    python = os.environ.get("SEG_LABELME_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import labelme.label_file"], capture_output=True).returncode:
        pytest.skip("needs labelme (SEG_LABELME_PYTHON names a Python that has it)")
    return python


OPEN = """
import sys
from labelme.label_file import LabelFile
from labelme.utils import img_data_to_pil
for path in sys.argv[1:]:
    held = LabelFile(path)
    print(img_data_to_pil(held.imageData).size, [shape["label"] for shape in held.shapes])
"""

READ = """
import sys
from labelme.label_file import LabelFile
from labelme.utils import img_data_to_pil
held = LabelFile(sys.argv[1])
print(len(held.shapes), held.flags, img_data_to_pil(held.imageData).size, held.shapes[0]["flags"])
held.save(sys.argv[1], held.shapes, held.imagePath, 60, 80, otherData=held.otherData, flags=held.flags)
"""


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("embed", [False, True])
def test_labelme_opens_the_file_with_the_right_image_and_its_saving_counts_as_correction(workplace, orientation, embed):
    python = labelme_python()
    image = painted(Path("photos/x.png" if orientation == 1 else "photos/x.jpg"), scene(), orientation)
    held = annotated(image, Path("out/labelme/x.json"), Annotating(embed=embed))
    assert not annotations.made_by_hand(Path("out/labelme/x.json"))
    read = subprocess.run([python, "-c", READ, "out/labelme/x.json"], capture_output=True, text=True, check=False)
    flags, first = held["flags"], held["shapes"][0]["flags"]
    assert read.stdout.splitlines() == [f"{len(held['shapes'])} {flags} (80, 60) {first}"], read.stderr
    assert annotations.made_by_hand(Path("out/labelme/x.json"))


@pytest.mark.slow
def test_the_real_photos_are_opened_by_labelme(workplace, checkpoint):
    python = labelme_python()
    if not SHARED.is_dir():
        pytest.skip("needs real photos (SEG_SHARED_DATA)")
    Path("photos").mkdir()
    for name in ("plants", "dishes/img"):
        for path in [path for path in sorted((SHARED / name).iterdir()) if path.suffix in (".jpg", ".jpeg")][:1]:
            (Path("photos") / path.name).write_bytes(path.read_bytes())
    main([str(checkpoint), "photos", "--out", "photos", "--save", "labelme", "--smallest-region", "200"])
    written = sorted(Path("photos").glob("[!.]*.json"))
    assert len(written) == 2
    read = subprocess.run([python, "-c", OPEN, *map(str, written)], capture_output=True, text=True, check=False)
    for path, line in zip(written, read.stdout.splitlines(), strict=True):
        held = json.loads(path.read_text(encoding="utf-8"))
        assert line == f"{(held['imageWidth'], held['imageHeight'])} {[shape['label'] for shape in held['shapes']]}"
        assert held["shapes"]
    assert not any(annotations.made_by_hand(path) for path in written)
