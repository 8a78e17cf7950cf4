"""Measure a training step of seg's networks against the peer of the same architecture, at its authors' settings.

The peer, of torchvision or segmentation-models-pytorch, runs in fp32 and the contiguous layout. Ours runs twice: with
seg's defaults (bf16, channels_last) and like for like (fp32, contiguous). All three alternate in blocks; a step is
forward, cross-entropy, backward and AdamW, its memory all that tensors hold at its peak.

    python benchmarks/networks.py --size 180 240 --batch 2 --steps 3 --blocks 3
    python benchmarks/networks.py --device cuda --size 512 512 --batch 8 --steps 10
"""

import argparse
import gc
import statistics
import time

import segmentation_models_pytorch as smp
import torch
from torch import nn
from torchvision.models import segmentation as torchvision

import seg.models
from seg.models.profile import TrainingStep, parameters
from seg.trainer import keep_freed_memory, resolve_precision

CLASSES = 11


class Logits(nn.Module):
    """Hand out torchvision's logits, which come in a dict."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)["out"]


class Padded(nn.Module):
    """Pad as smp's networks need, and crop back."""

    def __init__(self, network, stride=32):
        super().__init__()
        self.network, self.stride = network, stride

    def forward(self, images):
        height, width = images.shape[-2:]
        padded = nn.functional.pad(images, (0, -width % self.stride, 0, -height % self.stride))
        return self.network(padded)[..., :height, :width]


def resnet(kind):
    """Return a builder of torchvision's network on ResNet-50 without auxiliary head."""
    return lambda: Logits(kind(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=False))


def library(kind, **options):
    """Return a builder of smp's network."""
    return lambda: Padded(kind(encoder_weights=None, classes=CLASSES, **options))


PAIRS = {
    "DeepLabV3 resnet50, output stride 8": (
        ("DeepLabV3", {"encoder": "resnet50", "output_stride": 8}),
        ("torchvision deeplabv3_resnet50", resnet(torchvision.deeplabv3_resnet50)),
    ),
    "DeepLabV3Plus resnet50, separable": (
        ("DeepLabV3Plus", {"encoder": "resnet50", "separable": True, "decoder_convolutions": 1}),
        ("smp DeepLabV3Plus", library(smp.DeepLabV3Plus, encoder_name="resnet50")),
    ),
    "SMP DeepLabV3Plus resnet50": (
        ("SMP", {"arch": "DeepLabV3Plus", "encoder": "resnet50"}),
        ("smp DeepLabV3Plus", library(smp.DeepLabV3Plus, encoder_name="resnet50")),
    ),
    "SMP Unet resnet34": (
        ("SMP", {"arch": "Unet", "encoder": "resnet34"}),
        ("smp Unet", library(smp.Unet, encoder_name="resnet34")),
    ),
}
"""Title -> ours by name and arguments, the peer by name and builder.

torchvision's fcn_resnet50 is dilated to a stride of 8 with a head of its own: no variant of FCN's paper is its like.
"""


def ours(name, arguments):
    """Return a builder of a network of seg's, or None where this version does not have it."""
    kind = getattr(seg.models, name, None)
    if kind is None:
        print(f"seg.models.{name} does not exist yet: left out")
        return None
    return lambda: kind(CLASSES, **arguments)


def measure(build, options, dtype, channels_last):
    """Return (seconds of each step, peak bytes, parameters) of one block, on a network built for it."""
    torch.manual_seed(0)
    net = build().to(options.device)
    step = TrainingStep(net, tuple(options.size), options.batch, CLASSES, dtype, channels_last)
    step.run()
    peak = step.peak_bytes()
    seconds = []
    for _ in range(options.steps):
        start = time.perf_counter()
        step.run()
        seconds.append(time.perf_counter() - start)
    count = parameters(net)
    del net, step
    gc.collect()
    if options.device.type == "cuda":
        torch.cuda.empty_cache()
    return seconds, peak, count


def compare(title, build, peer, options):
    """Print a line for the peer and for ours in both formats."""
    name, build_peer = peer
    kinds = {
        f"{name}, fp32": (build_peer, torch.float32, False),
        "ours, fp32": (build, torch.float32, False),
        f"ours, {options.precision}, channels_last": (build, options.dtype, True),
    }
    times, peaks, counts = {kind: [] for kind in kinds}, {}, {}
    for _ in range(options.blocks):
        for kind, (build_one, dtype, channels_last) in kinds.items():
            seconds, peaks[kind], counts[kind] = measure(build_one, options, dtype, channels_last)
            times[kind] += seconds
    medians = {kind: statistics.median(seconds) for kind, seconds in times.items()}
    base = next(iter(kinds))
    print(f"\n{title}")
    print(f"  {'':<46}{'M params':>9}{'ms':>9}{'× peer':>8}{'MiB':>9}{'× peer':>8}")
    for kind, median in medians.items():
        print(
            f"  {kind:<46}{counts[kind] / 1e6:>9.2f}{1e3 * median:>9.0f}{median / medians[base]:>8.2f}"
            f"{peaks[kind] / 2**20:>9.0f}{peaks[kind] / peaks[base]:>8.2f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=[180, 240], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=2, help="2 or more: torchvision's image pooling needs it")
    parser.add_argument("--steps", type=int, default=3, help="steps a block")
    parser.add_argument("--blocks", type=int, default=3, help="blocks of each kind, interleaved")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--only", nargs="+", default=[], help="words that the titles must contain, such as SMP Unet")
    options = parser.parse_args()
    keep_freed_memory()  # as the Trainer does, for all sides alike
    options.precision = resolve_precision("gpu" if options.device.type == "cuda" else options.device.type)
    options.dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(options.precision, torch.float32)

    height, width = options.size
    print(f"{options.batch} images of {width}×{height}, {options.device}, {torch.get_num_threads()} threads")
    for title, ((name, arguments), peer) in PAIRS.items():
        if all(word in title for word in options.only) and (build := ours(name, arguments)):
            compare(title, build, peer, options)


if __name__ == "__main__":
    main()
