"""Jobs of processes that were started from outside: by torchrun on two machines, by SLURM, again after a death."""

import csv
import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from seg import jobs, runs
from tests.command import REPOSITORY, assert_same_weights, write_config

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
NETWORK = "seg-test-"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def ip(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True)


@pytest.fixture
def machines():
    """Make two network namespaces with an address each and a cable between; skip where that is not permitted."""
    if not shutil.which("ip"):
        pytest.skip("there is no ip command here")
    names, ends = [f"{NETWORK}{index}" for index in (0, 1)], [f"seg{index}" for index in (0, 1)]
    try:
        for name in names:
            if (made := ip("netns", "add", name)).returncode:
                pytest.skip(f"network namespaces are not permitted here: {made.stderr.strip()}")
        if (made := ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])).returncode:
            pytest.skip(f"virtual cables are not permitted here: {made.stderr.strip()}")
        for index, (name, end) in enumerate(zip(names, ends, strict=True)):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "addr", "add", f"10.77.0.{index + 1}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [
            (["ip", "netns", "exec", name], f"10.77.0.{index + 1}", end)
            for index, (name, end) in enumerate(zip(names, ends, strict=True))
        ]
    finally:
        for end in ends:
            ip("link", "del", end)
        for name in names:
            ip("netns", "del", name)


def start(command: list[str], folder: Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
    )


def finish(*started: subprocess.Popen) -> list[str]:
    """Wait for processes to end well; return what each printed."""
    try:
        printed = [process.communicate(timeout=240)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert all(process.returncode == 0 for process in started), "\n=====\n".join(printed)
    return printed


def steps(folder: Path) -> list[int]:
    with (folder / "metrics.csv").open() as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]


SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NODELIST": "127.0.0.1",
    "SLURM_LOCALID": "0",
    "MASTER_ADDR": "127.0.0.1",
}


def launched(monkeypatch, **environment: str) -> jobs.Job | None:
    """Return the job of a process whose environment is that of a launcher."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_", "MASTER_")) or name.endswith("RANK") or name == "WORLD_SIZE":
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return jobs.current(num_nodes=2)


def test_a_process_knows_by_its_environment_who_started_it(monkeypatch):
    assert launched(monkeypatch) is None
    assert launched(monkeypatch, LOCAL_RANK="1", NODE_RANK="0", MASTER_ADDR="a", MASTER_PORT="1") is None  # Lightning
    by_hand = launched(monkeypatch, NODE_RANK="1", MASTER_ADDR="a", MASTER_PORT="1")
    assert by_hand == jobs.Job(1, 0, 1, 2, "a", 1, "", 0)
    slurm = launched(monkeypatch, **SLURM, SLURM_PROCID="1", SLURM_NODEID="1", SLURM_RESTART_COUNT="2")
    assert slurm == jobs.Job(1, 0, 1, 2, "127.0.0.1", 15000 + 4711, "slurm 4711", 2)
    alone = launched(monkeypatch, **{name: value for name, value in SLURM.items() if name != "SLURM_STEP_ID"})
    assert (alone.rank, alone.size, alone.identity) == (0, 1, "slurm 4711")
    ranks = {"RANK": "3", "LOCAL_RANK": "1", "GROUP_RANK": "1", "WORLD_SIZE": "4", "TORCHELASTIC_RESTART_COUNT": "1"}
    meeting = {"MASTER_ADDR": "a", "MASTER_PORT": "1"}
    monkeypatch.setattr(jobs, "_most_restarts", lambda job: job.restarts)
    named = launched(monkeypatch, **ranks, **meeting, TORCHELASTIC_RUN_ID="mine")
    assert named == jobs.Job(3, 1, 1, 4, "a", 1, "torchrun mine", 1)
    assert launched(monkeypatch, **ranks, **meeting, TORCHELASTIC_RUN_ID="none").identity == "torchrun a:1"


@pytest.fixture
def four(monkeypatch):
    """Return the jobs of four processes, two on each of two machines."""
    monkeypatch.setenv(runs.ENVIRONMENT, "")
    port = free_port()
    return [jobs.Job(rank, rank % 2, rank // 2, 4, "127.0.0.1", port, "slurm 1", 0) for rank in range(4)]


def in_each(job_list: list[jobs.Job], act) -> list:
    """Do something in the place of each process, the first one last."""
    with ThreadPoolExecutor(len(job_list)) as pool:
        others = [pool.submit(act, job) for job in job_list[1:]]
        time.sleep(0.2)
        first = pool.submit(act, job_list[0])
        return [waited.result(60) for waited in (first, *others)]


def test_the_first_process_chooses_the_run_folder_of_all(tmp_path, four):
    (tmp_path / "machine_0/tiny/version_6").mkdir(parents=True)
    folders = in_each(four, lambda job: runs.run_folder(None, tmp_path / f"machine_{job.machine}", "tiny", job))
    assert folders == [tmp_path / "machine_0/tiny/version_7"] * 4
    assert not (tmp_path / "machine_1").exists()


def test_a_process_of_a_job_does_not_take_the_folder_of_the_run_that_started_it(tmp_path, four, monkeypatch):
    monkeypatch.setenv(runs.ENVIRONMENT, "runs/of/another")
    monkeypatch.setenv("LOCAL_RANK", "1")
    folders = in_each(four, lambda job: runs.run_folder(None, tmp_path, "tiny", job))
    assert folders == [tmp_path / "tiny/version_0"] * 4


def test_a_restart_that_one_machine_counts_is_one_for_all(four):
    counted = [job._replace(restarts=job.machine) for job in four]
    assert in_each(counted, jobs._most_restarts) == [1, 1, 1, 1]


def test_a_process_that_trains_twice_agrees_twice(tmp_path, four):
    def twice(job: jobs.Job) -> list[Path]:
        return [runs.run_folder(None, tmp_path, name, job) for name in ("fold_1", "fold_2")]

    assert in_each(four, twice) == [[tmp_path / "fold_1/version_0", tmp_path / "fold_2/version_0"]] * 4


def test_one_process_of_each_machine_prepares_the_data_before_the_others(four):
    done = []

    def prepare(job: jobs.Job) -> None:
        with jobs.one_of_each_machine_first(job):
            if job.local_rank == 0:
                time.sleep(0.3)
            done.append((job.machine, job.local_rank))

    in_each(four, prepare)
    for machine in (0, 1):
        assert [local for at, local in done if at == machine] == [0, 1]


def test_a_failure_of_the_first_one_does_not_leave_the_others_waiting(four):
    def prepare(job: jobs.Job) -> str:
        try:
            with jobs.one_of_each_machine_first(job):
                raise ValueError("no such data")
        except ValueError as error:
            return str(error)

    assert in_each(four, prepare) == ["no such data"] * 4


def test_a_first_process_that_cannot_be_reached_is_named_with_the_cure(monkeypatch):
    monkeypatch.setattr(jobs, "TIMEOUT", timedelta(seconds=1))
    job = jobs.Job(1, 0, 1, 2, "127.0.0.1", free_port(), "", 0)
    with pytest.raises(ConnectionError, match=r"no word of the run folder .* 127\.0\.0\.1:\d+.*MASTER_ADDR"):
        runs.run_folder(None, Path("runs"), "tiny", job)


def test_a_job_that_is_started_again_goes_on_in_its_own_folder(workplace, capsys):
    job, root = jobs.Job(0, 0, 0, 1, "", 0, "slurm 12", 0), Path("runs")
    first = runs.run_folder(None, root, "tiny", job)
    other = runs.run_folder(None, root, "tiny", job._replace(identity="slurm 13"))
    again = job._replace(restarts=1)
    assert first != other
    # nothing was saved yet: the same folder, from the beginning
    assert runs.started_again(root, "tiny", again) is None
    assert runs.run_folder(None, root, "tiny", again) == first
    (first / "checkpoints").mkdir()
    for name in ("last-previous.ckpt", "last.ckpt"):  # the one before is enough
        (first / "checkpoints" / name).touch()
        assert runs.started_again(root, "tiny", again) == str(first / "checkpoints/last.ckpt")
        assert "going on from" in capsys.readouterr().out
    assert runs.started_again(root, "tiny", job) is None
    assert runs.run_folder(None, root, "tiny", job._replace(identity="slurm 14", restarts=3)) not in (first, other)


def test_a_run_folder_that_holds_a_mark_alone_is_taken_away(workplace):
    job = jobs.Job(0, 0, 0, 1, "", 0, "slurm 12", 0)
    folder = runs.run_folder(None, Path("runs"), "tiny", job)
    runs.forget(folder)
    assert not folder.exists()
    folder = runs.run_folder(None, Path("runs"), "tiny", job)
    (folder / "metrics.csv").touch()
    runs.forget(folder)
    assert (folder / runs.MARK).exists()


@pytest.mark.slow
def test_the_processes_that_slurm_starts_share_a_folder_and_go_on_after_a_requeue(workplace, shapes):
    write_config(workplace / "tiny.yaml", shapes, data={"batch_size": 2}, num_nodes=2, devices=1, max_epochs=1)
    command = [sys.executable, str(REPOSITORY / "train.py"), "--config", "tiny.yaml"]

    def together(*arguments: str, **environment: str) -> list[str]:
        environment |= {**SLURM, "MASTER_PORT": str(free_port())}
        places = ({"SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank)} for rank in (0, 1))
        return finish(*(start([*command, *arguments], workplace, **environment, **place) for place in places))

    together()
    printed = together("--trainer.max_epochs", "2", SLURM_RESTART_COUNT="1")
    assert "the job was started again" in printed[0]
    assert [path.name for path in (workplace / "runs/tiny").iterdir()] == ["version_0"]
    assert steps(workplace / "runs/tiny/version_0") == list(range(6))


@pytest.mark.slow
def test_two_machines_without_a_common_disk_train_into_one_folder_and_resume_from_it(workplace, shapes, machines):
    folders = [workplace / "first", workplace / "second"]
    script = str(REPOSITORY / "train.py")
    for folder in folders:
        folder.mkdir()
        shutil.copytree(shapes, folder / "shapes")
        write_config(folder / "tiny.yaml", Path("shapes"), data={"batch_size": 2}, num_nodes=2, devices=1)
    (folders[1] / "runs/tiny/version_0").mkdir(parents=True)  # the machines count differently

    def together(*arguments: str) -> list[str]:
        meeting = ["--master-addr", machines[0][1], "--master-port", str(free_port())]
        given, shared = ["--config", "tiny.yaml"], ["--nnodes", "2", "--nproc-per-node", "1", *meeting]
        return finish(
            *(
                start(
                    [*inside, *TORCHRUN, *shared, "--node-rank", str(rank), script, *given, *arguments],
                    folders[rank],
                    GLOO_SOCKET_IFNAME=card,
                )
                for rank, (inside, _, card) in enumerate(machines)
            )
        )

    printed = together()
    assert "test mIoU" in printed[0]
    assert "test mIoU" not in printed[1]
    assert {path.name for path in (folders[0] / "runs/tiny/version_0").iterdir()} >= {"metrics.csv", "checkpoints"}
    assert not list((folders[1] / "runs/tiny/version_0").iterdir())
    assert steps(folders[0] / "runs/tiny/version_0") == list(range(6))

    printed = together("--ckpt_path", "last", "--trainer.max_epochs", "3")
    assert [path.name for path in (folders[0] / "runs/tiny").iterdir()] == ["version_0"]
    assert steps(folders[0] / "runs/tiny/version_0") == list(range(9))
    assert not list((folders[1] / "runs/tiny/version_0").iterdir())


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_the_run_ends_as_if_nothing_had_happened(workplace, shapes):
    options = {"data": {"batch_size": 2}, "devices": 2, "max_epochs": 3}
    config = write_config(workplace / "tiny.yaml", shapes, **options)
    command = [*TORCHRUN, "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    command += [str(REPOSITORY / "train.py"), "--config", str(config)]
    kill = "[{class_path: tests.stopping.KillWorker, init_args: {step: 5}}]"
    # without it the second attempt may read the first one's addresses: https://github.com/pytorch/pytorch/issues/135712
    afresh = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    finish(start(command, workplace))
    (printed,) = finish(start([*command, "--trainer.callbacks", kill], workplace, **afresh))
    whole, killed = (workplace / "runs/tiny" / f"version_{number}" for number in (0, 1))
    assert f"the job was started again: going on from {killed.relative_to(workplace)}/checkpoints/last.ckpt" in printed
    assert sorted(path.name for path in (workplace / "runs/tiny").iterdir()) == ["version_0", "version_1"]
    assert steps(killed) == list(range(9))
    assert_same_weights(whole / "checkpoints/last.ckpt", killed / "checkpoints/last.ckpt")
