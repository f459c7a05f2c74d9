"""What TensorBoard is shown of a study or a training, as files. DRIVER.

    <folder>/trial-0007/          curves of trial 7, its hyperparameters, its confusion matrices
    <folder>/training/            the same of the one experiment of `train`
    <folder>/study/               which hyperparameters differ between the trials
    <folder>/samples/<name>/      images of a first batch as the network sees them

All of it follows from what is recorded. A run that is begun anew (after a resume, say) is written
whole into a new file, and the old one goes: no point is there twice. The file of a trial that has
ended bears a digest of what is in it, so that a study's next command leaves it alone.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.results.confusion_image import confusion_image
from orchestrator.results.event_file import (
    EventFile,
    Message,
    Pixels,
    event_files,
    experiment,
    image,
    scalar,
    session_end,
    session_start,
)
from orchestrator.results.hyperparameters import shown_values, varied_kinds
from orchestrator.results.printable import one_line
from orchestrator.results.study_view import (
    RANKED_BY,
    EpochPoint,
    Scalar,
    State,
    StudyView,
    TrialRow,
    f1_by_class,
)

SCORE_TAG: Final = "macro_f1/validation"
STUDY: Final = "study"
SAMPLES: Final = "samples"
WHOLE: Final = "whole"
"""End of the name of a file of samples that no kill has cut short."""
TRAINING: Final = "training"
ENDED: Final = ("finished", "stopped", "failed")
_SPLITS: Final = {"train": "train", "val": "validation"}
_BOUNDS: Final = ("_low", "_high")


@dataclass(frozen=True)
class Curve:
    """One run of TensorBoard.

    Attributes:
        name: its folder.
        points: its epochs in order.
        values: hyperparameters by dotted path, for the table.
        state: `running` until nothing more can come.
    """

    name: str
    points: tuple[EpochPoint, ...]
    values: Mapping[str, Scalar]
    state: State


@dataclass
class _Open:
    """A run whose file is still written to."""

    file: EventFile
    curve: Curve


class RunFiles:
    """Keeps the files in step with what is recorded; not safe for several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, _Open] = {}
        self._rows: dict[int, TrialRow] = {}
        self._classes: tuple[str, ...] = ()
        self._view: StudyView | None = None
        self._table_due = 1

    def update(self, view: StudyView) -> None:
        """Write what is new in a study.

        Raises:
            OSError: the folder cannot be written.
        """
        self._view = view
        for row in view.trials:
            # A row that did not change is the same object: an update costs what changed.
            if self._rows.get(row.trial) is not row:
                self._rows[row.trial] = row
                curve = Curve(f"trial-{row.trial:04d}", row.curve, row.values, row.state)
                self.write(curve, view.classes)
        if view.epochs_trained and len(view.trials) >= self._table_due:
            # What differs shows as trials are proposed; a look at all of them, when they double.
            self._table_due = 2 * len(view.trials)
            self._write_table(view)

    def write(self, curve: Curve, classes: Sequence[str]) -> None:
        """Write what is new in one run.

        Raises:
            OSError: the folder cannot be written.
        """
        self._classes = tuple(_word(name, 40) for name in classes)
        ended = curve.state in ENDED
        known = self._open.pop(curve.name, None)
        if not (curve.points or ended):
            return
        if known is None:
            if ended and self._is_whole(curve.name, _digest(curve)):
                return
            known = self._begin(curve)
        self._write_points(known, curve.points)
        known.curve = curve
        if ended:
            self._end(known)
        else:
            self._open[curve.name] = known
            known.file.flush()

    def samples(self, name: str, draw: Callable[[], Pixels]) -> None:
        """Write a picture of samples, if it is not there; `draw` is called only then.

        Raises:
            OSError: the folder cannot be written; and what `draw` raises.
        """
        folder = self._folder / SAMPLES / name
        if not any(file.name.endswith(WHOLE) for file in event_files(folder)):
            pixels = draw()
            file = EventFile(folder)
            file.add(1, [image("augmented_batch", pixels)])
            file.close(mark=WHOLE)

    def close(self) -> None:
        """Give runs that are still open their pictures, and let go of all files.

        Raises:
            OSError: the folder cannot be written.
        """
        if self._view is not None and self._view.epochs_trained:
            self._write_table(self._view)
        while self._open:
            _, left = self._open.popitem()
            self._write_confusion(left)
            left.file.close()

    def _begin(self, curve: Curve) -> _Open:
        file = EventFile(self._folder / curve.name)
        if curve.values:
            file.add(0, [session_start(shown_values(curve.values))])
        return _Open(file, Curve(curve.name, (), curve.values, curve.state))

    def _write_points(self, run: _Open, points: Sequence[EpochPoint]) -> None:
        written = run.curve.points[-1].epoch if run.curve.points else 0
        new = [point for point in points if point.epoch > written]
        for point, time_s in zip(new, _end_times(new), strict=True):
            run.file.add(point.epoch, list(_scalars(point, self._classes)), time_s=time_s)

    def _end(self, run: _Open) -> None:
        self._write_confusion(run)
        if run.curve.values:
            run.file.add(0, [session_end(succeeded=run.curve.state != "failed")])
        run.file.close(mark=_digest(run.curve))

    def _write_confusion(self, run: _Open) -> None:
        """Of the best and the last epoch alone: each costs as much as a hundred curves' points."""
        points = [point for point in run.curve.points if point.confusion]
        if not points:
            return
        best = max(points, key=lambda point: point.metrics.get(RANKED_BY, -math.inf))
        for name, point in (("best", best), ("last", points[-1])):
            pixels = confusion_image(point.confusion, self._classes)
            if pixels is not None:
                run.file.add(point.epoch, [image(f"confusion/{name}", pixels)])

    def _write_table(self, view: StudyView) -> None:
        kinds = varied_kinds(view)
        if kinds and not self._is_whole(STUDY, _digest(kinds)):
            file = EventFile(self._folder / STUDY)
            file.add(0, [experiment(kinds, SCORE_TAG)])
            file.close(mark=_digest(kinds))

    def _is_whole(self, name: str, digest: str) -> bool:
        """Whether this very content has been written, by this command or an earlier one."""
        files = event_files(self._folder / name)
        return len(files) == 1 and files[0].suffix == f".{digest}"


def _scalars(point: EpochPoint, classes: Sequence[str]) -> Iterator[Message]:
    """All figures of an epoch; the two splits of one figure share a group, and so a glance."""
    for name, value in point.metrics.items():
        if name != "epoch":
            yield scalar(_tag(name), value)
    scores = f1_by_class(point.confusion)
    if len(scores) == len(classes):
        for name, score in zip(classes, scores, strict=True):
            if score is not None:
                yield scalar(f"class_f1/{name}", score)
    for phase, seconds in point.seconds.items():
        yield scalar(f"seconds/{_word(phase)}", seconds)


def _tag(name: str) -> str:
    """For example `val_macro_f1_low` -> `macro_f1/validation_low`, `mfu` -> `training/mfu`."""
    split, _, figure = name.partition("_")
    if split not in _SPLITS:
        return f"training/{_word(name)}"
    for bound in _BOUNDS:
        if figure.endswith(bound):
            return f"{_word(figure.removesuffix(bound))}/{_SPLITS[split]}{bound}"
    return f"{_word(figure)}/{_SPLITS[split]}"


def _word(text: str, limit: int = 80) -> str:
    """Part of a tag: printable, and without the slash that would make a group."""
    return one_line(text, limit).replace("/", "_") or "_"


def _end_times(points: Sequence[EpochPoint]) -> list[float]:
    """When epochs ended if the last one ends now and each took its seconds.

    The record of a training does not tell the hour; so its relative times are right at least.
    """
    ends = [time.time()]
    for point in reversed(points[1:]):
        ends.append(ends[-1] - sum(point.seconds.values()))
    return ends[: len(points)][::-1]


def _digest(content: Curve | Mapping[str, str]) -> str:
    return hashlib.sha256(repr(content).encode(errors="replace")).hexdigest()[:12]
