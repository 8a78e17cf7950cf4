"""The notebooks run from top to bottom in an empty folder; git holds them without outputs."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from seg.provenance import dataset
from tests.command import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
QUICK = "01_look_at_data"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=() if path.stem == QUICK else pytest.mark.slow) for path in NOTEBOOKS],
)
def test_a_notebook_runs_from_top_to_bottom_and_shows_pictures(path, tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(path, folder)
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    shown = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(shown) >= 4
    assert not list(Path(folder).glob("*/")), "what a notebook writes lies where the command line writes it"


def cell(notebook: str, part: str) -> str:
    """Return the code cell of a notebook that holds a text."""
    content = json.loads((REPOSITORY / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))
    [source] = ["".join(cell["source"]) for cell in content["cells"] if part in "".join(cell["source"])]
    return source


def make_run(
    root: Path | str, version: int, fingerprint: str = "", parts=("checkpoints/best.ckpt", "records/test.json")
):
    """Make a run folder with empty files."""
    folder = Path(root, f"version_{version}")
    for part in parts:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).touch()
    (folder / "provenance.json").write_text(json.dumps({"dataset.fingerprint": fingerprint}))


def test_notebooks_take_the_newest_run_that_has_ended(workplace):
    def no_training(*arguments):
        raise AssertionError(f"trained: {arguments}")

    roots = ["runs/shapes_unet", "runs/compare/cross-entropy/shapes_unet", "runs/compare/Dice/shapes_unet"]
    for root in roots:
        for version in (9, 10):
            make_run(root, version)
        make_run(root, 11, parts=["checkpoints/best.ckpt"])  # still training, or killed
        make_run(root, 8)  # the last to be written
    names = {"Path": Path, "seg_command": no_training}
    exec(cell("02_look_at_predictions", "def run_of"), names)
    assert names["folder"] == Path(roots[0], "version_10")
    exec(cell("03_compare_runs", "losses = {"), names)
    assert list(names["folders"].values()) == [Path(root, "version_10") for root in roots[1:]]


def test_a_network_of_other_photos_is_not_taken_for_ones_own(workplace):
    def photos(*names):
        pairs = [SimpleNamespace(id=name) for name in names]
        return SimpleNamespace(
            datasets={"train": SimpleNamespace(pairs=pairs, reader=SimpleNamespace(files=lambda _: []))}
        )

    def train(*arguments):
        trained.append(arguments)
        make_run("runs/labelme_unet", len(trained), dataset(data)["fingerprint"])

    data, trained = photos("own"), []
    make_run("runs/labelme_unet", 0, dataset(photos("demo"))["fingerprint"])
    names = {"Path": Path, "seg_command": train, "photos": Path("own"), "data": data}
    for _ in range(2):
        exec(cell("04_your_own_labelme_data", "def trained"), names)
        assert names["checkpoint"] == Path("runs/labelme_unet/version_1/checkpoints/best.ckpt")
    assert len(trained) == 1
    data = names["data"] = photos("own", "added")
    exec(cell("04_your_own_labelme_data", "def trained"), names)
    assert names["checkpoint"].parent.parent.name == "version_2"
