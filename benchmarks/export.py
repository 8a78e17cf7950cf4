"""Time each network in every form that it can be shipped in, against eager fp32, and compare the labels.

One image at a time, raw pixel values to logits, on the CPU: eager in fp32, channels_last, compiled by torch.compile,
bf16 with channels_last (eager and compiled), ONNX Runtime in fp32 and, calibrated on eight frames, in int8. The forms
take turns. The networks are trained for a few steps only, on frames of half the size, so that labels have a margin:
what 8 bits cost in mIoU tells `seg export best.ckpt --out small.onnx --int8` for a network that is trained. The labels
of the ONNX file in fp32 are compared with those of the checkpoint at three sizes, odd ones too, on real frames.

    python benchmarks/export.py --root data/CamVid
    python benchmarks/export.py --root data/CamVid --only "U-Net" "DeepLab v3, ResNet-50" --rounds 15
"""

import argparse
import copy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import seg.models
from seg.data import CamVid
from seg.errors import quiet
from seg.export import parity
from seg.export.card import Card
from seg.export.command import write
from seg.export.quantise import quantise
from seg.export.runtime import ExportedNetwork
from seg.export.samples import at_three_sizes
from seg.loading import autocast
from seg.task import SegmentationTask
from seg.trainer import keep_freed_memory

NETWORKS = {
    "FCN-8s, VGG-16": ("FCN", {}),
    "SegNet": ("SegNet", {}),
    "SegNet-Basic": ("SegNetBasic", {}),
    "DeconvNet": ("DeconvNet", {}),
    "U-Net": ("UNet", {}),
    "U-Net, width 16": ("UNet", {"width": 16, "upsampling": "bilinear"}),
    "DeepLab-LargeFOV": ("DeepLabLargeFOV", {}),
    "DeepLab v3, ResNet-50": ("DeepLabV3", {}),
    "DeepLab v3+, ResNet-50": ("DeepLabV3Plus", {}),
    "DeepLab v3+, separable": ("DeepLabV3Plus", {"separable": True, "decoder_convolutions": 1}),
    "smp U-Net, ResNet-18": ("SMP", {"arch": "Unet", "encoder": "resnet18"}),
}
"""Title -> class in seg.models and its settings."""
FORMS = ("eager", "channels_last", "compiled", "bf16", "compiled bf16", "ONNX", "int8")


def frames_of(options):
    """Return raw images (N, 3, H, W) and masks (N, H, W) of CamVid's training split, evenly spread over it."""
    data = CamVid(str(options.root), augment=[])
    data.prepare_data()
    data.setup("fit")
    dataset = data.datasets["train"]
    found = [dataset[index * len(dataset) // options.frames] for index in range(options.frames)]
    images = resized(torch.stack([item["image"] for item in found]).float(), options.size, "area")
    masks = resized(torch.stack([item["mask"] for item in found])[:, None].float(), options.size, "nearest-exact")
    return images.round().to(torch.uint8), masks[:, 0].long(), data


def resized(values, size, mode):
    """Return (N, C, H, W) at another size."""
    return torch.nn.functional.interpolate(values, tuple(size), mode=mode)


def task_of(name, settings, frames, masks, data, steps):
    """Return a task whose network has been trained for some steps, its batch norms measured on frames."""
    torch.manual_seed(0)
    net = getattr(seg.models, name)(data.num_classes, **settings)
    task = SegmentationTask(net, data.class_names, data.class_colors, data.mean, data.std)
    size = [side // 2 for side in frames.shape[2:]]
    images, masks = resized(frames.float(), size, "area"), resized(masks[:, None].float(), size, "nearest-exact")
    normed = any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3 if normed else 1e-4)
    for step in range(steps):
        chosen = [(2 * step + offset) % len(images) for offset in (0, 1)]
        with autocast(task.device, "bf16-mixed"):
            logits = net(task.pixels(images[chosen]).contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad()
        task.loss(logits.float(), masks[chosen, 0].long()).backward()
        optimizer.step()
    torch.optim.swa_utils.update_bn((task.pixels(pair) for pair in frames.split(2)), net)
    return task.eval()


def forms_of(task, frames, folder):
    """Return form -> function of raw images, and how well the ONNX file's labels agree with the task's."""
    exact, small = folder / "exact.onnx", folder / "int8.onnx"
    plain = copy.deepcopy(task).to(memory_format=torch.contiguous_format)
    plain.channels_last = False
    write(task, exact, Card.of_task(task, "logits", "fp32"))
    onnx = ExportedNetwork(exact, "cpu")
    agreement = min(found.agreement for found in parity.compare(plain, onnx, at_three_sizes(frames.split(1))))
    quantise(exact, small, frames[:8].split(1), Card.of_task(task, "logits", "int8"))
    compiled, compiled_wide = (torch.compile(thing.net, dynamic=False) for thing in (plain, task))
    return {
        "eager": plain,
        "channels_last": task,
        "compiled": lambda images: compiled(plain.pixels(images)),
        "bf16": lambda images: halved(task, images),
        "compiled bf16": lambda images: halved(task, images, compiled_wide),
        "ONNX": onnx,
        "int8": ExportedNetwork(small, "cpu"),
    }, agreement


def halved(task, images, net=None):
    """Return logits computed in bf16, as predictions are by default where the CPU has it."""
    with autocast(task.device, "bf16-mixed"):
        pixels = task.pixels(images).contiguous(memory_format=torch.channels_last)
        return (task.net if net is None else net)(pixels).float()


@torch.inference_mode()
def times_of(forms, image, rounds):
    """Return form -> median seconds of one image; what cannot run has none."""
    times = {name: [] for name in forms}
    for turn in range(rounds + 1):
        for name, form in forms.items():
            if times[name] is None:
                continue
            start = time.perf_counter()
            try:
                form(image)
            except Exception as error:
                print(f"  {name} does not run: {str(error).splitlines()[0]}", flush=True)
                times[name] = None
                continue
            if turn:  # the first one compiles
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items() if values}


def row(title, options):
    """Return a network's line of the table."""
    frames, masks, data = frames_of(options)
    with tempfile.TemporaryDirectory() as folder:
        task = task_of(*NETWORKS[title], frames, masks, data, options.steps)
        forms, agreement = forms_of(task, frames, Path(folder))
        times = times_of(forms, frames[:1], options.rounds)
        with torch.inference_mode():
            same = [forms["eager"](frame).argmax(1) == forms["int8"](frame).argmax(1) for frame in frames[-4:].split(1)]
    ratios = [f"{times[form] / times['eager']:.2f}" if form in times else "–" for form in FORMS[1:]]
    share = float(torch.cat(same).double().mean())
    return f"| {title} | {1e3 * times['eager']:.0f} | {' | '.join(ratios)} | {agreement:.3%} | {share:.1%} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data/CamVid"), help="CamVid's folder")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=16, help="that norms and int8 are measured on")
    parser.add_argument("--steps", type=int, default=20, help="of training, two frames each")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", metavar="NETWORK", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--row", choices=NETWORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        quiet()
        keep_freed_memory()
        print(row(options.row, options))
        return
    print(
        f"{options.size[0]}×{options.size[1]}, one image, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"| network | eager, ms | {' | '.join(FORMS[1:])} | labels as ONNX | int8's labels |")
    print("| --- " * (len(FORMS) + 3) + "|", flush=True)
    for title in options.only:  # a process each: runtimes keep what they once took
        if subprocess.run([sys.executable, *sys.argv, "--row", title]).returncode:
            print(f"{title}: failed")


if __name__ == "__main__":
    main()
