import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from seg.models.blocks import BatchNorm2d
from seg.trainer import SyncBatchNorm
from tests.test_jobs import free_port


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), BatchNorm2d(4))


def images() -> torch.Tensor:
    """Return four images whose halves have very different statistics."""
    drawn = torch.randn(4, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    drawn[2:] = 3 * drawn[2:] + 5
    return drawn


def half(rank: int, port: int, folder: str) -> None:
    """Compute one half of the images in one of two processes on one GPU."""
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    net = DistributedDataParallel(SyncBatchNorm().apply(network()).cuda())
    result = net(images()[2 * rank : 2 * rank + 2].cuda())
    result.square().mean().backward()
    kept = {"result": result.detach(), **net.module.state_dict()}
    kept |= {f"{name}.grad": value.grad for name, value in net.module.named_parameters()}
    torch.save({name: value.cpu() for name, value in kept.items()}, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch shares batch statistics between GPU processes only")
@pytest.mark.slow
def test_two_processes_on_one_gpu_have_the_batch_statistics_of_the_double_batch(tmp_path):
    spawn(half, (free_port(), str(tmp_path)), nprocs=2)
    net = network()
    result = net(images())
    result.square().mean().backward()
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([found["result"] for found in halves]), result.detach(), rtol=1e-4, atol=1e-4)
    expected = {**net.state_dict(), **{f"{name}.grad": value.grad for name, value in net.named_parameters()}}
    for found in halves:
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: name + text
            )
