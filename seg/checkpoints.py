"""Writing checkpoints so that nothing that was written is ever lost, and finding a whole one to go on from."""

import os
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from seg.files import replacing
from seg.runs import BEST, LAST, PREVIOUS


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its target and rename it, so that every reader finds a whole one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint; addresses with a scheme (s3://…) are left to Lightning.

        Raises:
            OSError: it could not be written; names the file, the reason and the cure.

        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        try:
            with replacing(path) as temporary, temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch's writer tells of a full disk by a RuntimeError
            raise OSError(not_written(Path(path), error)) from error


def not_written(path: Path, error: BaseException) -> str:
    """Return what to tell of a checkpoint that could not be written."""
    kept = "; the one that is there stays whole" if path.exists() else ""
    try:
        room = f"{shutil.disk_usage(path.parent).free / 2**20:.0f} MiB are free there"
    except OSError:
        room = "the folder is not there"
    return (
        f"cannot write the checkpoint {path}: {reason(error)}{kept}. {room}; make room or choose another place with "
        "--trainer.default_root_dir, then go on with --ckpt_path last"
    )


def reason(error: BaseException) -> str:
    """Return why something could not be written: what the system said, also where torch made another error of it."""
    while not isinstance(error, OSError) and error.__context__ is not None:
        error = error.__context__
    return (error.strerror if isinstance(error, OSError) else None) or str(error).partition("\n")[0]


class BestCheckpoint(ModelCheckpoint):
    """Keep `best.ckpt`, the one with the highest validation mIoU, also where the run folder has been moved.

    Args:
        folder: where `best.ckpt` is kept.

    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            dirpath=folder, filename="best", monitor="val/miou", mode="max", save_top_k=1, enable_version_counter=False
        )

    @property
    def state_key(self) -> str:
        """Return the name under which checkpoints hold the best score: that of Lightning's own class."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score; Lightning drops it where the folder has another name than when it was written."""
        best = Path(self.dirpath or ".") / BEST
        if state_dict.get("dirpath") != self.dirpath and best.is_file():
            moved = {str(best): score for score in state_dict.get("best_k_models", {}).values()}
            state_dict = {**state_dict, "dirpath": self.dirpath, "best_k_models": moved, "last_model_path": ""}
            state_dict |= {"best_model_path": str(best), "kth_best_model_path": str(best) if moved else ""}
        super().load_state_dict(state_dict)


def keep_previous(path: Path) -> None:
    """Keep a checkpoint that is about to be replaced as `last-previous.ckpt`, without a moment with neither."""
    if not path.is_file():
        return
    with replacing(path.with_name(PREVIOUS)) as temporary:
        try:
            os.link(path, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, temporary)


def is_whole(path: Path) -> bool:
    """Tell whether a checkpoint is there and undamaged: its checksums are looked at, its contents are not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None and bool(archive.namelist())
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError):
        return False


def whole_ones(folder: Path) -> list[Path]:
    """Return the undamaged checkpoints of a run's folder to go on from, the furthest first."""
    return [path for name in (LAST, PREVIOUS, BEST) if is_whole(path := folder / name)]


def resumable(path: Path, fall_back: bool) -> Path:
    """Return a checkpoint to go on from: the given one, or where it is damaged the one before, which is said.

    Args:
        path: the checkpoint that was asked for.
        fall_back: whether another one of the same folder will do.

    Raises:
        FileNotFoundError: there is none, and no other.
        ValueError: it is damaged; names those that are not.

    """
    if is_whole(path):
        return path
    others = [other for other in whole_ones(path.parent) if other != path]
    wrong = "is no checkpoint, or a damaged one" if path.is_file() else "is not there"
    if fall_back and others:
        print(f"{path} {wrong}; going on from the one before, {others[0]}", flush=True)
        return others[0]
    if not path.is_file():
        raise FileNotFoundError(f"--ckpt_path {path}: there is no such file")
    cure = f"give {' or '.join(map(str, others))}, which is whole" if others else "give another"
    raise ValueError(f"--ckpt_path {path}: no checkpoint, or a damaged one; {cure}")
