"""Draw images of a data set with their masks, and predictions beside them: the pictures of the documentation.

    python docs/pictures.py --config labelme_unet --data.root photos
    python docs/pictures.py --config labelme_unet --data.root photos --checkpoint best.ckpt

Nothing is committed: whoever wants the pictures draws them from data of their own, into --out.
"""

import argparse
from pathlib import Path

from seg import draw
from seg.doctor.configured import configured
from seg.errors import told
from seg.loading import load


def main() -> None:
    """Draw images of the validation split, a file each: image, mask and overlay, or truth, prediction and errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="of a run on this data: predict, too")
    parser.add_argument("--number", type=int, default=6, help="how many images")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder for the pictures")
    options, settings = parser.parse_known_args()
    told(lambda: pictures(options.checkpoint, options.number, options.out, settings))


def pictures(checkpoint: Path | None, number: int, out: Path, settings: list[str]) -> None:
    """Write the pictures of the data set that the settings, as those of train.py, describe."""
    data, _, name = configured(settings)
    data.setup("validate")
    dataset = data.datasets["val"]
    predictor = load(checkpoint) if checkpoint else None
    for pair in dataset.pairs[:number]:
        image, mask = dataset.reader.both(pair, dataset.labels)
        shown = (None, mask) if predictor is None else (mask, predictor.labels(image))
        path = out / f"{name}_{pair.id.replace('/', '_')}.png"
        caption = "mask" if predictor is None else "prediction"
        draw.save(path, draw.example(image, *shown, data.class_names, data.class_colors, pair.id, caption))
        print(path)


if __name__ == "__main__":
    main()
