"""Ray Tune runs the slots; what a slot trains next, the study says.

DRIVER. `Dispatcher` (a Tune `Searcher`) hands out legs, `Recorder` (a Tune `Stopper`) passes on
epochs and hears whether another is wanted. Both only translate. A Tune trial is a leg of a lineage, not a trial of the study. Tune's
own state is never read back: the ledger has it all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping

import ray.tune
from ray.data import Dataset
from ray.tune.search import Searcher

from orchestrator.training.warm_run import SlotPlan
from orchestrator.tuning.slot import Config, Result, Slot, leg_config
from orchestrator.tuning.study import Failure, Study

UNLIMITED = 2**31
"""Tune counts legs; the searcher says itself when there are no more."""
HEAD_NODE = "node:__internal_head__"
LOST = Failure(
    "slot: its process must live while it trains; it died more often than resources.restarts "
    "allows. Run the same command again",
    "The slot's own process died; Ray's logs of that moment say why.",
    retry=True,
)


def run_study(
    study: Study,
    plan: SlotPlan,
    datasets: Mapping[str, Dataset],
    *,
    num_slots: int,
    restarts: int,
) -> None:
    """Train until every trial has ended, or until the user interrupts."""
    scratch = plan.storage
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(
            ray.tune.with_parameters(Slot, plan=plan, datasets=dict(datasets), restarts=restarts),
            # Slots only wait for their workers: they take no CPU from them, and stay with the
            # driver on the head node.
            {"CPU": 0, HEAD_NODE: 0.001},
        ),
        tune_config=ray.tune.TuneConfig(
            search_alg=Dispatcher(study, num_slots),
            num_samples=UNLIMITED,
            reuse_actors=True,
        ),
        run_config=ray.tune.RunConfig(
            name=f"tune-{study.folder.name}",
            storage_path=str(scratch),
            verbose=0,
            stop=Recorder(study),
            failure_config=ray.tune.FailureConfig(max_failures=restarts),
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class Dispatcher(Searcher):
    """Answers Tune's question what to run next with a leg of the study."""

    def __init__(self, study: Study, num_slots: int) -> None:
        super().__init__(metric="epoch", mode="max")
        self._study = study
        self._num_slots = num_slots
        self._lineages: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Config | str | None:
        """A leg as Tune's config; None to be asked again later."""
        if len(self._lineages) >= self._num_slots:
            return None
        leg = self._study.next_leg()
        if leg is not None:
            self._lineages[trial_id] = leg.lineage
            return leg_config(leg, self._study.folder)
        return Searcher.FINISHED if self._study.finished() else None

    def on_trial_complete(
        self,
        trial_id: str,
        result: Result | None = None,
        error: bool = False,
    ) -> None:
        """Free the slot; a leg that Tune gave up has lost its slot more often than allowed."""
        lineage = self._lineages.pop(trial_id, None)
        if lineage is None:
            return
        if error:
            self._study.end_leg(lineage, LOST)
        elif result and "failed" in result:
            failure = Failure(result["failed"], result["detail"], result["retry"])
            self._study.end_leg(lineage, failure)
        else:
            self._study.end_leg(lineage)

    def save_to_dir(self, *_: object, **__: object) -> None:
        """Nothing to save: the ledger has it all, and Tune would pickle."""

    def __getstate__(self) -> dict[str, object]:
        """Tune pickles its searcher with its own settings, which nobody ever reads back."""
        return {}


class Recorder(ray.tune.Stopper):
    """Passes each epoch that Tune hears of on to the study, and stops a leg nobody waits for.

    Tune asks its stopper before anything else: the epoch is in the ledger when it is judged, and
    the slot is free before it has begun another.
    """

    def __init__(self, study: Study) -> None:
        self._study = study

    def __call__(self, trial_id: str, result: Result) -> bool:  # noqa: ARG002 - Tune's signature
        """Write the epoch to the ledger; True if no trial wants another of its lineage."""
        if "metrics" not in result:
            return False
        self._study.record_epoch(result["lineage"], json.loads(result["metrics"]), result["slot"])
        return self._study.is_over(result["lineage"])

    def stop_all(self) -> bool:
        """The study ends when its searcher has nothing more."""
        return False

    def __getstate__(self) -> dict[str, object]:
        """See `Dispatcher.__getstate__`."""
        return {}
