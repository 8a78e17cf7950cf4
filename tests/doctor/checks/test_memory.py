import pytest
import torch

from seg.doctor.checks.memory import memory
from seg.doctor.run import CHECKS
from seg.doctor.setup import Clock, Training
from seg.mixing import CutMix


def test_a_batch_that_does_not_fit_is_told(doctor, monkeypatch):
    assert doctor.only("memory").severity == "pass"
    monkeypatch.setattr("seg.doctor.checks.memory.free_bytes", lambda: 2**20)
    report = doctor.report("memory")
    assert report.findings[0].severity == "fail"
    assert "estimated" in report.findings[0].text
    monkeypatch.setattr("seg.doctor.checks.memory.free_bytes", lambda: None)
    assert doctor.only("memory").severity == "skip"


@pytest.mark.parametrize(
    ("tries", "severity", "said"),
    [(99, "pass", "a step of 5 fits"), (2, "skip", "a step of 2 fits, and there was no time for more")],
)
def test_on_a_gpu_mixed_batches_are_tried_and_too_little_time_is_no_failure(doctor, monkeypatch, tries, severity, said):
    class Small(Training):
        def step(self, batch, factor=1.0):
            if len(batch["image"]) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().step(batch, factor)

    def on_gpu(setup):
        setup.on_device, left = lambda batch: batch, iter([1.0] * tries)
        with monkeypatch.context() as patch:
            patch.setattr(type(setup.trainer.strategy), "root_device", property(lambda _: torch.device("cuda")))
            patch.setattr(Clock, "left", property(lambda _: next(left, 0.0)))
            patch.setattr("seg.doctor.checks.memory.Training", Small)
            yield from memory(setup)

    monkeypatch.setitem(CHECKS, "memory", ("", on_gpu))
    found = doctor.only("memory", mixing=CutMix())
    assert (found.severity, said in found.text) == (severity, True), found


def test_the_largest_size_is_found_by_doubling_and_halving():
    from seg.doctor.checks.memory import LARGEST, largest_that

    for limit in (0, 1, 2, 3, 7, 24, 100, LARGEST - 1, LARGEST):
        tried: list[int] = []
        assert largest_that(lambda size, limit=limit, tried=tried: tried.append(size) or size <= limit) == limit
        assert len(tried) <= 22
        assert len(set(tried)) == len(tried)
    assert largest_that(lambda size: True, lambda: False) == 0
