"""A study as the page takes it: JSON of what changed since the page last asked. PURE.

A `StudyFeed` takes ledger records and keeps, for each trial, its JSON and the version in which it
last changed. A page that has seen version 7 gets only the rows of version 8 and later; what is
small and changes often (order, plan, slots) comes each time. All text is hostile: it is cut, freed
of control characters and of home folders here, and set as text, never as markup, there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.dashboard.slot_activity import SlotActivity, SlotState
from orchestrator.results.field_importance import Importance
from orchestrator.results.leaderboard_cells import (
    EPOCHS,
    footer,
    has_seeds,
    heading,
    mean_text,
    short_names,
    varied_paths,
)
from orchestrator.results.places import Place
from orchestrator.results.printable import one_line, without_home
from orchestrator.results.study_fold import StudyFold
from orchestrator.results.study_view import (
    EpochPoint,
    Scalar,
    State,
    StudyView,
    TrialRow,
    f1_by_class,
)

CURVES: Final = ("val_macro_f1", "val_loss", "train_loss", "val_accuracy")
"""The figures that have a learning curve, in the order in which a row holds them."""
LOG_RATIO: Final = 30.0
"""Positive values that differ by more than this factor are drawn on a logarithmic axis."""
_MAX_NAME: Final = 80
_MAX_ERROR: Final = 400


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment, ready to be sent.

    Attributes:
        version: grows with every change.
        head: JSON members of what is sent each time, without braces.
        rows: of each trial, the version of its last change and its JSON.
    """

    version: int
    head: str
    rows: tuple[tuple[int, str], ...]

    def document(self, since: int = 0) -> str:
        """The JSON for a page that has version `since`; 0 for one that has nothing."""
        rows = ",".join(text for changed, text in self.rows if changed > since)
        return f'{{{self.head},"since":{since},"rows":[{rows}]}}'


class StudyFeed:
    """Takes records of one ledger; each costs the same however long the study is."""

    def __init__(self) -> None:
        self._fold = StudyFold()
        self._slots = SlotActivity()
        self._planned = 0
        self._version = 0
        self._rows: dict[int, tuple[TrialRow, int, str]] = {}

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take records in.

        Raises:
            OrchestratorError: one is not as this version writes it.
        """
        for record in records:
            self._fold.add(record)
            self._slots.add(record)
            if record.get("record") == "study":
                space = record.get("space") or {}
                self._planned = int(space.get("trials") or 0) * int(space.get("seeds") or 1)

    def view(self) -> StudyView:
        """The study as of now."""
        return self._fold.view()

    @property
    def slots(self) -> Mapping[str, SlotState]:
        """Its slots by name."""
        return self._slots.slots

    def snapshot(self, importance: Importance | None = None) -> Snapshot:
        """The study as of now, one version on."""
        view = self.view()
        self._version += 1
        for row in view.trials:
            known = self._rows.get(row.trial)
            if known is None or known[0] is not row:
                self._rows[row.trial] = (row, self._version, to_json(row_document(row)))
        head = head_document(view, self._slots, self._planned, importance)
        members = to_json({"version": self._version, **head})[1:-1]
        return Snapshot(
            self._version, members, tuple((at, text) for _, at, text in self._rows.values())
        )


def head_document(
    view: StudyView,
    slots: SlotActivity,
    planned: int = 0,
    importance: Importance | None = None,
) -> dict[str, Any]:
    """What is sent each time: the study, its plan, slots, leader and order."""
    seeds = has_seeds(view)
    states: tuple[State, ...] = ("queued", "running", "finished", "stopped", "failed")
    return {
        "name": shown(view.name),
        "about": [shown(line, 0) for line in heading(view)[1:]],
        "notes": [shown(line, 0) for line in footer(view)],
        "classes": [shown(name) for name in view.classes],
        "fields": fields(view),
        "curves": list(CURVES),
        "counts": {state: view.count(state) for state in states},
        "planned": max(planned, len(view.trials)),
        "epochs": {"done": view.epochs_trained, "left": view.epochs_left},
        "per_epoch_s": slots.per_epoch_s(),
        "started": view.started,
        "updated": view.updated,
        "num_slots": slots.num_planned,
        "slots": _slots(view, slots),
        "leader": _leader(view),
        "importance": _importance(importance),
        "seeds": seeds,
        "order": [entry for place in view.places for entry in _entries(place, seeds)],
    }


def row_document(row: TrialRow) -> dict[str, Any]:
    """One trial with its curves; figures that were not measured are null."""
    get = row.metrics.get
    low, high = row.interval or (None, None)
    return {
        "trial": row.trial,
        "state": row.state,
        "epoch": row.epoch,
        "epochs": row.epochs,
        "early": row.ended_early,
        "shared": row.shared,
        "seed": row.seed,
        "values": {shown(path): _value(value) for path, value in row.values.items()},
        "f1": row.val_macro_f1,
        "low": low,
        "high": high,
        "accuracy": get("val_accuracy"),
        "loss": get("val_loss"),
        "images_per_s": get("images_per_s"),
        "seconds": row.seconds,
        "error": shown(row.error, _MAX_ERROR),
        "log": shown(row.log),
        "checkpoint": shown(row.checkpoint, 160),
        "curve": _curve(row.curve),
    }


def fields(view: StudyView) -> list[dict[str, Any]]:
    """What trials differ in: path, short name, and whether it is a number, on a log axis."""
    paths = varied_paths(view)
    if len({row.epochs for row in view.trials}) > 1:
        paths = (*paths, EPOCHS)
    names = short_names(paths)
    return [_field(view, path, names[path]) for path in paths]


def shown(text: str, limit: int = _MAX_NAME) -> str:
    """Text fit for the page: one line, no control characters, no home folder, cut to `limit`."""
    return one_line(without_home(text), limit)


def to_json(value: object) -> str:
    """Compact ASCII JSON with five significant digits that is safe inside a script tag."""
    text = json.dumps(_rounded(value), allow_nan=False, separators=(",", ":"))
    # In JSON these stand in strings only.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _field(view: StudyView, path: str, name: str) -> dict[str, Any]:
    values = [row.values[path] for row in view.trials if path in row.values]
    numbers = [float(value) for value in values if _is_number(value)]  # type: ignore[arg-type]
    is_number = bool(values) and len(numbers) == len(values)
    is_log = is_number and min(numbers) > 0 and max(numbers) / min(numbers) > LOG_RATIO
    return {"path": shown(path), "name": shown(name, 24), "number": is_number, "log": is_log}


def _slots(view: StudyView, slots: SlotActivity) -> list[dict[str, Any]]:
    """Each slot with the longest trial of the lineage that it trains, or trained last."""
    longest: dict[str, TrialRow] = {}
    for row in view.trials:
        if row.lineage not in longest or row.epochs > longest[row.lineage].epochs:
            longest[row.lineage] = row
    return [
        {
            "slot": name,
            "trial": longest[slot.lineage].trial if slot.lineage in longest else None,
            "epoch": slot.epoch,
            "epochs": longest[slot.lineage].epochs if slot.lineage in longest else None,
            "ended": slot.lineage in longest
            and longest[slot.lineage].state in ("finished", "stopped", "failed"),
            "busy_s": slot.seconds,
            "since": None if slot.since_s is None else round(slot.since_s),
            "until": round(slot.until_s),
            "last_s": slot.last_s,
        }
        for name, slot in slots.slots.items()
    ]


def _entries(place: Place, with_mean: bool) -> list[list[Any]]:
    """A configuration's trials: number, rank, mean over seeds; the one that stands for it first."""
    mean = [mean_text(place) if place.finished else ""] if with_mean else []
    others = [row for row in place.rows if row is not place.row]
    return [[row.trial, place.label, *mean] for row in (place.row, *others)]


def _leader(view: StudyView) -> dict[str, Any] | None:
    """The winner, or while nothing is finished the best of those that run."""
    row = view.winner
    if row is None:
        running = [
            row for row in view.trials if row.val_macro_f1 is not None and row.state != "stopped"
        ]
        row = max(running, key=lambda row: row.val_macro_f1 or 0.0, default=None)
    if row is None or len(row.confusion) != len(view.classes):
        return None
    return {"trial": row.trial, "confusion": row.confusion, "f1": f1_by_class(row.confusion)}


def _importance(importance: Importance | None) -> dict[str, Any] | None:
    if importance is None:
        return None
    return {
        "shares": {shown(path): share for path, share in importance.shares.items()},
        "trials": importance.num_trials,
        "why": shown(importance.why, 200),
        "within": {
            shown(path): [within.share, within.num_trials]
            for path, within in importance.within.items()
        },
    }


def _curve(points: Sequence[EpochPoint]) -> list[list[float | None]]:
    """Epochs, then each of CURVES, as columns."""
    columns: list[list[float | None]] = [[float(point.epoch) for point in points]]
    columns += [[point.metrics.get(name) for point in points] for name in CURVES]
    return columns


def _value(value: Scalar) -> Scalar:
    if isinstance(value, str):
        return shown(value, 40)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _is_number(value: Scalar) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)  # type: ignore[arg-type]


def _rounded(value: Any) -> Any:
    """Floats to five significant digits: a curve of 20 epochs is sent in a tenth of a kilobyte."""
    if isinstance(value, float):
        short = float(f"{value:.5g}")
        return int(short) if short.is_integer() and abs(short) < 2**53 else short
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
