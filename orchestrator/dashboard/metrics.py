"""What Prometheus can scrape of a study from any Ray: scores, losses, speed, utilisation. DRIVER.

Ray exports each under its name with `ray_` before it; `grafana.py` draws them. Series are by study
and slot, never by trial: their number does not grow with the study.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from orchestrator.dashboard.slot_activity import SlotState
from orchestrator.dashboard.snapshot import shown
from orchestrator.results.study_view import EpochPoint, State, StudyView

STATES: Final[tuple[State, ...]] = ("queued", "running", "finished", "stopped", "failed")
BY_STUDY: Final = ("study",)
BY_SLOT: Final = ("study", "slot")
BY_STATE: Final = ("study", "state")

Slots = Mapping[str, SlotState]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        title: what a chart of it is called.
        tags: a series for each combination of their values.
        unit: Grafana's word for it.
    """

    name: str
    title: str
    tags: tuple[str, ...] = BY_STUDY
    unit: str = "none"
    kind: Literal["gauge", "counter"] = "gauge"

    @property
    def exported(self) -> str:
        """The name under which Ray exports it."""
        return f"ray_{self.name}" + ("_total" if self.kind == "counter" else "")


METRICS: Final = (
    Metric("fer_best_macro_f1", "Best validation macro-F1 of the finished trials"),
    Metric("fer_best_val_loss", "Validation loss of the leading trial, nats"),
    Metric("fer_slot_macro_f1", "Validation macro-F1 of what each slot trains", BY_SLOT),
    Metric("fer_slot_val_loss", "Validation loss of what each slot trains, nats", BY_SLOT),
    Metric("fer_slot_images_per_s", "Training images a second of each slot", BY_SLOT),
    Metric(
        "fer_slot_utilisation",
        "Share of its time that each slot has spent on epochs",
        BY_SLOT,
        unit="percentunit",
    ),
    Metric("fer_images_per_s", "Training images a second of all slots"),
    Metric("fer_trials", "Trials by state", BY_STATE),
    Metric("fer_epochs", "Epochs trained", kind="counter"),
    Metric("fer_epochs_left", "Epochs still to be trained"),
)


class StudyMetrics:
    """Sets the metrics of one study; use it in a process that is connected to Ray."""

    def __init__(self, study: str) -> None:
        self._study = {"study": shown(study)}
        self._epochs = 0
        self._made: dict[str, Any] = {}

    def __call__(self, view: StudyView, slots: Slots) -> None:
        """Bring all up to date."""
        made = self._metrics()
        for name, value in study_values(view, slots).items():
            made[name].set(value, tags=self._study)
        for state in STATES:
            made["fer_trials"].set(view.count(state), tags={**self._study, "state": state})
        for slot, values in slot_values(view, slots, time.time()).items():
            for name, value in values.items():
                made[name].set(value, tags={**self._study, "slot": shown(slot)})
        if view.epochs_trained > self._epochs:
            made["fer_epochs"].inc(view.epochs_trained - self._epochs, tags=self._study)
            self._epochs = view.epochs_trained

    def _metrics(self) -> dict[str, Any]:
        if not self._made:
            from ray.util.metrics import Counter, Gauge

            kinds = {"gauge": Gauge, "counter": Counter}
            self._made = {m.name: kinds[m.kind](m.name, m.title, m.tags) for m in METRICS}
        return self._made


def study_values(view: StudyView, slots: Slots) -> dict[str, float]:
    """The gauges that a study has one of; what is not known is left out."""
    values: dict[str, float] = {"fer_epochs_left": view.epochs_left}
    best = view.leading
    score, loss = (best.score, best.mean("val_loss")) if best else (None, None)
    if score is not None:
        values["fer_best_macro_f1"] = score
    if loss is not None:
        values["fer_best_val_loss"] = loss
    values["fer_images_per_s"] = sum(
        point.metrics.get("images_per_s", 0.0)
        for slot in slots.values()
        if (point := _last_point(view, slot)) and _is_open(view, slot)
    )
    return values


def slot_values(view: StudyView, slots: Slots, now_s: float) -> dict[str, dict[str, float]]:
    """The gauges of each slot; what is not known is left out.

    Args:
        view: the study.
        slots: by name.
        now_s: seconds since 1970; a study that is complete uses none of its slots any more.
    """
    is_over = not view.count("queued") + view.count("running")

    def end_s(slot: SlotState) -> float:
        return slot.until_s if is_over else now_s

    return {
        name: {
            **_of_epoch(_last_point(view, slot)),
            **_of_time(slot.busy_share(end_s(slot), at_work=_is_open(view, slot))),
        }
        for name, slot in slots.items()
    }


def _of_time(share: float | None) -> dict[str, float]:
    return {} if share is None else {"fer_slot_utilisation": share}


def _of_epoch(point: EpochPoint | None) -> dict[str, float]:
    names = {"val_macro_f1": "fer_slot_macro_f1", "val_loss": "fer_slot_val_loss"}
    names["images_per_s"] = "fer_slot_images_per_s"
    metrics = point.metrics if point else {}
    return {ours: metrics[theirs] for theirs, ours in names.items() if theirs in metrics}


def _last_point(view: StudyView, slot: SlotState) -> EpochPoint | None:
    """Of its own: what it begins with may be another's."""
    if slot.begins:
        return None
    points = (
        point
        for row in view.trials
        if row.lineage == slot.lineage
        for point in row.curve
        if point.epoch == slot.epoch
    )
    return next(points, None)


def _is_open(view: StudyView, slot: SlotState) -> bool:
    """Whether a trial still waits for what the slot trains."""
    return any(r.lineage == slot.lineage and r.state in ("queued", "running") for r in view.trials)
