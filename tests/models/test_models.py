"""What every network promises, and what each one promises beside that."""

import copy
import tempfile
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from seg.models import SMP, UNet, without_weights
from seg.models.blocks import BatchNorm2d, InstanceNorm2d

NETWORKS = {
    "unet": lambda **options: UNet(**{"num_classes": 3, "width": 8, **options}),
    "unet_group": lambda **options: UNet(**{"num_classes": 3, "width": 8, "norm": "group", **options}),
    "unet_instance": lambda **options: UNet(
        **{"num_classes": 3, "width": 8, "norm": "instance", "depth": 5, **options}
    ),
    "unet_none": lambda **options: UNet(**{"num_classes": 3, "width": 8, "norm": "none", **options}),
    "unet_bilinear": lambda **options: UNet(**{"num_classes": 3, "width": 8, "upsampling": "bilinear", **options}),
    "unet_deep": lambda **options: UNet(**{"num_classes": 3, "width": 8, "depth": 6, **options}),
    "unet_dropout": lambda **options: UNet(**{"num_classes": 3, "width": 8, "dropout": 0.5, **options}),
    "smp_unet": lambda **options: SMP(**{"num_classes": 3, "encoder": "resnet18", **options}),
}
networks = pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
ARCHITECTURES = ["Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet"]
ARCHITECTURES += ["DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet", "Segformer", "DPT"]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# ---- all networks


@networks
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [(32, 32), (67, 71), (97, 33)])
def test_logits_have_the_size_of_the_image_whatever_it_is(build, channels, size):
    net = build(in_channels=channels).eval()
    with torch.no_grad():
        logits = net(torch.randn(1, channels, *size))
    assert logits.shape == (1, 3, *size)
    assert logits.isfinite().all()


@networks
def test_one_step_on_one_smallest_image_gives_every_parameter_a_finite_gradient_that_is_not_zero(build):
    net = build().train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    net(torch.randn(1, 3, 32, 32)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    # At 32×32 the deepest maps are a single pixel, which ReLU may leave at zero; a larger image reaches everything.
    net.zero_grad()
    net(torch.randn(2, 3, 128, 128)).square().mean().backward()
    dead = [name for name, parameter in net.named_parameters() if not parameter.grad.any()]
    assert not dead


@networks
def test_no_convolution_before_a_norm_has_a_bias(build):
    net = build()
    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm)
    modules = list(net.modules())
    for first, second in pairwise(modules):
        if isinstance(first, nn.Conv2d) and isinstance(second, kinds):
            assert first.bias is None


@networks
def test_bfloat16_autocast_and_channels_last_change_little(build):
    net = build().eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net(images)
        last = copy.deepcopy(net).to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = net(images)
    torch.testing.assert_close(last, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
    assert half.dtype is torch.bfloat16
    assert (half.float() - expected).abs().mean() < 0.1 * expected.std()


@networks
def test_training_under_deterministic_algorithms_works_and_repeats(build):
    torch.use_deterministic_algorithms(True)
    try:
        gradients = []
        for _ in range(2):
            torch.manual_seed(1)
            net = build().train()
            net(torch.randn(2, 3, 40, 48)).square().mean().backward()
            gradients.append(torch.cat([parameter.grad.flatten() for parameter in net.parameters()]))
        assert torch.equal(*gradients)
    finally:
        torch.use_deterministic_algorithms(False)


@networks
def test_sync_batch_norm_replaces_every_batch_norm_and_keeps_the_names_of_the_state(build):
    net = build()
    names = list(net.state_dict())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert list(converted.state_dict()) == names
    assert not any(isinstance(module, nn.BatchNorm2d) for module in converted.modules())


@networks
def test_sizes_classes_and_channels_that_cannot_be_are_refused_with_what_can(build):
    with pytest.raises(ValueError, match="num_classes: 1, but a network separates 2 to 255"):
        build(num_classes=1)
    with pytest.raises(ValueError, match="in_channels: 0"):
        build(in_channels=0)
    net = build()
    with pytest.raises(ValueError, match=r"31×64 pixels.*32×32 or more"):
        net(torch.zeros(1, 3, 31, 64))
    with pytest.raises(ValueError, match=r"shape \(1, 4, 64, 64\).*\(batch, 3, height, width\)"):
        net(torch.zeros(1, 4, 64, 64))


@networks
def test_weights_from_a_file_arrive_bit_for_bit_and_are_left_out_when_a_trained_network_is_rebuilt(build, tmp_path):
    trained = build()
    path = tmp_path / "weights.pth"
    torch.save(trained.state_dict(), path)
    loaded = build(weights=str(path))
    for name, value in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name

    with without_weights():
        build(weights=str(tmp_path / "gone.pth"))
    with pytest.raises(FileNotFoundError, match=r"gone\.pth"):
        build(weights=str(tmp_path / "gone.pth"))


@networks
def test_weights_of_other_shapes_and_files_of_something_else_are_refused(build, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(build(num_classes=7).state_dict(), path)
    with pytest.raises(ValueError, match=r"weights\.pth does not fit .*(7,.*\(3,|is not in)"):
        build(weights=str(path))
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"weights\.pth cannot be read"):
        build(weights=str(path))
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="holds no state dict"):
        build(weights=str(path))


def test_a_checkpoint_can_start_another_training():
    # The part called net. of a Lightning checkpoint is taken.
    trained = NETWORKS["unet"]()
    with tempfile.NamedTemporaryFile(suffix=".ckpt") as file:
        state = {f"net.{name}": value for name, value in trained.state_dict().items()}
        torch.save({"state_dict": {**state, "mean": torch.zeros(3)}, "epoch": 3}, file.name)
        loaded = NETWORKS["unet"](weights=file.name)
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), loaded.parameters(), strict=True))


@pytest.mark.parametrize("name", ["unet", *(pytest.param(name, marks=pytest.mark.slow) for name in list(NETWORKS)[1:])])
def test_an_exported_graph_takes_batches_and_sizes_that_it_was_not_traced_with(name):
    net = NETWORKS[name]().eval()
    free = torch.export.Dim.DYNAMIC
    program = torch.export.export(net, (torch.randn(2, 3, 96, 160),), dynamic_shapes=({0: free, 2: free, 3: free},))
    for shape in ((1, 3, 80, 96), (2, 3, 67, 71), (3, 3, 97, 133)):
        images = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(program.module()(images), net(images), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@networks
def test_compiling_breaks_no_graph_and_changes_no_result(build):
    net = build().eval()
    images = torch.randn(2, 3, 67, 71)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), net(images), rtol=1e-4, atol=1e-4)


def test_tracing_the_unet_breaks_no_graph_in_training():
    net = NETWORKS["unet_deep"]().train()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    assert compiled(torch.randn(1, 3, 32, 32)).shape == (1, 3, 32, 32)


# ---- U-Net


def test_the_unet_has_the_parameters_of_the_paper():
    with torch.device("meta"):
        counts = {norm: sum(p.numel() for p in UNet(2, norm=norm).parameters()) for norm in ("batch", "none")}
    assert counts == {"batch": 31_037_698, "none": 31_031_810}


def test_the_unet_equals_the_paper_written_out_with_functions():
    from torch.nn import functional as F

    net = UNet(3, width=4, depth=2, norm="none").eval()
    s = {name: value.double() for name, value in net.state_dict().items()}
    x = torch.randn(1, 3, 36, 36, dtype=torch.float64)

    def double(x, name):
        for index in (0, 3):
            x = F.relu(F.conv2d(x, s[f"{name}.{index}.weight"], s[f"{name}.{index}.bias"], padding=1))
        return x

    a = double(x, "down.0")
    b = double(F.max_pool2d(a, 2), "down.1")
    c = double(F.max_pool2d(b, 2), "down.2")
    d = F.conv_transpose2d(c, s["up.0.weight"], s["up.0.bias"], stride=2)
    d = double(torch.cat([b, d], 1), "merge.0")
    e = F.conv_transpose2d(d, s["up.1.weight"], s["up.1.bias"], stride=2)
    e = double(torch.cat([a, e], 1), "merge.1")
    expected = F.conv2d(e, s["classifier.weight"], s["classifier.bias"])
    torch.testing.assert_close(net.double()(x), expected)


def test_padding_is_zeros_at_the_bottom_and_right():
    net = NETWORKS["unet"]().eval()
    image = torch.randn(1, 3, 50, 61)
    padded = torch.zeros(1, 3, 64, 64)
    padded[..., :50, :61] = image
    with torch.no_grad():
        torch.testing.assert_close(net(image), net(padded)[..., :50, :61])


@pytest.mark.parametrize("norm", ["batch", "group", "instance", "none"])
def test_the_initial_weights_keep_the_scale_of_activations(norm):
    net = UNet(3, width=32, norm=norm).train()
    with torch.no_grad():
        spread = float(net(torch.randn(1, 3, 64, 64)).std())
    assert 0.1 < spread < 10


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"norm": "layer"}, "norm: 'layer' is none of batch, group, instance, none"),
        ({"upsampling": "nearest"}, "upsampling: 'nearest'"),
        ({"dropout": 1.0}, r"dropout: 1\.0"),
        ({"depth": 0}, "depth: 0"),
        ({"width": 0}, "width: 0"),
    ],
)
def test_settings_of_the_unet_that_cannot_be_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        UNet(2, **setting)


def test_dropout_acts_in_training_only():
    net = NETWORKS["unet_dropout"]()
    images = torch.randn(1, 3, 32, 32)
    net.train()
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))


# ---- norms


def test_a_norm_that_sees_one_value_uses_its_running_statistics_and_leaves_them_alone():
    norm = BatchNorm2d(4).train()
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(9.0)
    x = torch.randn(1, 4, 1, 1)
    torch.testing.assert_close(norm(x), (x - 2) / np.sqrt(9 + 1e-5))
    assert (norm.running_mean == 2).all()
    stock = nn.BatchNorm2d(4).train()
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(BatchNorm2d(4).train()(x), stock(x))


def test_instance_norm_scales_and_shifts_a_single_value():
    norm = InstanceNorm2d(2, affine=True)
    x = torch.randn(1, 2, 1, 1)
    assert torch.equal(norm(x), x)
    x = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(norm(x).mean((2, 3)), torch.zeros(1, 2))


# ---- segmentation-models-pytorch


def _smp(arch, encoder=None, **options):
    encoder = encoder or ("tu-vit_tiny_patch16_224" if arch.upper() == "DPT" else "resnet18")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SMP(3, arch, encoder, **options)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_takes_odd_sizes_and_trains_on_one_smallest_image(arch):
    net = _smp(arch.lower()).train()
    assert net(torch.randn(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    logits = net(torch.randn(1, 3, 67, 71))
    assert logits.shape == (1, 3, 67, 71)
    logits.mean().backward()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_wrapper_equals_the_librarys_network_exactly(arch):
    import segmentation_models_pytorch as smp

    net = _smp(arch)
    options = {"dynamic_img_size": True} if arch == "DPT" else {}
    encoder = "tu-vit_tiny_patch16_224" if arch == "DPT" else "resnet18"
    peer = smp.create_model(arch, encoder, None, 3, 3, **options)
    peer.load_state_dict(net.network.state_dict())
    images = torch.randn(2, 3, 128, 160)
    with torch.no_grad():
        assert torch.equal(net.eval()(images), peer.eval()(images))
        torch.manual_seed(2)
        ours = net.train()(images)
        torch.manual_seed(2)
        assert torch.equal(ours, peer.train()(images))


def test_unknown_architectures_and_encoders_are_refused_with_the_nearest_names():
    with pytest.raises(ValueError, match=r"arch: 'unett' is unknown; nearest: Unet.*there are Unet, UnetPlusPlus"):
        _smp("unett")
    with pytest.raises(ValueError, match=r"encoder: 'resnet35' is unknown; nearest: resnet3?"):
        _smp("Unet", "resnet35")
    with pytest.raises(ValueError, match="nearest: tu-convnext_tiny"):
        _smp("Unet", "convnext_tiny")
    with pytest.raises(ValueError, match="encoder: 'tu-convnext_tinny' is unknown; nearest: tu-convnext_tiny"):
        _smp("Unet", "tu-convnext_tinny")
    with pytest.raises(ValueError, match="DPT takes vision transformers"):
        _smp("DPT", "resnet18")


def test_options_reach_the_library_and_wrong_ones_are_refused():
    net = _smp("Unet", options={"decoder_channels": [32, 16, 8, 8, 4]})
    assert net.network.segmentation_head[0].in_channels == 4
    with pytest.raises(ValueError, match="options: classes is set by the data"):
        _smp("Unet", options={"classes": 3})
    with pytest.raises(ValueError, match="options for Unet: 'decoder_chanels' is unknown; nearest: decoder_channels"):
        _smp("Unet", options={"decoder_chanels": [1]})


def test_an_encoders_own_file_fills_the_encoder_and_adapts_the_first_layer(tmp_path):
    from torchvision.models import resnet18

    source = resnet18().state_dict()
    torch.save(source, tmp_path / "resnet18.pth")
    encoder = _smp("Unet", weights=str(tmp_path / "resnet18.pth")).network.encoder.state_dict()
    assert all(torch.equal(value, source[name]) for name, value in encoder.items())
    assert set(source) - set(encoder) == {"fc.weight", "fc.bias"}

    for channels in (1, 5):
        net = _smp("Unet", in_channels=channels, weights=str(tmp_path / "resnet18.pth"))
        adapted, original = net.network.encoder.conv1.weight, source["conv1.weight"]
        expected = original.sum(1, keepdim=True) if channels == 1 else original[:, [0, 1, 2, 0, 1]] * 3 / 5
        torch.testing.assert_close(adapted.detach(), expected)


def test_a_download_that_fails_says_what_to_do_and_a_rebuilt_network_does_not_try(monkeypatch):
    import segmentation_models_pytorch.encoders as encoders

    def offline(*_, **__):
        raise FileNotFoundError("an error happened while trying to locate the file")

    monkeypatch.setattr(encoders, "hf_hub_download", offline)
    with pytest.raises(ConnectionError, match="'imagenet' for the encoder resnet18 could not be downloaded") as error:
        _smp("Unet", weights="imagenet")
    assert "null for random weights" in str(error.value)
    with without_weights():
        assert _smp("Unet", weights="imagenet").stride == 32


def test_weights_that_are_neither_a_name_nor_a_file_are_refused_with_the_names():
    with pytest.raises(
        FileNotFoundError, match=r"'imagenett' is neither a file nor weights known for resnet18 \(imagenet"
    ):
        _smp("Unet", weights="imagenett")
