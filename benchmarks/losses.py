"""Time and memory of each loss, forward and backward, beside its peers: `python benchmarks/losses.py`.

Memory is the peak of live tensors beyond the logits and the target, counted by torch's profiler of allocations. Times
are medians; losses take turns, so that a machine whose speed changes treats all alike. MONAI is left out where it is
not installed.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from seg.losses import CrossEntropy, Dice, Focal, Jaccard, Lovasz, Tversky


def step(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> None:
    """Run forward and backward once."""
    logits.grad = None
    loss(logits, target).backward()


def peak_bytes(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> int:
    """Return the peak of memory that a step allocates, its gradient included."""
    logits.grad = None
    if logits.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(loss, logits, target)
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(loss, logits, target)
    live = peak = 0
    memory = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(memory, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def main() -> None:
    """Print a line for each loss."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", type=int, nargs=4, default=[4, 19, 512, 1024], help="batch, classes, height, width")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    batch, classes, height, width = options.shape
    logits = torch.randn(options.shape, device=options.device, requires_grad=True)
    target = torch.randint(0, classes, (batch, height, width), device=options.device)
    target[:, : height // 10] = 255

    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "torch cross_entropy": lambda x, t: F.cross_entropy(x, t, ignore_index=255),
        "ours CrossEntropy": CrossEntropy(),
        "ours CrossEntropy, hard examples": CrossEntropy(hard_below=0.7),
        "ours Focal": Focal(),
        "ours Dice": Dice(),
        "ours Jaccard": Jaccard(),
        "ours Tversky": Tversky(),
        "ours Lovasz": Lovasz(),
    }
    losses |= peers()
    times: dict[str, list[float]] = {name: [] for name in losses}
    peaks = {name: peak_bytes(loss, logits, target) for name, loss in losses.items()}
    for _ in range(options.repeats):
        for name, loss in losses.items():
            start = time.perf_counter()
            step(loss, logits, target)
            if logits.is_cuda:
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    print(
        f"logits {tuple(options.shape)}, {logits.nbytes / 2**20:.0f} MiB, {options.device}, {options.threads} threads"
    )
    print("| loss | ms | × cross-entropy | peak MiB | × cross-entropy |\n| --- | --- | --- | --- | --- |")
    base = next(iter(losses))
    for name in losses:
        median, first = statistics.median(times[name]), statistics.median(times[base])
        memory = f"{peaks[name] / 2**20:.0f} | {peaks[name] / peaks[base]:.2f}"
        print(f"| {name} | {median * 1e3:.0f} | {median / first:.2f} | {memory} |")


def peers() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return the losses of other libraries that are installed."""
    found: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
    import segmentation_models_pytorch as smp

    peer: nn.Module = smp.losses.DiceLoss("multiclass", ignore_index=255)
    found["smp Dice"] = peer
    found["smp Tversky"] = smp.losses.TverskyLoss("multiclass", ignore_index=255)
    found["smp Lovasz"] = smp.losses.LovaszLoss("multiclass", ignore_index=255)
    found["smp Focal"] = smp.losses.FocalLoss("multiclass", ignore_index=255)
    try:
        from monai.losses import DiceLoss, TverskyLoss
    except ImportError:
        print("MONAI is not installed: its Dice is left out")
    else:
        dice, tversky = (loss(to_onehot_y=True, softmax=True, batch=True) for loss in (DiceLoss, TverskyLoss))
        # It knows no ignored label: they count as class 0 here, for the sake of time and memory only.
        found["MONAI Dice"] = lambda x, t: dice(x, t.masked_fill(t == 255, 0).unsqueeze(1))
        found["MONAI Tversky"] = lambda x, t: tversky(x, t.masked_fill(t == 255, 0).unsqueeze(1))
    return found


if __name__ == "__main__":
    main()
