"""What every network promises, whichever paper it is from."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from seg.models import without_weights
from tests.models.networks import NETWORKS, ONE_OF_EACH, outputs, without_chance

networks = pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
one_of_each = pytest.mark.parametrize("build", [NETWORKS[name] for name in ONE_OF_EACH], ids=ONE_OF_EACH)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# ---- in and out


@networks
def test_logits_have_the_size_of_the_image_whatever_it_is(build):
    for channels, sizes in {1: [(67, 71)], 3: [(32, 32), (67, 71), (97, 33)], 5: [(97, 33)]}.items():
        net = build(in_channels=channels).eval()
        for size in sizes:
            with torch.no_grad():
                logits = net(torch.randn(1, channels, *size))
            assert logits.shape == (1, 3, *size)
            assert logits.isfinite().all()


@one_of_each
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [(32, 32), (67, 71), (97, 33)])
def test_every_pairing_of_channels_and_sizes_works(build, channels, size):
    with torch.no_grad():
        assert build(in_channels=channels, num_classes=2).eval()(torch.randn(1, channels, *size)).shape == (1, 2, *size)


@networks
def test_logits_take_both_signs(build):
    net = without_chance(build())
    with torch.no_grad():
        logits = outputs(net(torch.randn(2, 3, 64, 64)))[0]
    assert (logits > 0).any()
    assert (logits < 0).any()


# ---- training


@networks
def test_one_step_on_one_smallest_image_gives_every_parameter_a_finite_gradient(build):
    net = without_chance(build().train())
    sum(logits.square().mean() for logits in outputs(net(torch.randn(1, 3, 32, 32)))).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@networks
def test_every_parameter_has_a_part_in_the_result(build):
    # A few draws of weights, for ReLU may silence the four hidden values of a small attention block altogether.
    dead = {name for name, _ in build().named_parameters()}
    for seed in range(4):
        torch.manual_seed(seed)
        net = without_chance(build().train())
        # Weighted at random: the mean over the image of what an instance norm has normalised is constant.
        result = outputs(net(torch.randn(2, 3, 160, 160)))
        sum((logits * torch.randn_like(logits)).mean() for logits in result).backward()
        dead -= {name for name, parameter in net.named_parameters() if parameter.grad.any()}
        if not dead:
            return
    assert not dead


@networks
def test_no_convolution_before_a_norm_has_a_bias(build):
    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm)
    modules = list(build().modules())
    for first, second in pairwise(modules):
        if isinstance(first, nn.Conv2d) and isinstance(second, kinds):
            assert first.bias is None


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_autocast_and_channels_last_change_little(name):
    net = without_chance(NETWORKS[name]()).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net(images)
        last = copy.deepcopy(net).to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = net(images)
    torch.testing.assert_close(last, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
    # Values that bfloat16 cannot tell apart change places when they are unpooled; instance norms of small maps amplify.
    touchy = any(part in name for part in ("segnet", "deconvnet", "instance"))
    assert (half.float() - expected).abs().mean() < (0.5 if touchy else 0.03) * expected.std()


@pytest.mark.parametrize("name", [name for name in NETWORKS if "instance" not in name])  # torch's own leaves it
def test_no_convolution_is_given_maps_that_have_left_the_channels_last_layout(name):
    net = NETWORKS[name]().train().to(memory_format=torch.channels_last)
    strides = {}
    for name, module in net.named_modules():
        # CBAM's two maps of means and maxima over the channels are exempt: they are as good as one either way.
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and not name.endswith(".place"):
            module.register_forward_pre_hook(lambda _, args, name=name: strides.update({name: args[0].stride(1)}))
    net(torch.randn(2, 3, 67, 97).to(memory_format=torch.channels_last))
    assert set(strides.values()) == {1}, strides


@networks
def test_training_in_bfloat16_and_channels_last_gives_finite_gradients(build):
    net = build().train().to(memory_format=torch.channels_last)
    images = torch.randn(1, 3, 67, 40).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = outputs(net(images))
    sum(logits.float().square().mean() for logits in result).backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@networks
def test_training_under_deterministic_algorithms_works_and_repeats(build):
    torch.use_deterministic_algorithms(True)
    try:
        gradients = []
        for _ in range(2):
            torch.manual_seed(1)
            net = build().train()
            sum(logits.square().mean() for logits in outputs(net(torch.randn(2, 3, 40, 48)))).backward()
            gradients.append(torch.cat([parameter.grad.flatten() for parameter in net.parameters()]))
        assert torch.equal(*gradients)
    finally:
        torch.use_deterministic_algorithms(False)


@networks
def test_the_initial_weights_keep_the_scale_of_activations(build):
    net = without_chance(build()).train()
    with torch.no_grad():
        spread = float(outputs(net(torch.randn(2, 3, 96, 96)))[0].std())
    assert 0.02 < spread < 10


@networks
def test_sync_batch_norm_replaces_every_batch_norm_and_keeps_the_names_of_the_state(build):
    net = build()
    names = list(net.state_dict())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert list(converted.state_dict()) == names
    assert not any(isinstance(module, nn.BatchNorm2d) for module in converted.modules())


# ---- settings and weights


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
    trained = without_chance(build())
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


# ---- graphs


@pytest.mark.parametrize("name", ["unet", *(pytest.param(name, marks=pytest.mark.slow) for name in list(NETWORKS)[1:])])
def test_an_exported_graph_takes_batches_and_sizes_that_it_was_not_traced_with(name):
    net = without_chance(NETWORKS[name]()).eval()
    free = torch.export.Dim.DYNAMIC
    program = torch.export.export(net, (torch.randn(2, 3, 96, 160),), dynamic_shapes=({0: free, 2: free, 3: free},))
    for shape in ((1, 3, 80, 96), (2, 3, 67, 71), (3, 3, 97, 133)):
        images = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(program.module()(images), net(images), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@networks
def test_compiling_breaks_no_graph_and_changes_no_result(build):
    net = without_chance(build()).eval()
    images = torch.randn(2, 3, 67, 71)
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), net(images), rtol=1e-4, atol=1e-4)


@one_of_each
def test_tracing_breaks_no_graph_in_training_and_keeps_the_names_of_the_state(build):
    net = build().train()
    names = list(net.state_dict())
    torch._dynamo.reset()
    net.compile(fullgraph=True, backend="eager")
    assert net(torch.randn(2, 3, 40, 32)).shape == (2, 3, 40, 32)
    assert list(net.state_dict()) == names
