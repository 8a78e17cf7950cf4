"""The processes of a job that torchrun, SLURM or a person on each machine has started: what they agree on beforehand.

Lightning connects the processes when training starts. Run folder and checkpoint are chosen before, by the first process
alone, for machines share neither a clock nor always a file system. It tells the others through the store that the
processes meet at anyway (MASTER_ADDR, MASTER_PORT). Processes that Lightning itself starts inherit the environment.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

from torch import distributed

TIMEOUT = timedelta(minutes=60)
"""How long processes wait for the first one, which may have a data set to fetch."""

_asked: Counter[tuple["Job", str]] = Counter()


class Job(NamedTuple):
    """A process's place in a job of several.

    Args:
        rank: its number among all processes that were started from outside; 0 decides.
        local_rank: its number on its machine.
        machine: the number of its machine.
        size: how many there are.
        address: where the first process is reached.
        port: where the first process is reached.
        identity: what stays the same when the job is started again, or "" where nothing starts it again.
        restarts: how often it has been started again.

    """

    rank: int
    local_rank: int
    machine: int
    size: int
    address: str
    port: int
    identity: str
    restarts: int


def current(num_nodes: int = 1) -> Job | None:
    """Return the job that this process was started for, or None where it was started alone or by Lightning.

    Args:
        num_nodes: machines that train together, as the Trainer is told.

    """
    environment = os.environ
    if distributed.is_available() and distributed.is_torchelastic_launched():
        address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        named = environment["TORCHELASTIC_RUN_ID"]
        job = Job(
            int(environment["RANK"]),
            int(environment["LOCAL_RANK"]),
            int(environment["GROUP_RANK"]),
            int(environment["WORLD_SIZE"]),
            address,
            port,
            f"torchrun {named if named != 'none' else f'{address}:{port}'}",
            int(environment.get("TORCHELASTIC_RESTART_COUNT", 0)),
        )
        return job._replace(restarts=_most_restarts(job))
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    if SLURMEnvironment.detect():
        slurm = SLURMEnvironment()
        identity, restarts = f"slurm {environment['SLURM_JOB_ID']}", int(environment.get("SLURM_RESTART_COUNT", 0))
        if (
            "SLURM_STEP_ID" not in environment
        ):  # in the script itself, without srun: one process, however many it may be
            return Job(0, 0, 0, 1, "", 0, identity, restarts)
        return Job(
            slurm.global_rank(),
            slurm.local_rank(),
            slurm.node_rank(),
            slurm.world_size(),
            slurm.main_address,
            slurm.main_port,
            identity,
            restarts,
        )
    if num_nodes > 1 and "LOCAL_RANK" not in environment and {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        machine = int(environment.get("NODE_RANK", environment.get("GROUP_RANK", 0)))
        return Job(machine, 0, machine, num_nodes, environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), "", 0)
    return None


@cache
def _most_restarts(job: Job) -> int:
    """Return the most restarts that a process of the job has seen: torchrun counts only those of the own machine."""
    if job.size == 1:
        return job.restarts
    store = _store(job)
    store.set(f"seg/restarts of {job.rank}", str(job.restarts))
    if job.rank == 0:
        most = max(int(store.get(f"seg/restarts of {rank}")) for rank in range(job.size))
        store.set("seg/restarts", str(most))
        return most
    # where torchrun keeps its store, it holds what was said before: never fewer than one's own
    return max(job.restarts, int(store.get("seg/restarts")))


def _store(job: Job) -> Any:
    return _connected(job.address, job.port, job.rank == 0)


@cache  # for the life of the process: the first one serves the store, which Lightning then uses as well
def _connected(address: str, port: int, first: bool) -> Any:
    from_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return distributed.TCPStore(  # type: ignore[attr-defined]
        address,
        port,
        is_master=first and not from_agent,
        wait_for_workers=False,
        multi_tenant=True,
        timeout=TIMEOUT,
    )


def agree(job: Job | None, what: str, decide: Callable[[], str]) -> str:
    """Return what the first process of a job decides, in all of them.

    Raises:
        ConnectionError: the first process cannot be reached, or has ended.

    """
    if job is None or job.size == 1:
        return decide()
    _asked[job, what] += 1  # a process that trains several times asks anew each time
    key = f"seg/{job.restarts}/{what}/{_asked[job, what]}"
    decided = decide() if job.rank == 0 else ""
    try:
        if job.rank == 0:
            _store(job).set(key, decided)
            return decided
        return str(_store(job).get(key).decode())
    except RuntimeError as error:
        raise ConnectionError(
            f"no word of the {what} from the first process of this job at {job.address}:{job.port}: it has ended, and "
            f"its own output tells why, or MASTER_ADDR and MASTER_PORT do not lead there ({error})"
        ) from error


@contextmanager
def one_of_each_machine_first(job: Job | None) -> Iterator[None]:
    """Let the first process of each machine do something before the others of the machine do it, such as a download."""
    if job is None or job.size == 1:
        yield
        return
    _asked[job, "machine"] += 1
    key = f"seg/{job.restarts}/machine {job.machine}/{_asked[job, 'machine']}"
    if job.local_rank:
        try:
            _store(job).wait([key], TIMEOUT)
        except RuntimeError as error:
            raise ConnectionError(
                f"no word from the first process of this machine, which prepares the data: {error}"
            ) from error
    try:
        yield
    finally:
        if not job.local_rank:  # after an error too: the others then meet it themselves
            with suppress(RuntimeError):  # the first process of all may be gone: that is told elsewhere
                _store(job).set(key, "done")
