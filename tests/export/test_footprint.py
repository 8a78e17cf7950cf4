import sys
from types import SimpleNamespace

import pytest
import torch

from seg.export import footprint


class Gpu:
    """A GPU of 1000 bytes: what torch has reserved of it, and what others have taken."""

    def __init__(self):
        self.reserved, self.peak, self.others = 0, 0, 50

    def reserve(self, number):
        self.reserved = number
        self.peak = max(self.peak, number)


@pytest.mark.parametrize(("network", "expected"), [("torch", 300), ("runtime", 200)])
def test_on_a_gpu_its_own_memory_is_told_whoever_takes_it(monkeypatch, capsys, network, expected):
    gpu, calls = Gpu(), []

    def run(path, device, shape):
        calls.append(shape)
        if len(calls) == 1:
            gpu.reserve(900)  # what was taken to warm up does not count
        elif network == "torch":
            gpu.reserve(400)
            gpu.reserve(150)
        else:
            gpu.others += 200
        return SimpleNamespace()

    monkeypatch.setattr(footprint, "run", run)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: gpu.reserve(100))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: setattr(gpu, "peak", gpu.reserved))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000 - gpu.reserved - gpu.others, 1000))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: gpu.peak)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: gpu.reserved)
    monkeypatch.setattr(sys, "argv", ["footprint", "model.pt2", "cuda:0", "[1, 3, 640, 480]"])
    footprint.main()
    assert capsys.readouterr().out == f"{expected}\n"
