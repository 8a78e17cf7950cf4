"""The wrapper around segmentation-models-pytorch."""

import warnings

import pytest
import torch

from seg.models import SMP, without_weights

ARCHITECTURES = ["Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet"]
ARCHITECTURES += ["DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet", "Segformer", "DPT"]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


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


@pytest.mark.parametrize("encoder", ["tu-mobilenetv3_small_050", "timm-efficientnet-b0", "tu-resnet18"])
def test_timms_norms_train_on_one_smallest_image_and_else_compute_what_they_did(encoder):
    import segmentation_models_pytorch as smp

    net = _smp("Unet", encoder).train()
    net(torch.randn(1, 3, 32, 32)).mean().backward()
    peer = smp.create_model("Unet", encoder, None, 3, 3)
    peer.load_state_dict(net.network.state_dict())
    images = torch.randn(2, 3, 64, 96)
    for training in (False, True):
        torch.manual_seed(2)
        ours = net.train(training)(images)
        torch.manual_seed(2)
        assert torch.equal(ours, peer.train(training)(images))


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
