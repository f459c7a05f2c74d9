"""Ray Tune runs the slots; what a slot trains next, the study says.

DRIVER. `Dispatcher` (a Tune `Searcher`) hands out legs, `Recorder` (a Tune `Stopper`) passes on
epochs and hears whether another is wanted, `SlotEvents` (a Tune `Callback`) says which slot begins a
leg and why one died. All three only translate. A Tune trial is a leg of a lineage, not a trial of
the study. Tune's own state is never read back: the ledger has it all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import ray.tune
from ray.data import Dataset
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from orchestrator.config.errors import NoRoomError, StorageError
from orchestrator.training.pulse import signs_of_life
from orchestrator.training.warm_run import SlotPlan
from orchestrator.tuning.growth import Growth
from orchestrator.tuning.patient_controller import patient_controller
from orchestrator.tuning.slot import Config, Result, Slot, leg_config
from orchestrator.tuning.study import Failure, Study

UNLIMITED = 2**31
"""Tune counts legs; the searcher says itself when there are no more."""
HEAD_NODE = "node:__internal_head__"
LOST = (
    "slot: its process must live while it trains; it died more often than resources.restarts "
    "allows. Run the same command again"
)


def run_study(
    study: Study,
    plan: SlotPlan,
    datasets: Mapping[str, Dataset],
    *,
    growth: Growth,
    restarts: int,
    asked_to_stop: Callable[[], bool],
) -> None:
    """Train until every trial has ended; once asked to stop, until what is begun has.

    Args:
        study: what to train.
        plan: what each slot is.
        datasets: by split, in Ray's object store.
        growth: how many trainings at once, as nodes come and go.
        restarts: times that a slot which died is replaced before the next epoch.
        asked_to_stop: asked after each epoch and before each leg.

    Raises:
        StorageError: what is trained could not be written; all that is written is whole.
        NoRoomError: no slot could start.
    """

    def to_stop() -> bool:
        return study.broken is not None or asked_to_stop()

    dispatcher = Dispatcher(study, growth.num_slots, growth.could_not_start, to_stop, restarts)
    slot = ray.tune.with_parameters(Slot, plan=plan, datasets=dict(datasets), restarts=restarts)
    try:
        _run_to_its_end(
            _tuner(slot, study, dispatcher, Recorder(study, to_stop), plan.storage, restarts),
            growth,
            plan.storage,
        )
    except Exception as error:
        if study.broken is None:
            raise
        raise study.broken from error  # a full disk fails Tune as well, in other words
    if study.broken is not None:
        raise study.broken


def _tuner(
    slot: Any,
    study: Study,
    dispatcher: Dispatcher,
    recorder: Recorder,
    storage: Path,
    restarts: int,
) -> ray.tune.Tuner:
    return ray.tune.Tuner(
        # Slots only wait for their workers: they take no CPU from them, and stay with the driver on
        # the head node.
        ray.tune.with_resources(slot, {"CPU": 0, HEAD_NODE: 0.001}),
        tune_config=ray.tune.TuneConfig(
            search_alg=dispatcher, num_samples=UNLIMITED, reuse_actors=True
        ),
        run_config=ray.tune.RunConfig(
            name=f"tune-{study.home.local.name}",
            storage_path=str(storage),
            verbose=0,
            stop=recorder,
            callbacks=[SlotEvents(study, dispatcher)],
            failure_config=ray.tune.FailureConfig(max_failures=restarts),
        ),
    )


def _run_to_its_end(tuner: ray.tune.Tuner, growth: Growth, scratch: Path) -> None:
    """Fit, then let go of what was asked for and written meanwhile."""
    try:
        with patient_controller():
            tuner.fit()
    finally:
        growth.end()
        shutil.rmtree(scratch, ignore_errors=True)


def study_signs(study: Study) -> object:
    """Equal as long as nothing moves: no record, no state of a slot, no batch of a worker."""
    return study.last_record, signs_of_life()


class Dispatcher(Searcher):
    """Answers Tune's question what to run next with a leg of the study."""

    def __init__(
        self,
        study: Study,
        num_slots: Callable[[int, int], int],
        could_not_start: Callable[[], None],
        asked_to_stop: Callable[[], bool] = lambda: False,
        restarts: int = 0,
    ) -> None:
        """Begin.

        Args:
            study: which knows what to train.
            num_slots: how many slots there may be, told how many could be used and how many are.
            could_not_start: told of each slot for which there was no room.
            asked_to_stop: asked before each leg.
            restarts: times that a slot which died is replaced before the next epoch.
        """
        super().__init__(metric="epoch", mode="max")
        self._study = study
        self._num_slots = num_slots
        self._could_not_start = could_not_start
        self._room_seen = False
        self._asked_to_stop = asked_to_stop
        self._restarts = restarts
        self._lineages: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._known: dict[str, int] = {}
        self._lost: dict[str, tuple[str, int]] = {}

    def suggest(self, trial_id: str) -> Config | str | None:
        """A leg as Tune's config; None to be asked again later."""
        for lost in list(self._lost):  # nobody has said why
            self.end_lost(lost, "")
        if self._asked_to_stop():
            return Searcher.FINISHED
        running = len(self._lineages)
        could_use = running + self._study.num_waiting()
        if running >= self._num_slots(could_use, running):
            return None
        leg = self._study.next_leg()
        if leg is not None:
            self._lineages[trial_id] = leg.lineage
            self._numbers[trial_id] = self._free_number()
            return leg_config(leg, self._study.home.kept, self._numbers[trial_id])
        return Searcher.FINISHED if self._study.finished() else None

    def begun(self, trial_id: str) -> None:
        """A slot takes up a leg, for the first time or in the place of one that died with it."""
        if trial_id in self._lineages:
            self._known[trial_id] = self._study.recorded_epoch(self._lineages[trial_id])

    def died(self, trial_id: str) -> None:
        """A slot has died, and another is to take up its leg: what it got on with is not the other's."""
        self._known[trial_id] = UNLIMITED

    def on_trial_complete(
        self,
        trial_id: str,
        result: Result | None = None,
        error: bool = False,
    ) -> None:
        """Free the slot; a leg that Tune gave up has lost its slot more often than allowed."""
        self._numbers.pop(trial_id, None)
        lineage = self._lineages.pop(trial_id, None)
        known = self._known.pop(trial_id, UNLIMITED)
        if lineage is None:
            return
        if result and result.get("no_room") and not error:
            self._no_room(lineage, result["failed"])
            return
        self._room_seen = True
        if error:
            self._lost[trial_id] = lineage, known  # Tune tells its callbacks why, right after this
        elif result and result.get("storage"):
            self._study.stop(StorageError(result["failed"]))
            self._study.end_leg(lineage)
        elif result and "failed" in result:
            failure = Failure(result["failed"], result["detail"], result["retry"])
            self._study.end_leg(lineage, failure)
        else:
            self._study.end_leg(lineage)

    def end_lost(self, trial_id: str, why: str) -> None:
        """End the leg of a slot that died for good; once, whoever says so first.

        If it got on in its last life, another slot goes on from there: Tune counts the deaths of a leg,
        `resources.restarts` those before the next epoch.
        """
        lineage, known = self._lost.pop(trial_id, ("", 0))
        if lineage and self._restarts and self._study.recorded_epoch(lineage) > known:
            self._study.end_leg(lineage)
        elif lineage:
            last = next(reversed(why.strip().splitlines()), "")
            reason = f"{LOST}. Ray says: {' '.join(last.split())[:200]}" if last else LOST
            detail = why or "The slot's own process died; Ray's logs of that moment say why."
            self._study.end_leg(lineage, Failure(reason, detail, retry=True), is_gone=True)

    def _no_room(self, lineage: str, reason: str) -> None:
        """Another slot trains the leg; where no other is at work, none can start.

        Tune may yet keep a slot that has just ended its leg: that one is given a try.
        """
        self._study.end_leg(lineage)
        if self._lineages:
            self._could_not_start()
        elif self._room_seen:
            self._could_not_start()
            self._room_seen = False
        else:
            self._study.stop(NoRoomError(reason))

    def _free_number(self) -> int:
        """The lowest that no running leg has, so that the first slots are 0, 1, 2, ..."""
        return next(n for n in count() if n not in self._numbers.values())

    def save_to_dir(self, *_: object, **__: object) -> None:
        """Nothing to save: the ledger has it all, and Tune would pickle."""

    def __getstate__(self) -> dict[str, object]:
        """Tune pickles its searcher with its own settings, which nobody ever reads back."""
        return {}


class SlotEvents(ray.tune.Callback):
    """Passes on which slot begins a leg, and what Tune knows of one that died.

    Tune names what it tells, so that the rest can be left out.
    """

    def __init__(self, study: Study, dispatcher: Dispatcher) -> None:
        self._study = study
        self._dispatcher = dispatcher

    def on_trial_start(self, *, trial: Trial, **_: object) -> None:
        """A slot takes a leg, or takes the place of one that died with it."""
        self._dispatcher.begun(trial.trial_id)
        slot = _actor_id(trial)
        if slot:
            name = f"slot-{trial.config['number']}"
            self._study.record_begin(trial.config["lineage"], slot, name)

    def on_trial_recover(self, *, trial: Trial, **_: object) -> None:
        """Tune makes a new slot in the place of one that died."""
        self._dispatcher.died(trial.trial_id)

    def on_trial_error(self, *, trial: Trial, **_: object) -> None:
        """Tune has told the searcher before that the leg is lost."""
        try:
            why = Path(trial.error_file).read_text() if trial.error_file else ""
        except OSError:
            why = ""
        self._dispatcher.end_lost(trial.trial_id, why)

    def __getstate__(self) -> dict[str, object]:
        """See `Dispatcher.__getstate__`."""
        return {}


def _actor_id(trial: Trial) -> str:
    """Of the slot that Tune gave a leg to; "" where this version of Ray keeps it elsewhere.

    Only the surfaces would miss it: a slot is then shown with its first epoch.
    """
    actor = getattr(getattr(trial, "temporary_state", None), "ray_actor", None)
    number = getattr(actor, "_actor_id", None)
    return str(number.hex()) if number is not None else ""


class Recorder(ray.tune.Stopper):
    """Passes each epoch that Tune hears of on to the study, and stops a leg nobody waits for.

    Tune asks its stopper before anything else: the epoch is in the ledger when it is judged, and
    the slot is free before it has begun another. Once it is asked to, each leg ends with the epoch
    that it is in.
    """

    def __init__(self, study: Study, asked_to_stop: Callable[[], bool] = lambda: False) -> None:
        self._study = study
        self._asked_to_stop = asked_to_stop

    def __call__(self, trial_id: str, result: Result) -> bool:  # noqa: ARG002 - Tune's signature
        """Write the epoch to the ledger; True if no trial wants another of its lineage."""
        if "metrics" not in result:
            return self._asked_to_stop()
        lineage, metrics = result["lineage"], json.loads(result["metrics"])
        self._study.record_epoch(
            lineage,
            metrics,
            result["slot"],
            wanted_name=result["name"],
            notes=json.loads(result["notes"]),
            weights=result["weights"],
            found=result["found"],
        )
        return self._study.is_over(lineage) or self._asked_to_stop()

    def stop_all(self) -> bool:
        """Never: Tune would not wait for the epochs that are begun."""
        return False

    def __getstate__(self) -> dict[str, object]:
        """See `Dispatcher.__getstate__`."""
        return {}
