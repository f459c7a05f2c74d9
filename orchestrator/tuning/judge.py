"""Which trainings are not worth going on with, judged by Optuna's pruners from the ledger alone.

PURE. What is judged is a lineage, not a trial: trials that differ in their epochs only have the
same scores, and would be weighed many times. The judge takes the ledger's records one by one, as
they are written or as they are read back, so that a resumed study decides what the undisturbed
one did. Source of `asha`: Li et al. (2020), A System for Massively Parallel Hyperparameter Tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from orchestrator.config.stop_rule import StopRule

STUDY = "stopping"
"""Hyperband deals its brackets out by this name: it must not change."""


class Judge:
    """Says of each lineage whether its newest epoch is worth another."""

    def __init__(self, stopping: StopRule, longest: int) -> None:
        """Know nothing yet.

        Args:
            stopping: the rule.
            longest: the most epochs that a trial of the study asks for.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._active = stopping.rule != "none"
        self._study = optuna.create_study(
            study_name=STUDY,
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=0),  # never asked for a value
            pruner=_pruner(stopping, longest),
        )
        self._judged: dict[str, optuna.Trial] = {}
        self._scores: dict[str, dict[int, float]] = {}
        self._lineages: dict[int, str] = {}
        self._open: dict[str, set[int]] = {}
        self._stops: dict[str, int] = {}

    def take(self, record: Mapping[str, Any]) -> None:
        """Learn one record of the ledger, in its order."""
        if not self._active:
            return
        match record["record"]:
            case "trial":
                self._lineages[record["trial"]] = record["lineage"]
                self._open.setdefault(record["lineage"], set()).add(record["trial"])
            case "epoch":
                self._judge(record["lineage"], record["epoch"], record["metrics"])
            case "end":
                self._end(record["trial"], record["state"])
            case "left":  # nobody waits for it
                self._open[self._lineages[record["trial"]]].discard(record["trial"])

    def stop_of(self, lineage: str) -> int | None:
        """The epoch at which a lineage is to stop; None if it may go on."""
        return self._stops.get(lineage)

    def _judge(self, lineage: str, epoch: int, metrics: Mapping[str, Any]) -> None:
        score = metrics.get("val_macro_f1")
        if score is None:
            return
        if lineage not in self._judged:
            self._judged[lineage] = self._study.ask()
        trial = self._judged[lineage]
        trial.report(score, epoch)
        self._scores.setdefault(lineage, {})[epoch] = score
        if trial.should_prune():
            self._stops[lineage] = epoch
        else:
            self._stops.pop(lineage, None)

    def _end(self, number: int, state: str) -> None:
        """What finished as a whole is what `median` compares with."""
        lineage = self._lineages[number]
        self._open[lineage].discard(number)
        if state != "finished" or self._open[lineage]:
            return
        # Taken out, so that epochs that are added later count, and those before them not twice.
        if scores := self._scores.pop(lineage, None):
            self._study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE,
                    value=scores[max(scores)],
                    intermediate_values=scores,
                )
            )


def _pruner(stopping: StopRule, longest: int) -> optuna.pruners.BasePruner:
    first, factor = stopping.min_epochs, stopping.reduction_factor
    match stopping.rule:
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=first, reduction_factor=factor
            )
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=first, max_resource=max(first, longest), reduction_factor=factor
            )
        case "median":
            return optuna.pruners.MedianPruner(
                n_startup_trials=stopping.min_trials, n_warmup_steps=first
            )
        case _:
            return optuna.pruners.NopPruner()
