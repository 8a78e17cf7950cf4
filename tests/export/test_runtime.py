import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from seg.export.runtime import ExportedNetwork
from seg.loading import load, load_task
from seg.predict import main as predict
from tests.command import REPOSITORY
from tests.export.networks_as_files import card, written
from tests.models.networks import NETWORKS
from tests.predict.conftest import photo


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_an_onnx_file_gives_the_logits_of_the_checkpoint(trained, onnx_file):
    network, task = ExportedNetwork(onnx_file), load_task(trained, "cpu")
    batch = images(3, 3, 45, 67)
    logits = network(batch)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, task(batch), rtol=1e-4, atol=1e-4)


def test_what_the_checkpoint_knows_is_in_the_file(trained, onnx_file, package):
    task = load_task(trained, "cpu")
    for network in (ExportedNetwork(onnx_file, "cpu"), ExportedNetwork(package, "cpu")):
        assert network.class_names == task.class_names
        assert network.class_colors == task.class_colors
        assert network.image_kind == task.image_kind
        assert network.ignore_index == task.ignore_index
        assert network.resize == task.resize
        assert network.clip is None
        assert network.mean == task.pixels.mean.flatten().tolist()
        assert network.std == task.pixels.std.flatten().tolist()
        assert network.device == torch.device("cpu")


@torch.no_grad()
def test_logarithms_of_probabilities_are_logits_up_to_a_constant(trained, package):
    network, task = ExportedNetwork(package, "cpu"), load_task(trained, "cpu")
    batch = images(1, 3, 33, 41)
    torch.testing.assert_close(network.output(batch), task(batch).softmax(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(batch).softmax(1), task(batch).softmax(1), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def labels_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.onnx"
    torch.manual_seed(0)
    return written(NETWORKS["unet"]().eval(), path, card(output="labels"))


def test_a_file_of_labels_gives_certain_logits_and_says_that_it_has_no_probabilities(labels_file):
    network = ExportedNetwork(labels_file, "cpu")
    labels = network.output(images(2, 3, 40, 50))
    assert labels.dtype == torch.uint8
    assert labels.shape == (2, 40, 50)
    logits = network(images(2, 3, 40, 50))
    assert torch.equal(logits.argmax(1), labels.long())
    assert logits.softmax(1).amax(1).eq(1).all()
    assert not network.has_probabilities


def test_nothing_is_made_of_probabilities_that_a_file_does_not_have(labels_file, workplace, capsys):
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save("photo.png")
    for words in (["--save", "confidence"], ["--save", "ranking"], ["--smallest-region", "9"], ["--tta", "flips"]):
        with pytest.raises(SystemExit) as refused:
            predict([str(labels_file), "photo.png", "--out", "masks", *words])
        assert refused.value.code == 2
        message = capsys.readouterr().err
        assert "exported with labels alone" in message
        assert words[0] in message
    with pytest.raises(ValueError, match="labels alone"):
        load(labels_file).predict("photo.png")
    predict([str(labels_file), "photo.png", "--out", "masks"])
    np.testing.assert_array_equal(np.asarray(Image.open("masks/photo.png")), load(labels_file).labels("photo.png"))


def test_onnx_runtime_alone_reads_the_file_and_its_metadata(onnx_file, trained):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_file)
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(uint8)", ["batch", 3, "height", "width"])
    assert session.get_outputs()[0].name == "logits"
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["seg.class_names"]) == load_task(trained, "cpu").class_names


def test_nothing_of_the_machine_is_in_the_file(onnx_file):
    assert str(Path(__file__).parent.parent.parent).encode() not in onnx_file.read_bytes()
    model = onnx.load(onnx_file)
    onnx.checker.check_model(model, full_check=True)
    assert not [node.op_type for node in model.graph.node if node.op_type == "BatchNormalization"]


@pytest.mark.parametrize(
    ("channels", "dtype", "clip"), [(1, "uint16", [[100.0, 60000.0]]), (5, "float32", [[-1.0, 2.0]] * 5)]
)
@pytest.mark.parametrize("suffix", [".onnx", pytest.param(".pt2", marks=pytest.mark.slow)])
def test_other_kinds_of_pixels_are_clipped_and_normalised_inside(channels, dtype, clip, suffix, tmp_path):
    torch.manual_seed(0)
    net = NETWORKS["unet"](in_channels=channels).eval()
    mean = [0.5 * sum(pair) for pair in clip]
    std = [pair[1] - pair[0] for pair in clip]
    described = card(mean=mean, std=std, clip=clip, image_kind=["native", dtype])
    random = np.random.default_rng(0)
    pixels = random.uniform(clip[0][0] * 2 - clip[0][1], clip[0][1] * 1.05, (2, channels, 35, 49)).clip(
        0 if dtype == "uint16" else None
    )
    if dtype == "float32":
        pixels[0, 0, 3:6, 7] = np.nan
        pixels[1, 2, 9] = np.inf
    batch = torch.from_numpy(pixels.astype(dtype))
    network = ExportedNetwork(written(net, tmp_path / f"model{suffix}", described), "cpu")
    # by hand, in float64
    values = np.where(np.isfinite(pixels), batch.numpy().astype(np.float64), np.reshape(mean, (1, -1, 1, 1)))
    low, high = np.asarray(clip).T.reshape(2, 1, -1, 1, 1)
    seen = (values.clip(low, high) - np.reshape(mean, (1, -1, 1, 1))) / np.reshape(std, (1, -1, 1, 1))
    with torch.no_grad():
        expected = net(torch.from_numpy(seen).float())
    torch.testing.assert_close(network(batch), expected, rtol=1e-3, atol=1e-4)


def test_images_that_the_file_does_not_take_are_refused(onnx_file, package):
    for network in (ExportedNetwork(onnx_file, "cpu"), ExportedNetwork(package, "cpu")):
        for wrong in (images(1, 3, 40, 40).float(), images(1, 4, 40, 40), images(3, 40, 40), images(1, 3, 31, 40)):
            with pytest.raises(ValueError, match="images: "):
                network(wrong)


def test_files_that_are_no_exports_are_refused_by_name(tmp_path, onnx_file):
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx"):
        ExportedNetwork(tmp_path / "gone.onnx")
    for name, data in {
        "text.onnx": b"no network",
        "cut.onnx": onnx_file.read_bytes()[:5000],
        "empty.onnx": b"",
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=name):
            ExportedNetwork(tmp_path / name, "cpu")
    (tmp_path / "model.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"ends in \.onnx or \.pt2"):
        ExportedNetwork(tmp_path / "model.pkl")


def test_an_onnx_file_of_somebody_else_is_refused(tmp_path, onnx_file):
    model = onnx.load(onnx_file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=r"other\.onnx does not say what its classes"):
        ExportedNetwork(tmp_path / "other.onnx", "cpu")
    onnx.helper.set_model_props(model, card(output="probabilities").entries())
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=r"other\.onnx: inputs .* are not those that it describes"):
        ExportedNetwork(tmp_path / "other.onnx", "cpu")


def test_a_device_that_is_not_there_is_named(onnx_file, package):
    for path in (onnx_file, package):
        with pytest.raises(ValueError, match="--device cuda:99"):
            ExportedNetwork(path, "cuda:99")
        with pytest.raises(ValueError, match="--device banana"):
            ExportedNetwork(path, "banana")
    with pytest.raises(ValueError, match="no NoSuchProvider"):
        ExportedNetwork(onnx_file, "cpu", providers=["NoSuchProvider"])


@pytest.mark.parametrize(
    "words", [[], ["--tile", "64", "--batch-size", "2"], ["--tta", "flips", "--scales", "1", "1.25"]]
)
def test_the_command_gives_the_files_that_the_checkpoint_gives_in_fp32(trained, onnx_file, workplace, words):
    for seed, size in enumerate([(96, 150), (33, 41)]):
        photo(Path(f"photos/{seed}.png"), *size, seed=seed)
    kinds = ["masks", "overlays", "probabilities", "confidence", "labelme", "areas"]
    for name, network in (("checkpoint", trained), ("file", onnx_file)):
        options = ["--precision", "32", "--device", "cpu", "--tolerance", "0", *words]
        predict([str(network), "photos", "--out", name, "--save", *kinds, *options])
    written = {path.relative_to("checkpoint") for path in Path("checkpoint").rglob("*.*")}
    assert written == {path.relative_to("file") for path in Path("file").rglob("*.*")}
    assert len([path for path in written if path.name[0] != "."]) == 2 * 5 + 2
    for path in written:
        one, other = Path("checkpoint") / path, Path("file") / path
        if path.suffix == ".npy":
            np.testing.assert_allclose(np.load(other), np.load(one), atol=1e-5)
        elif path.parts[0] == "confidence":
            assert np.abs(np.array(Image.open(one), int) - np.array(Image.open(other))).max() <= 1
        elif path.suffix in (".png", ".csv"):
            assert one.read_bytes() == other.read_bytes()
        elif path.parts[0] == "labelme" and path.suffix == ".json":
            shapes = [json.loads(held.read_text(encoding="utf-8"))["shapes"] for held in (one, other)]
            assert [(shape["label"], shape["points"]) for shape in shapes[0]] == [
                (shape["label"], shape["points"]) for shape in shapes[1]
            ]


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_lines_of_the_documentation_predict_without_seg_what_seg_does(onnx_file, package, workplace, orientation):
    text = (REPOSITORY / "docs/shipping.md").read_text(encoding="utf-8")
    lines, packaged = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "seg." not in lines.replace("seg.class_names", "")
    shutil.copy(onnx_file, "model.onnx")
    shutil.copy(package, "model.pt2")
    photo(Path("photo.jpg"), 50, 70, orientation=orientation)
    held: dict = {}
    exec(lines, held)
    predictor = load("model.onnx", "cpu")
    assert held["labels"].shape == ((50, 70) if orientation == 1 else (70, 50))
    np.testing.assert_array_equal(held["labels"], predictor.labels("photo.jpg"))
    assert held["names"] == predictor.class_names
    held["torch"] = torch
    exec(packaged, held)
    np.testing.assert_array_equal(held["logits"][0].argmax(0), load("model.pt2", "cpu").labels("photo.jpg"))
    assert json.loads(held["facts"]["seg.class_names"]) == load("model.pt2", "cpu").class_names
