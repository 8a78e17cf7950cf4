"""Converting many files: parallel, whole or not at all, and going on where a run stopped."""

import os
import time
from pathlib import Path

import pytest

from seg.convert.batch import Job, Skip, convert_all
from seg.files import replacing


def shout(job: Job) -> list[str]:
    text = job.inputs[0].read_text()
    if text == "nothing":
        raise Skip("it is empty")
    if text == "bad":
        raise ValueError("it is bad")
    with replacing(job.targets[0]) as temporary:
        temporary.write_text(text.upper() + (job.data or ""))
    return ["was short"] if len(text) < 3 else []


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    (tmp_path / "in").mkdir()
    made = []
    for name, text in {"a": "word", "b": "nothing", "c": "bad", "d": "hi", "e": "other"}.items():
        source = tmp_path / "in" / f"{name}.txt"
        source.write_text(text)
        os.utime(source, (1e9, 1e9))
        made.append(Job((source,), (tmp_path / "out" / f"{name}.up",)))
    return made


@pytest.mark.parametrize("workers", [1, 2])
def test_good_files_are_written_and_the_others_named_with_the_reason(jobs, tmp_path, workers):
    summary = convert_all(jobs, shout, tmp_path / "out", workers=workers)
    assert [path.stem for path in summary.written] == ["a", "d", "e"]
    assert (tmp_path / "out/a.up").read_text() == "WORD"
    assert sorted(path.name for path in (tmp_path / "out").glob("*.up")) == ["a.up", "d.up", "e.up"]
    assert summary.text("files").splitlines() == [
        "3 files written, 1 left out, 1 failed",
        f"note: {jobs[3].inputs[0]}: was short",
        f"left out: {jobs[1].inputs[0]}: it is empty",
        f"failed: {jobs[2].inputs[0]}: it is bad",
    ]


def test_what_is_done_is_kept_until_its_input_or_a_setting_changes(jobs, tmp_path):
    out = tmp_path / "out"
    convert_all(jobs, shout, out, {"tolerance": 1}, workers=1)
    again = convert_all(jobs, shout, out, {"tolerance": 1}, workers=1)
    assert [path.stem for path in again.done] == ["a", "d", "e"]
    assert not again.written

    jobs[0].inputs[0].write_text("newer")
    os.utime(jobs[0].inputs[0], (time.time() + 5, time.time() + 5))
    assert [path.stem for path in convert_all(jobs, shout, out, {"tolerance": 1}, workers=1).written] == ["a"]
    assert len(convert_all(jobs, shout, out, {"tolerance": 2}, workers=1).written) == 3
    assert len(convert_all(jobs, shout, out, {"tolerance": 2}, workers=1, overwrite=True).written) == 3


def test_a_run_that_stops_after_a_change_of_settings_leaves_nothing_that_passes_for_done(jobs, tmp_path):
    convert_all(jobs, shout, tmp_path / "out", 1, workers=1)
    convert_all(jobs[:1], shout, tmp_path / "out", 2, workers=1)  # as if stopped after the first file
    rest = convert_all(jobs, shout, tmp_path / "out", 2, workers=1)
    assert [path.stem for path in rest.written] == ["d", "e"]
    assert [path.stem for path in rest.done] == ["a"]


def test_two_files_for_one_target_and_a_target_that_is_read_are_refused(jobs, tmp_path):
    twin = Job(jobs[4].inputs, jobs[0].targets)
    with pytest.raises(ValueError, match=r"a\.txt and .*e\.txt would both be written as .*a\.up"):
        convert_all([jobs[0], twin], shout, tmp_path / "out")
    with pytest.raises(ValueError, match="would replace a file that is read"):
        convert_all([Job(jobs[0].inputs, jobs[1].inputs), jobs[1]], shout, tmp_path / "in")
