import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg.infer import Predictor
from seg.predict import main, run
from seg.predict.room import Room
from tests.predict.conftest import photo


def test_whoever_comes_waits_until_those_that_are_there_hold_less_than_the_limit():
    room, order = Room(100), []
    for number, size in enumerate((60, 70)):
        room.wait()
        room.take(Path(str(number)), size)

    def third():
        room.wait()
        order.append("in")

    thread = threading.Thread(target=third, daemon=True)
    thread.start()
    room.take(Path("0"), 65)
    time.sleep(0.05)
    order.append("leaves")
    room.leave(Path("1"))
    thread.join(10)
    assert order == ["leaves", "in"]
    room.take(Path("2"), 1000)
    room.open()
    room.wait()


@pytest.mark.parametrize(("limit", "most"), [(1, 2), (1 << 28, 99)])
def test_large_images_are_in_memory_one_after_the_other_however_slow_the_writing(
    workplace, checkpoint, monkeypatch, limit, most
):
    """Two at most: one, and for a moment its successor, which is read once the writer has let the first go."""
    for seed in range(8):
        photo(Path(f"photos/{seed}.png"), 96, 128, seed=seed)
    read, finish, alive, counts = Predictor.read, run.finish, [], []

    def reading(self, path):
        image = read(self, path)
        alive.append(weakref.ref(image))
        counts.append(sum(reference() is not None for reference in alive))
        return image

    def slowly(*arguments):
        time.sleep(0.05)
        return finish(*arguments)

    monkeypatch.setattr(Predictor, "read", reading)
    monkeypatch.setattr(run, "finish", slowly)
    monkeypatch.setattr(run, "IN_MEMORY", limit)
    main([str(checkpoint), "photos", "--out", "out", "--device", "cpu", "--save", "overlays"])
    assert len(list(Path("out/overlays").iterdir())) == 8
    assert max(counts) <= most
    assert limit == 1 or max(counts) > 2


def test_images_that_fail_make_room_and_an_interruption_does_not_hang(workplace, checkpoint, monkeypatch, capsys):
    for seed in range(6):
        photo(Path(f"photos/{seed}.png"), seed=seed)
    Path("photos/3.png").write_bytes(b"nothing")
    monkeypatch.setattr(run, "IN_MEMORY", 1)
    with pytest.raises(SystemExit):
        main([str(checkpoint), "photos", "--out", "out", "--device", "cpu"])
    assert "5 of 6 images" in capsys.readouterr().out

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("seg.predict.one.predicted", interrupted)
    with pytest.raises(SystemExit) as ended:
        main([str(checkpoint), "photos", "--out", "again", "--device", "cpu"])
    assert ended.value.code == 130
    assert "stopped: files that were finished stay" in capsys.readouterr().err


def test_probabilities_of_images_of_which_no_file_is_written_go_to_a_file_too(workplace, checkpoint, monkeypatch):
    monkeypatch.setattr("seg.predict.one.IN_MEMORY", 1000)
    held, finish = [], run.finish

    def watched(job, result, *rest):
        held.append(result.probabilities)
        assert result.probabilities.is_file()
        return finish(job, result, *rest)

    monkeypatch.setattr(run, "finish", watched)
    for folder in ("a", "b"):
        photo(Path(folder) / "x.png")
    tidied = ["--save", "areas", "--smallest-region", "9", "--device", "cpu"]
    main([str(checkpoint), "a", "--out", "out", *tidied])
    main([str(checkpoint), "b", "--out", "out", *tidied])
    assert len(held) == len(set(held)) == 2
    assert sorted(path.name for path in Path("out").iterdir()) == [".prediction.json", "areas.csv"]


def test_images_that_memory_is_too_small_for_as_a_whole_are_listed(workplace, checkpoint, monkeypatch, capsys):
    monkeypatch.setattr("seg.infer.free_memory", lambda device: 1e6)
    photo(Path("photos/small.png"))
    Image.fromarray(np.zeros((40, 600, 3), np.uint8)).save("photos/large.png")
    main([str(checkpoint), "photos", "--out", "out", "--save", "masks", "--device", "cpu"])
    said = capsys.readouterr().out
    assert "cut into tiles of 512 pixels: photos/large.png;" in said
    main([str(checkpoint), "photos", "--out", "other", "--save", "masks", "--device", "cpu", "--whole"])
    assert "cut into" not in capsys.readouterr().out
