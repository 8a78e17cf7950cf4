"""Weights in torchvision's naming arrive where they belong, bit for bit; downloads are checked and explained."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from torch import nn

from seg.models import FCN, DeepLabV3, DeepLabV3Plus, without_weights
from seg.models.weights import adapt_channels, download
from tests.models.networks import deconvnet, deeplab, deeplab_plus, fcn, largefov, segnet

WIDTH = 4  # of the networks tried here; VGG-16 itself has 64


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def vgg16(batch_norm: bool) -> nn.Module:
    """Return torchvision's VGG-16, its own maker of layers given narrower ones, as after training."""
    from torchvision.models import vgg

    layers = [item if item == "M" else item * WIDTH // 64 for item in vgg.cfgs["D"]]
    fully, last = 64 * WIDTH, 8 * WIDTH
    net = nn.Module()
    net.features = vgg.make_layers(layers, batch_norm=batch_norm)
    net.classifier = nn.Sequential(
        nn.Linear(last * 49, fully), nn.ReLU(), nn.Dropout(), nn.Linear(fully, fully), nn.ReLU(), nn.Dropout(),
        nn.Linear(fully, 1000),
    )  # fmt: skip
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor, 1.0)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return net.eval()


NETWORKS = {"fcn": fcn, "segnet": segnet, "deconvnet": deconvnet, "largefov": largefov}
ENCODERS = {"fcn": lambda net: net.encoder.stages, "largefov": lambda net: net.stages}
CLASSIFIERS = {
    "fcn": lambda net: [net.head[0], net.head[3]],
    "segnet": lambda net: [],
    "deconvnet": lambda net: [net.fc6[0], net.fc7[0]],
    "largefov": lambda net: [net.fc6[0], net.fc7[0]],
}


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_of_a_vgg16_arrives_bit_for_bit(name, batch_norm, tmp_path):
    source = vgg16(batch_norm)
    torch.save(source.state_dict(), tmp_path / "vgg16.pth")
    net = NETWORKS[name]()(norm="batch" if batch_norm else "none", weights=str(tmp_path / "vgg16.pth")).eval()

    encoder = ENCODERS.get(name, lambda net: net.encoders)(net)
    theirs, own = list(source.features.modules()), list(encoder.modules())
    pick = lambda modules, kind: [module for module in modules if isinstance(module, kind)]  # noqa: E731
    convolutions = list(zip(pick(theirs, nn.Conv2d), pick(own, nn.Conv2d), strict=True))
    assert len(convolutions) == 13
    norms = list(zip(pick(theirs, nn.BatchNorm2d), pick(own, nn.BatchNorm2d), strict=True))
    assert len(norms) == (13 if batch_norm else 0)
    for their, our in convolutions:
        assert torch.equal(their.weight, our.weight)
        assert our.bias is None if batch_norm else torch.equal(their.bias, our.bias)
    for (their, our), (convolution, _) in zip(norms, convolutions, strict=False):
        for tensor in ("weight", "bias", "running_var", "num_batches_tracked"):
            assert torch.equal(getattr(their, tensor), getattr(our, tensor))
        # the bias that a norm takes away again is kept in the mean that it subtracts
        assert torch.equal(our.running_mean, their.running_mean - convolution.bias)

    for index, our in enumerate(CLASSIFIERS[name](net)):
        linear = source.classifier[3 * index]
        weight = linear.weight.view(len(linear.weight), -1, *(2 * [7 - 6 * index]))
        bias = linear.bias
        if name == "largefov":
            weight, bias = (weight[::4, :, ::3, ::3] if index == 0 else weight[::4, ::4]), bias[::4]
        assert torch.equal(our.weight, weight)
        if our.bias is not None:
            assert torch.equal(our.bias, bias)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_encoder_computes_what_the_file_computed(batch_norm, tmp_path):
    source = vgg16(batch_norm)
    torch.save(source.state_dict(), tmp_path / "vgg16.pth")
    images = torch.randn(1, 3, 64, 96)
    for norm in ("batch",) if batch_norm else ("batch", "none"):
        net = segnet()(norm=norm, weights=str(tmp_path / "vgg16.pth")).eval()
        x = images
        with torch.no_grad():
            for encoder in net.encoders:
                x = nn.functional.max_pool2d(encoder(x), 2)
            expected = source.features(images)
        # a fresh batch norm divides by the root of 1 + 1e-5, 13 times
        torch.testing.assert_close(x, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_vgg16_weights_for_other_channels_norms_and_widths(tmp_path):
    torch.save(vgg16(True).state_dict(), tmp_path / "bn.pth")
    torch.save(vgg16(False).state_dict(), tmp_path / "plain.pth")
    net = segnet()(in_channels=1, weights=str(tmp_path / "bn.pth"))
    assert net.encoders[0][0].weight.shape == (WIDTH, 1, 3, 3)
    stored = torch.load(tmp_path / "bn.pth")["features.0.weight"]
    torch.testing.assert_close(net.encoders[0][0].weight.detach(), stored.sum(1, keepdim=True))

    with pytest.raises(ValueError, match=r"bn\.pth has batch norms, .*set norm: batch"):
        largefov()(weights=str(tmp_path / "bn.pth"))
    with pytest.raises(ValueError, match=r"plain\.pth has no norms, .*set norm: batch or none"):
        segnet()(norm="group", weights=str(tmp_path / "plain.pth"))
    with pytest.raises(ValueError, match=r"features\.0 is \(4, 3, 3, 3\), the network's \(8, 3, 3, 3\)"):
        segnet()(width=8, weights=str(tmp_path / "bn.pth"))
    features = {name: value for name, value in torch.load(tmp_path / "bn.pth").items() if name.startswith("features")}
    torch.save(features, tmp_path / "features.pth")
    segnet()(weights=str(tmp_path / "features.pth"))
    with pytest.raises(ValueError, match="has no fc6 and fc7"):
        deconvnet()(weights=str(tmp_path / "features.pth"))
    torch.save({"layer1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"holds 0 convolutions called features\.\*, but a VGG-16 has 13"):
        segnet()(weights=str(tmp_path / "other.pth"))


@pytest.mark.parametrize("build", [deeplab, deeplab_plus])
def test_every_tensor_of_a_resnet_arrives_bit_for_bit(build, tmp_path):
    from torchvision.models import resnet18

    source = resnet18().state_dict()
    torch.save(source, tmp_path / "resnet18.pth")
    encoder = build()(weights=str(tmp_path / "resnet18.pth")).encoder.state_dict()
    assert set(source) - set(encoder) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, source[name]) for name, value in encoder.items())

    net = build()(in_channels=5, weights=str(tmp_path / "resnet18.pth"))
    torch.testing.assert_close(net.encoder.conv1.weight.detach(), adapt_channels(source["conv1.weight"], 5))
    with pytest.raises(ValueError, match="has batch norms, which norm: group cannot take"):
        build()(norm="group", weights=str(tmp_path / "resnet18.pth"))
    with pytest.raises(ValueError, match="does not fit the encoder resnet34"):
        build()(encoder="resnet34", weights=str(tmp_path / "resnet18.pth"))


def test_weights_older_than_the_counting_of_batches_fit(tmp_path):
    # Batch norms have num_batches_tracked since torch 0.4.1, and stock load_state_dict does without.
    from torchvision.models import resnet18

    source = {name: value for name, value in resnet18().state_dict().items() if "num_batches_tracked" not in name}
    torch.save(source, tmp_path / "resnet18.pth")
    weights = str(tmp_path / "resnet18.pth")
    for net in (deeplab()(weights=weights).encoder, fcn()(encoder="resnet18", weights=weights).encoder.network):
        state = net.state_dict()
        assert all(torch.equal(state[name], value) for name, value in source.items() if not name.startswith("fc."))
        assert state["bn1.num_batches_tracked"] == 0


@pytest.mark.parametrize("name", ["mobilenet_v2", "densenet121", "squeezenet1_0", "alexnet"])
def test_weights_of_another_network_with_features_are_refused(name, tmp_path):
    from torchvision.models import get_model

    state = get_model(name, weights=None).state_dict()
    state = {key: value for key, value in state.items() if key.startswith("features.")}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"convolutions called features\.\*, but a VGG-16 has 13"):
        segnet()(weights=str(tmp_path / "other.pth"))


def test_a_vgg16_without_biases_fits_and_one_of_another_classifier_is_refused(tmp_path):
    source = vgg16(True).state_dict()
    bare = {
        name: value
        for name, value in source.items()
        if not (name.endswith(".bias") and source[name[:-4] + "weight"].ndim == 4)
    }
    torch.save(bare, tmp_path / "bare.pth")
    net = segnet()(weights=str(tmp_path / "bare.pth"))
    assert torch.equal(net.encoders[4][7].running_mean, source["features.41.running_mean"])
    source["classifier.0.weight"] = torch.zeros(10, 32 * 48)
    torch.save(source, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="has no fc6 and fc7"):
        deconvnet()(weights=str(tmp_path / "other.pth"))


def test_a_first_layer_for_other_channels_answers_grey_images_as_before():
    weight = torch.randn(4, 3, 3, 3)
    grey = torch.randn(1, 1, 8, 8)
    expected = nn.functional.conv2d(grey.expand(1, 3, 8, 8), weight)
    torch.testing.assert_close(nn.functional.conv2d(grey, adapt_channels(weight, 1)), expected, rtol=1e-4, atol=1e-4)
    six = nn.functional.conv2d(grey.expand(1, 6, 8, 8), adapt_channels(weight, 6))
    torch.testing.assert_close(six, expected, rtol=1e-4, atol=1e-4)
    assert adapt_channels(weight, 3) is weight


@pytest.mark.slow
def test_the_real_vgg16_fits_the_networks_at_their_papers_width(tmp_path):
    from torchvision.models import vgg16 as full

    source = full(weights=None, init_weights=False).state_dict()
    torch.save(source, tmp_path / "vgg16.pth")
    net = FCN(21, weights=str(tmp_path / "vgg16.pth"))
    assert torch.equal(net.head[0].weight.flatten(1), source["classifier.0.weight"])
    assert torch.equal(net.head[3].weight.flatten(1), source["classifier.3.weight"])


def test_a_checkpoint_can_start_another_training(tmp_path):
    # The part called net. of a Lightning checkpoint is taken.
    trained = segnet()()
    state = {f"net.{name}": value for name, value in trained.state_dict().items()}
    torch.save({"state_dict": {**state, "mean": torch.zeros(3)}, "epoch": 3}, tmp_path / "last.ckpt")
    loaded = segnet()(weights=str(tmp_path / "last.ckpt"))
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), loaded.parameters(), strict=True))


# ---- the net


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve the files of a folder on 127.0.0.1, and give torch's downloads a folder of their own."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = folder / self.path.lstrip("/")
            self.send_response(200 if path.is_file() else 404)
            data = path.read_bytes() if path.is_file() else b""
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    yield folder, f"http://127.0.0.1:{http.server_port}"
    http.shutdown()


def serve(folder, name: str, state: dict) -> str:
    torch.save(state, folder / "new.pth")
    digits = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()[:8]
    (folder / "new.pth").rename(folder / f"{name}-{digits}.pth")
    return f"{name}-{digits}.pth"


def test_imagenet_downloads_once_checks_the_hash_and_is_not_asked_for_by_a_trained_network(server, monkeypatch):
    from torchvision.models import ResNet18_Weights, resnet18

    folder, address = server
    source = resnet18().state_dict()
    name = serve(folder, "resnet18", source)
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", f"{address}/{name}")
    net = DeepLabV3(3, "resnet18", channels=8, weights="imagenet")
    assert torch.equal(net.encoder.layer4[1].conv2.weight, source["layer4.1.conv2.weight"])

    (folder / name).unlink()
    DeepLabV3Plus(3, "resnet18", channels=8, weights="imagenet")  # from the folder where it was kept
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", "http://127.0.0.1:9/never-00000000.pth")
    with without_weights():
        DeepLabV3(3, "resnet18", channels=8, weights="imagenet")
    with pytest.raises(ConnectionError, match="'imagenet' for the encoder resnet18 could not be downloaded"):
        DeepLabV3(3, "resnet18", channels=8, weights="imagenet")


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_imagenet_means_the_vgg16_with_the_networks_own_norms(name, batch_norm, monkeypatch):
    asked = []
    states = {"vgg16": vgg16(False).state_dict(), "vgg16_bn": vgg16(True).state_dict()}
    monkeypatch.setattr("seg.models.weights.imagenet_weights", lambda name: asked.append(name) or states[name])
    NETWORKS[name]()(norm="batch" if batch_norm else "none", weights="imagenet")
    assert asked == ["vgg16_bn" if batch_norm else "vgg16"]


def test_a_missing_file_and_one_of_another_hash_are_explained_and_leave_nothing_behind(server, tmp_path):
    folder, address = server
    name = serve(folder, "net", {"a": torch.zeros(3)})
    with pytest.raises(ConnectionError, match=r"gone-01234567\.pth \(HTTP Error 404.*put it at .*or null for random"):
        download(f"{address}/gone-01234567.pth", "the file")
    (folder / name).rename(folder / "net-00000000.pth")
    with pytest.raises(ConnectionError, match="invalid hash value"):
        download(f"{address}/net-00000000.pth", "the file")
    assert not list((tmp_path / "hub").rglob("*.pth"))
    (folder / "net-00000000.pth").rename(folder / name)
    assert download(f"{address}/{name}", "the file").keys() == {"a"}
    with pytest.raises(FileNotFoundError, match="'imagenett' is neither a file nor imagenet"):
        deeplab()(weights="imagenett")
