"""Predicting many files: read ahead, predicted, and written behind, so that the network hardly ever waits."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from seg.predict.inputs import remark
from seg.predict.kinds import KINDS, Annotating, ByHand, folder_of, refuse_other_classes
from seg.predict.plan import Job, jobs_of, labels_folder, outputs_of
from seg.predict.report import Report
from seg.predict.state import Made
from seg.predict.tables import TABLES, Row, read_table, rows_of, write_table

if TYPE_CHECKING:
    import numpy as np

    from seg.infer import Predictor
    from seg.predict.kinds import Predicted

AHEAD, BEHIND = 3, 4
"""Images that are read before they are predicted, and that wait to be written, at most."""
IN_MEMORY = 1 << 28
"""Bytes of images and of what was predicted of them from which on no other image is read."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Tidying(NamedTuple):
    """What is done to labels after prediction: regions of fewer pixels removed, holes up to some filled; 0 for none."""

    smallest_region: int = 0
    largest_hole: int = 0


def predict_files(
    checkpoint: Path,
    inputs: list[Path],
    out: Path,
    device: str = "auto",
    precision: str | None = None,
    save: Sequence[str] = ("masks", "overlays"),
    tile: int | None = None,
    overlap: float = 0.25,
    margin: int | None = None,
    batch_size: int | None = None,
    whole: bool = False,
    tta: str = "none",
    scales: Sequence[float] = (1.0,),
    smallest_region: int = 0,
    fill_holes: int = 0,
    tolerance: float = 1.0,
    uncertain_below: float = 0.7,
    embed: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Write what is wanted of every image's prediction; return a line for each file that could not be predicted.

    Args:
        checkpoint: a checkpoint of `seg`, or an exported network.
        inputs: see `images_in`.
        out: folder to write to, see `target_of`.
        device: where to compute, `auto` for a GPU where there is one.
        precision: number format; that of the training run where not given.
        save: what is written, of `KINDS` and `TABLES`.
        tile: see `Predictor`, as are overlap, margin, batch_size, whole and scales.
        overlap: share of a tile that its neighbour covers too.
        margin: pixels at a tile's inner edges that do not count.
        batch_size: tiles that the network sees at once.
        whole: never cut an image.
        tta: mirror images to average over, of `seg.tta.FLIPS`.
        scales: sizes to average over.
        smallest_region: regions of fewer pixels take the label of their surroundings.
        fill_holes: holes of up to so many pixels take the label around them.
        tolerance: pixels that labelme's outlines may move.
        uncertain_below: mean confidence below which labelme's shapes and images are flagged.
        embed: put images into labelme's files.
        overwrite: make again what is done, also labelme files that were made or corrected by hand. Whatever else is no
            output of `seg predict` is never replaced.

    Raises:
        FileNotFoundError: the checkpoint or an input does not exist, or there is no image in the inputs.
        ValueError: two images would be written to the same file, or one to a file that this did not write, the
            checkpoint is not one of `seg`, what is to be saved does not go with its classes, or a setting that cannot
            be.

    """
    if min(smallest_region, fill_holes) < 0:
        raise ValueError("--smallest-region, --fill-holes: numbers of pixels, 0 or more, are expected")
    if not 0 <= uncertain_below <= 1:
        raise ValueError(f"--uncertain-below {uncertain_below}: a confidence from 0 to 1 is expected")
    names = outputs_of(inputs, out, save)
    from seg.convert.outlines import check_tolerance
    from seg.infer import NO_PROBABILITIES
    from seg.loading import load
    from seg.predict.annotations import write_labels

    check_tolerance(tolerance)
    predictor = load(
        checkpoint,
        device,
        precision,
        tile=tile,
        overlap=overlap,
        margin=margin,
        batch_size=batch_size,
        whole=whole,
        flips=tta,
        scales=scales,
    )
    if "cityscapes" in save:
        refuse_other_classes(checkpoint, predictor.network.class_names)
    needing = [
        f"--save {kind}" for kind in save if kind == "ranking" or (kind in KINDS and KINDS[kind].needs - {"visible"})
    ]
    needing += ["--smallest-region"] * (smallest_region > 1)
    if needing and not predictor.has_probabilities:
        raise ValueError(f"{needing[0]}: {checkpoint}: {NO_PROBABILITIES}")
    annotating, tidying = Annotating(tolerance, uncertain_below, embed, overwrite), Tidying(smallest_region, fill_holes)
    common = [str(checkpoint.resolve()), checkpoint.stat().st_mtime_ns, str(precision)]
    common += [tile, overlap, margin, whole, tta, list(scales), list(tidying)]
    own = {"labelme": [tolerance, uncertain_below, embed], "ranking": [uncertain_below]}
    made = Made(out, {kind: [*common, own.get(kind)] for kind in save})
    report = Report(rows={kind: read_table(out / f"{kind}.csv", kind) for kind in TABLES if kind in save})
    jobs = list(jobs_of(names, out, save, made, overwrite, report))
    try:
        made.start()
    except OSError as error:
        raise ValueError(f"--out {out}: cannot be written there ({error.strerror or error})") from error
    try:
        _run(jobs, predictor, annotating, tidying, made, report)
    finally:
        if "labelme" in save and (said := write_labels(labels_folder(names, out), predictor.network.class_names)):
            report.notes.append(said)
        _write_tables(out, made, report)
        made.close()
    folders = {kind: folder_of(kind, out) for kind in KINDS if kind in save} | {
        kind: out / f"{kind}.csv" for kind in TABLES if kind in save
    }
    if "labelme" in save:
        folders["labelme"] = labels_folder(names, out)
    places = [f"{kind} in {place}" for kind, place in folders.items()]
    report.tell(len(names), places)
    return list(report.failed.values())


def _run(
    jobs: list[Job], predictor: "Predictor", annotating: Annotating, tidying: Tidying, made: Made, report: Report
) -> None:
    """Predict and write everything; what fails is noted."""
    from tqdm import tqdm

    from seg.predict.annotations import is_shown
    from seg.predict.one import Wanted, predicted
    from seg.predict.room import Room

    room = Room(IN_MEMORY)
    cut: list[Path] = []

    def read(job: Job) -> "tuple[np.ndarray | Exception, str | None]":
        room.wait()
        try:
            image = predictor.read(job.path)
            room.take(job.path, image.nbytes)
        except Exception as error:  # whatever a library makes of one bad file, the rest goes on
            return error, None
        with suppress(Exception):  # of a file that is damaged behind the picture that was read
            return image, remark(job.path, predictor.pixels.channels)
        return image, None

    def write(job: Job, result: "Predicted") -> dict[str, list[Row]]:
        try:
            return finish(job, result, annotating, tidying, report.by_hand)
        finally:
            room.leave(job.path)

    bar = tqdm(total=len(jobs), desc="predict", unit="image", disable=not sys.stderr.isatty())
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(2) as writers, bar:
        waiting: deque[tuple[Job, Future[dict[str, list[Row]]]]] = deque()

        def collect(most: int) -> None:
            while len(waiting) > most:
                job, future = waiting.popleft()
                try:
                    for kind, rows in future.result().items():
                        report.rows[kind][str(job.path)] = rows
                        made.add_rows(kind, job.path, job.modified)
                except Exception as error:
                    report.fail(job.path, error)
                bar.update()

        try:
            for job, (image, note) in ahead(reader, read, jobs, AHEAD):
                if note:
                    report.notes.append(note)
                try:
                    if isinstance(image, Exception):
                        raise image
                    needs = {need for kind in job.files for need in KINDS[kind].needs}
                    wanted = Wanted(
                        certainty="certainty" in needs or "ranking" in job.tables,
                        probabilities="probabilities" in needs or tidying.smallest_region > 0,
                        visible="visible" in needs
                        or ("labelme" in job.files and (annotating.embed or not is_shown(job.path))),
                    )
                    beside = next(iter(job.files.values()), made.path.with_name(job.path.name))
                    result = predicted(predictor, job.path, image, wanted, beside, bar)
                    room.take(job.path, result.nbytes)
                    cut += [job.path] * (image.shape[:2] in predictor.too_large)
                except Exception as error:
                    report.fail(job.path, error)
                    room.leave(job.path)
                    bar.update()
                    continue
                waiting.append((job, writers.submit(write, job, result)))
                del image, result
                collect(BEHIND)
        finally:
            room.open()
            collect(0)
    if cut:
        listed = ", ".join(map(str, cut[:10])) + (f" and {len(cut) - 10} more" if len(cut) > 10 else "")
        report.notes.append(
            f"too large for the memory as a whole, and cut into tiles of {predictor.tiling.size} pixels: {listed}; "
            "--tile cuts all of them, wherever it runs"
        )


def ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], number: int
) -> Iterator[tuple[Item, Result]]:
    """Yield items with what a function returns of them, in order, some of which are being computed meanwhile."""
    started: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        started.append((item, pool.submit(function, item)))
        if len(started) > number:
            ready, future = started.popleft()
            yield ready, future.result()
    while started:
        ready, future = started.popleft()
        yield ready, future.result()


def finish(
    job: Job, result: "Predicted", annotating: Annotating, tidying: Tidying, by_hand: list[Path]
) -> dict[str, list[Row]]:
    """Tidy the labels, write the files of an image and return its rows of the tables; note what stays by hand."""
    import numpy as np

    from seg.postprocess import fill_holes, remove_small_regions

    kept = result.probabilities if isinstance(result.probabilities, Path) else None
    try:
        if tidying.largest_hole:
            result.labels = fill_holes(result.labels, tidying.largest_hole)
        if tidying.smallest_region > 1:
            probabilities = np.load(kept, mmap_mode="r") if kept else np.asarray(result.probabilities)
            result.labels = remove_small_regions(result.labels, tidying.smallest_region, probabilities)
        for kind, target in job.files.items():
            try:
                KINDS[kind].write(target, result, annotating)
            except ByHand:
                by_hand.append(target)
        return {kind: rows_of(kind, result, annotating.uncertain_below) for kind in job.tables}
    finally:
        if kept:
            kept.unlink(missing_ok=True)


def _write_tables(out: Path, made: Made, report: Report) -> None:
    """Write each table anew: rows of this run, and those of earlier ones that were made with the same settings."""
    for kind, rows in report.rows.items():
        write_table(out / f"{kind}.csv", kind, {image: rows[image] for image in rows if made.knows_rows(kind, image)})
