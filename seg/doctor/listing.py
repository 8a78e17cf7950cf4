"""Listing the files of a data set to the end: what the data module would stop at is noted, and gone on from."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from seg.data.base import SegmentationData
from seg.data.dataset import Pair
from seg.data.folder import Folder
from seg.data.labelme import Labelme
from seg.doctor import labelme
from seg.doctor.findings import Finding
from seg.doctor.survey import ALL

_TOLD_ELSEWHERE = ("seg.data.labelme", "seg.data.ignored", "seg.convert.labelme_sources")
_NOTHING = ("masks are read from",)


def list_files(data: SegmentationData, guessed: bool) -> tuple[dict[str, list[Pair]], list[Finding]]:
    """Return the files of each split, and what was wrong with the lists.

    Args:
        data: the data module; it is made to go on without what cannot be used.
        guessed: nobody has said how to divide the files, so that this is nothing to complain about.

    """
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    with heard(findings):
        if not data.root.is_dir():  # otherwise left alone: preparing may write down what was never confirmed
            try:
                data.prepare_data()
            except (ValueError, OSError) as error:
                findings.append(_refused(error))
        if not data.root.is_dir():
            return {}, [*findings, Finding("lists", "fail", f"there is no folder {data.root}", data._tree())]
        if isinstance(data, Labelme):
            try:
                findings += labelme.examine(data)
            except (ValueError, OSError) as error:
                return {}, [*findings, _refused(error)]
        for split in ("train", "val", "test"):
            try:
                if split != "test" or data.has_test():
                    splits[split] = _listed(data, split, findings)
            except (ValueError, OSError) as error:
                if not guessed:
                    findings.append(_refused(error))
        if "train" not in splits:
            try:
                # not divided, but there: what is wrong with the files can be said all the same
                splits = {ALL: data.pool(), **{key: value for key, value in splits.items() if key == "test"}}
            except (ValueError, OSError) as error:
                findings.append(_refused(error))
    empty = [split for split, pairs in splits.items() if not pairs]
    if empty:
        findings.append(
            Finding(
                "lists",
                "fail",
                f"the {' and '.join(empty)} split is empty: no image with a mask is listed",
                data._tree(),
            )
        )
    return {split: pairs for split, pairs in splits.items() if pairs}, _once(findings)


def _listed(data: SegmentationData, split: str, findings: list[Finding]) -> list[Pair]:
    try:
        return data.split_pairs(split)
    except ValueError as error:
        if not isinstance(data, Folder) or data.unmatched == "skip" or "have no mask" not in str(error):
            raise
        findings.append(_refused(error))
        told = len(findings)
        data.unmatched = "skip"
        pairs = data.split_pairs(split)
        del findings[told:]  # that these are left out
        return pairs


def _once(findings: list[Finding]) -> list[Finding]:
    """Return findings, and cures, without repetitions: two splits may stumble over the same."""
    kept: dict[str, Finding] = {}
    cures: set[str] = set()
    for finding in findings:
        if finding.text not in kept:
            kept[finding.text] = replace(finding, cure="") if finding.cure in cures else finding
            cures.add(finding.cure)
    return list(kept.values())


def _refused(error: Exception) -> Finding:
    if isinstance(error, UnicodeDecodeError):
        return Finding("lists", "fail", f"a list of files is not UTF-8 ({error})", "save it as UTF-8")
    text, _, rest = str(error).partition("\n")
    return Finding("lists", "fail", text.rstrip(":"), rest)


@contextmanager
def heard(findings: list[Finding]) -> Iterator[None]:
    """Turn what the data modules warn of into findings, instead of lines between those of the report."""
    handler = _Handler(findings)
    loggers = [logging.getLogger("seg.data"), logging.getLogger("seg.convert")]
    before = [(logger, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in before:
            logger.removeHandler(handler)
            logger.propagate = propagate


class _Handler(logging.Handler):
    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(logging.WARNING)
        self.findings = findings

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.name not in _TOLD_ELSEWHERE and not any(part in text for part in _NOTHING):
            self.findings.append(Finding("lists", "warn", text))
