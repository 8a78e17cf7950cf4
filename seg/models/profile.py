"""What a network costs: parameters, multiplications, memory and time of a training step."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode


def parameters(net: nn.Module) -> int:
    """Return the number of values that a network learns or could learn."""
    return sum(parameter.numel() for parameter in net.parameters())


def gmacs(net: nn.Module, size: tuple[int, int]) -> float:
    """Return the 10⁹ multiply-accumulates of one image of `size` (height, width), half of torch's count of FLOPs.

    Counts convolutions and matrix products, of what the network does compute: one that pads images to a multiple of its
    stride is charged for the padded size. Runs on the meta device, where nothing is computed.
    """
    tensors = [*net.named_parameters(), *net.named_buffers()]
    state = {name: torch.empty_like(value, device="meta") for name, value in tensors}
    images = torch.empty(1, input_channels(net), *size, device="meta")
    with evaluating(net), torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(net, state, (images,))
    return float(counter.get_total_flops()) / 2e9


class TrainingStep:
    """One step of training on noise: forward, cross-entropy, backward, AdamW.

    Args:
        net: network from images (B, N, H, W) to logits, in training possibly (logits, [auxiliary logits]); is trained.
        size: height and width of the images in pixels.
        batch: number of images.
        classes: number of classes.
        dtype: number format; other than float32, by autocast.
        channels_last: keep the network and the images in the channels-last layout.

    """

    def __init__(
        self,
        net: nn.Module,
        size: tuple[int, int],
        batch: int,
        classes: int,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = True,
    ) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.net = net.train().to(memory_format=layout)  # type: ignore[call-overload]
        self.device = next(net.parameters()).device
        self.dtype = dtype
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(batch, input_channels(net), *size, generator=generator)
        self.images = images.to(self.device).contiguous(memory_format=layout)
        self.target = torch.randint(0, classes, (batch, *size), generator=generator).to(self.device)
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def run(self) -> None:
        """Train one step, and wait for it."""
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            output = self.net(self.images)
        outputs = [output[0], *output[1]] if isinstance(output, tuple) else [output]
        losses = [F.cross_entropy(self.enlarged(logits).float(), self.target) for logits in outputs]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def enlarged(self, logits: Tensor) -> Tensor:
        """Return logits (B, C, h, w) at the size of the target: auxiliary ones may be smaller."""
        if logits.shape[-2:] == self.target.shape[-2:]:
            return logits
        return F.interpolate(logits.float(), self.target.shape[-2:], mode="bilinear", align_corners=False)

    def seconds(self, steps: int = 3) -> float:
        """Return the median duration of some steps; run one beforehand, which is slower than all others."""
        durations = []
        for _ in range(steps):
            start = time.perf_counter()
            self.run()
            durations.append(time.perf_counter() - start)
        return statistics.median(durations)

    def peak_bytes(self) -> int:
        """Return the most memory that tensors hold at one moment of a step: weights, gradients, optimiser, activations.

        On a GPU as its allocator counts; elsewhere what is held before the step plus torch's record of allocations. Run
        a step beforehand: the optimiser's state is made by the first one.
        """
        self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.run()
            return torch.cuda.max_memory_allocated(self.device)
        held = [*self.net.parameters(), *self.net.buffers(), self.images, self.target]
        held += [value for state in self.optimizer.state.values() for value in state.values() if _is_tensor(value)]
        return peak_allocated(self.run) + sum(value.nbytes for value in held)


def peak_allocated(run: Callable[[], object]) -> int:
    """Return the most bytes that what runs on the CPU holds at one moment, beyond what was held before."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports its starts, and a GPU that is not there, otherwise
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def free_bytes() -> int | None:
    """Return the memory that processes can still have, None where the system (other than Linux) does not tell.

    Inside a container its own limit counts, less what is in use and cannot be dropped.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            used = int((group / "memory.current").read_text(encoding="ascii"))
            stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
            free = min(free, int(limit) - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):
        pass
    return max(0, free)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def input_channels(net: nn.Module) -> int:
    """Return the channels of the images that a network takes: its `in_channels`, or its first convolution's."""
    known = getattr(net, "in_channels", None)
    if isinstance(known, int):
        return known
    return next((module.in_channels for module in net.modules() if isinstance(module, nn.Conv2d)), 3)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode, and each of its modules back into its own mode afterwards."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
