"""What `seg.guard.Guard` costs: its share of the time of a training step, measured inside the same steps.

    python benchmarks/guard.py [--device cuda] [--net seg.models.UNet] [--size 480 360] [--batch 8]

On a GPU the time is that of the calling process, in which waiting for the device counts as the guard's.
"""

import argparse
import importlib
import time
from types import SimpleNamespace

import torch

from seg.guard import Guard
from seg.losses import CrossEntropy


def main() -> None:
    """Print milliseconds a step with and without, in alternating rounds, and the share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--net", default="seg.models.UNet")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of a round")
    options = parser.parse_args()
    module, _, name = options.net.rpartition(".")
    net = getattr(importlib.import_module(module), name)(num_classes=11).to(options.device).train()
    optimizer, loss = torch.optim.AdamW(net.parameters()), CrossEntropy()
    images = torch.randn(options.batch, 3, *options.size, device=options.device)
    target = torch.randint(11, (options.batch, *options.size), device=options.device)
    guard, task = Guard(), SimpleNamespace(net=net, device=torch.device(options.device))
    trainer = SimpleNamespace(
        accumulate_grad_batches=1, world_size=1, precision_plugin=None, global_step=0, is_global_zero=True
    )
    inside = 0.0

    def timed(hook: str, *arguments: object) -> None:
        nonlocal inside
        begin = time.perf_counter()
        getattr(guard, hook)(trainer, task, *arguments)
        inside += time.perf_counter() - begin

    def step(guarded: bool) -> None:
        if guarded:
            timed("on_train_batch_start", {"image": images}, 0)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(options.device, torch.bfloat16):
            output = net(images)
        value = loss(output[0] if isinstance(output, tuple) else output, target)
        if guarded:
            timed("on_before_backward", value)
        value.backward()
        if guarded:
            timed("on_before_optimizer_step", optimizer)
        optimizer.step()

    def measure(guarded: bool) -> float:
        begin = time.perf_counter()
        for _ in range(options.steps):
            step(guarded)
        if options.device.startswith("cuda"):
            torch.cuda.synchronize()
        return (time.perf_counter() - begin) / options.steps

    guard.on_train_start(trainer, task)
    measure(True)
    inside = 0.0
    rounds = [(measure(False), measure(True)) for _ in range(options.rounds)]
    without, guarded = (min(times) * 1e3 for times in zip(*rounds, strict=True))
    hooks = inside * 1e3 / (options.rounds * options.steps)
    print(f"{options.net} on {options.device}: {without:.2f} ms a step without, {guarded:.2f} with")
    print(f"inside the hooks {hooks:.3f} ms, {hooks / guarded:.2%} of a step")


if __name__ == "__main__":
    main()
