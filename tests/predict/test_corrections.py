"""What hands have made or corrected, in the loop of predicting, correcting and training again."""

import json
from pathlib import Path

import pytest

import seg
from seg.data import Labelme
from seg.predict import annotations, main, one
from tests.predict.conftest import photo


def corrected(path: Path) -> str:
    """Save a file as labelme does after a shape has been deleted."""
    held = json.loads(path.read_text())
    held["shapes"] = held["shapes"][1:]
    order = ["version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth", "seg"]
    path.write_text(json.dumps({key: held[key] for key in order}, ensure_ascii=False, indent=2))
    return path.read_text()


def test_what_a_hand_has_made_or_corrected_stays_and_the_rest_is_made_anew(workplace, checkpoint, capsys):
    for name in "abcd":
        photo(Path(f"photos/{name}.png"))
    Path("photos/d.json").write_text("by hand")
    command = [str(checkpoint), "photos", "--out", "photos", "--save", "labelme"]
    main(command)
    assert "1 labelme files were made or corrected by hand, and stay (photos/d.json)" in capsys.readouterr().out
    text = corrected(Path("photos/b.json"))
    same = Path("photos/c.json").read_text()
    Path("photos/c.json").write_text(same.rstrip("\n"))  # saved without a change, and so looked at
    main([*command, "--tolerance", "3"])
    assert "3 labelme files" in capsys.readouterr().out
    assert Path("photos/b.json").read_text() == text
    assert Path("photos/c.json").read_text() == same.rstrip("\n")
    assert Path("photos/d.json").read_text() == "by hand"
    assert not annotations.made_by_hand(Path("photos/a.json"))
    main([*command, "--overwrite"])
    assert not any(annotations.made_by_hand(Path(f"photos/{name}.json")) for name in "abcd")


def test_a_corrected_folder_is_trained_on_without_conversion(workplace, checkpoint, capsys):
    from tests.command import run, write_config

    for seed in range(4):
        photo(Path(f"photos/{seed}.png"), 64, 72, seed=seed)
    main([str(checkpoint), "photos", "--out", "photos", "--save", "labelme"])
    for path in sorted(Path("photos").glob("[0-9].json")):
        corrected(path)
    data = {"class_path": "seg.data.Labelme", "init_args": {"root": "photos", "num_workers": 0, "batch_size": 2}}
    config = write_config(Path("again.yaml"), Path("photos"), max_epochs=1)
    import yaml

    held = yaml.safe_load(config.read_text()) | {"data": data}
    config.write_text(yaml.safe_dump(held))
    run("--config", config)
    again = seg.load("runs/again/version_0/checkpoints/best.ckpt")
    assert again.network.class_names[1:] == seg.load(checkpoint).network.class_names[1:]


def test_predictions_that_nobody_has_saved_are_told_before_they_train_and_score_as_truth(workplace, checkpoint, caplog):
    from seg.doctor.labelme import examine
    from seg.doctor.quick import check

    for seed in range(4):
        photo(Path(f"photos/{seed}.png"), 64, 72, seed=seed)
    main([str(checkpoint), "photos", "--out", "photos", "--save", "labelme"])
    corrected(Path("photos/2.json"))
    data = Labelme(root="photos", num_workers=0)
    data.setup("fit")
    for _ in range(2):  # whether their files are known to be good or not
        caplog.clear()
        check(data)
        assert "3 of 4 annotations are predictions that nobody has saved since" in caplog.text
    (found,) = [finding for finding in examine(data) if "predicted" in finding.text]
    assert {Path(place.where).name for place in found.places} == {"0.json", "1.json", "3.json"}


@pytest.mark.parametrize("words", [[], ["--overwrite"]])
def test_a_correction_that_is_saved_while_the_run_goes_on_stays(workplace, checkpoint, capsys, monkeypatch, words):
    for name in "ab":
        photo(Path(f"photos/{name}.png"))
    command = [str(checkpoint), "photos", "--out", "photos", "--save", "labelme"]
    main(command)
    texts: list[str] = []
    asked = one.predicted

    def predicted(*arguments):
        if not texts:
            texts.append(corrected(Path("photos/a.json")))
        return asked(*arguments)

    monkeypatch.setattr(one, "predicted", predicted)
    capsys.readouterr()
    main([*command, "--tolerance", "3", *words])
    said = "1 labelme files were made or corrected by hand, and stay (photos/a.json)"
    assert (said in capsys.readouterr().out) == (not words)
    assert (Path("photos/a.json").read_text() == texts[0]) == (not words)
    assert not annotations.made_by_hand(Path("photos/b.json"))
    names = {".prediction.json", "a.json", "a.png", "b.json", "b.png", "labels.txt"}
    assert {path.name for path in Path("photos").iterdir()} == names


@pytest.mark.parametrize("given", ["photos", "photos/*.jpg"])
def test_the_loop_of_predicting_into_the_photos_folder_goes_round(workplace, checkpoint, capsys, given):
    photo(Path("photos/y.jpg"))
    for kinds in (
        ["labelme"],
        ["overlays", "labelme"],
        ["overlays", "labelme"],
        ["confidence"],
        ["ranking", "labelme"],
    ):
        main([str(checkpoint), given, "--out", "photos", "--save", *kinds])
        assert "1 of 1 images predicted" in capsys.readouterr().out
    found = {path.relative_to("photos").as_posix() for path in Path("photos").rglob("y.*")}
    assert found == {"y.jpg", "y.json", "overlays/y.png", "confidence/y.png"}


def test_the_ranking_leaves_out_what_a_hand_has_annotated(workplace, checkpoint, capsys):
    def ranked() -> set[str]:
        return {line.split(",")[0] for line in Path("photos/ranking.csv").read_text().splitlines()[1:]}

    for seed, name in enumerate("abc"):
        photo(Path(f"photos/{name}.jpg"), seed=seed)
    command = [str(checkpoint), "photos", "--out", "photos", "--save"]
    main([*command, "labelme", "ranking"])
    assert ranked() == {"photos/a.jpg", "photos/b.jpg", "photos/c.jpg"}
    corrected(Path("photos/b.json"))
    for kinds in (["ranking"], ["labelme", "ranking"]):
        capsys.readouterr()
        main([*command, *kinds])
        assert ranked() == {"photos/a.jpg", "photos/c.jpg"}
        said = capsys.readouterr().out
        assert "3 of them before" in said
        assert "1 images are annotated by hand, and left out of the ranking" in said
    main([*command, "labelme", "ranking", "--overwrite"])
    assert ranked() == {"photos/a.jpg", "photos/b.jpg", "photos/c.jpg"}
