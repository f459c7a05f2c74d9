"""Predictions of an adaptation: the priors that its remedies need, and what each remedy is worth.

DRIVER; Ray must be initialised. All models see the same rows, which are read once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from orchestrator.adaptation_job import Adaptation
from orchestrator.evaluation_job import Int64s
from orchestrator.inference.batch_run import Request, predict
from orchestrator.inference.each_row_once import Probabilities
from orchestrator.inference.side_by_side import SideBySide
from orchestrator.prediction_pool import ready_pool
from orchestrator.results.adaptation_report import Measured, Outcome, Tried
from orchestrator.results.evaluation import Predictions, score
from orchestrator.results.paired_gain import paired_gain
from orchestrator.shift import calibration
from orchestrator.shift.calibration import Calibration
from orchestrator.shift.outputs import Outputs, log_probabilities, true_labels
from orchestrator.shift.parts import HELD_OUT, TRAIN, VALIDATION
from orchestrator.shift.prior_correction import correct_priors
from orchestrator.shift.priors import em
from orchestrator.shift.remedies import CORRECTIONS, ESTIMATING, WITHOUT_LABELS, WORDS

NUM_RESAMPLES_OF_PRIORS = 200


@dataclass(frozen=True)
class Corrections:
    """What outputs are corrected and rows are weighed with; of it what the remedies asked need.

    Attributes:
        fitted: calibration, fitted on the run's validation split only; None where no outputs are
            to be corrected.
        old: class shares there, which the calibrated outputs are for.
        estimated: shares in production by EM on the part to adapt with, labels not looked at; ()
            where no remedy needs them.
        counted: shares there by its labels.
    """

    fitted: Calibration | None = None
    old: tuple[float, ...] = ()
    estimated: tuple[float, ...] = ()
    counted: tuple[float, ...] = ()

    def priors(self, remedy: str) -> tuple[float, ...]:
        """The new priors of a remedy."""
        return self.counted if remedy == "prior_correction_counted" else self.estimated

    def applied(self, remedy: str, probabilities: Probabilities) -> npt.NDArray[np.float32]:
        """Outputs calibrated, then corrected to the remedy's priors."""
        assert self.fitted is not None, "only what corrects outputs asks"
        calibrated = calibration.apply(self.fitted, log_probabilities(_normalised(probabilities)))
        corrected = correct_priors(calibrated, np.array(self.old), np.array(self.priors(remedy)))
        return corrected.astype(np.float32)


def corrections(adaptation: Adaptation) -> Corrections:
    """Fit the calibration and estimate the priors, by the checkpoint as it is, where need be.

    Raises:
        DatasetError: the run's validation split lacks a class by whose share is to be divided.
        OrchestratorError: the rows could not be predicted.
    """
    job, asked = adaptation.job, set(adaptation.remedies)
    if not asked.intersection((*CORRECTIONS, *ESTIMATING)):
        return Corrections()
    new_ids = adaptation.parts.rows(TRAIN, VALIDATION)
    own, measured = job.sets.own, job.sets.measured
    requests = [Request(own, job.validation_ids), Request(measured, new_ids)]
    found, _ = predict(requests, job.network, _pool(adaptation, requests))
    labels = job.own_index.labels[job.validation_ids]
    reference = Outputs(
        _normalised(found[0]), None, labels, job.own_index.groups[job.validation_ids]
    )
    production = Outputs(_normalised(found[1]), None, None, job.index.groups[new_ids])
    estimates, num_classes = bool(asked.intersection(ESTIMATING)), len(own.classes)
    numbers = np.asarray(job.sets.class_indices, dtype=np.int64)
    return Corrections(
        fitted=_fitted(reference) if asked.intersection(CORRECTIONS) else None,
        old=_shares(labels, num_classes),
        estimated=_estimated(reference, production, adaptation.config.seed) if estimates else (),
        counted=_shares(numbers[job.index.labels[new_ids]], num_classes),
    )


def _fitted(reference: Outputs) -> Calibration:
    labels = true_labels(reference, "reference")  # outputs are divided by the share of each class
    return calibration.fit_bias_corrected(log_probabilities(reference.probabilities), labels)


def _shares(labels: Int64s, num_classes: int) -> tuple[float, ...]:
    return tuple((np.bincount(labels, minlength=num_classes) / len(labels)).tolist())


def _estimated(reference: Outputs, production: Outputs, seed: int) -> tuple[float, ...]:
    return em(reference, production, seed=seed, num_resamples=NUM_RESAMPLES_OF_PRIORS).priors


def measure(
    adaptation: Adaptation,
    found: Corrections,
    networks: Mapping[str, nn.Module],
    details: Mapping[str, Mapping[str, Any]],
    record: Mapping[str, Any],
) -> Outcome:
    """Measure the checkpoint and all remedies on held-out production, and on the old test split.

    Args:
        adaptation: what was tried.
        found: what outputs are corrected with.
        networks: of each remedy that trained.
        details: of each of them, for the report.
        record: what the figures belong to.
    """
    job = adaptation.job
    names = ("before", *networks)
    held_out = adaptation.parts.rows(HELD_OUT)
    requests = [Request(job.sets.measured, held_out)]
    if len(adaptation.own_test):
        requests.append(Request(job.sets.own, adaptation.own_test))
    together = SideBySide([job.network, *networks.values()]).eval()
    outputs, _ = predict(requests, together, _pool(adaptation, requests))
    production = _by_model(adaptation, names, outputs[0], held_out, own=False)
    old = (
        _by_model(adaptation, names, outputs[1], adaptation.own_test, own=True)
        if len(requests) > 1
        else {}
    )
    for remedy in CORRECTIONS:
        if remedy in adaptation.remedies:
            corrected = found.applied(remedy, production["before"].probabilities)
            production[remedy] = replace(production["before"], probabilities=corrected)
    return Outcome(
        record=record,
        classes=job.sets.own.classes,
        production=job.sets.measured.name,
        trained_on=job.sets.own.name,
        before=_measured(adaptation, production["before"], old.get("before")),
        tried=tuple(
            _tried(adaptation, name, found, production, old, details.get(name, {}))
            for name in adaptation.remedies
        ),
    )


def _tried(
    adaptation: Adaptation,
    name: str,
    found: Corrections,
    production: Mapping[str, Predictions],
    old: Mapping[str, Predictions],
    detail: Mapping[str, Any],
) -> Tried:
    config = adaptation.config

    def gain(sets: Mapping[str, Predictions]) -> Any:
        return paired_gain(
            sets["before"],
            sets[name],
            num_resamples=config.bootstrap,
            num_remedies=len(adaptation.remedies),
            seed=config.seed,
        )

    return Tried(
        name=name,
        words=WORDS[name],
        needs_labels=name not in WITHOUT_LABELS,
        priors=found.priors(name) if name in (*CORRECTIONS, "importance") else None,
        detail=dict(detail),
        after=_measured(adaptation, production[name], old.get(name)),
        gain=gain(production),
        old_gain=gain(old) if name in old else None,
    )


def _by_model(
    adaptation: Adaptation,
    names: tuple[str, ...],
    outputs: Probabilities,
    row_ids: Int64s,
    *,
    own: bool,
) -> dict[str, Predictions]:
    """What each model said of the rows."""
    job = adaptation.job
    index, indices = (job.own_index, tuple(range(len(job.sets.own.classes))))
    if not own:
        index, indices = job.index, job.sets.class_indices
    labels = np.asarray(indices, dtype=np.int64)[index.labels[row_ids]]
    by_model = outputs.reshape(len(row_ids), len(names), -1)
    return {
        name: Predictions(
            row_ids=row_ids,
            groups=index.groups[row_ids],
            labels=labels,
            probabilities=by_model[:, place],
            classes=job.sets.own.classes,
            present=tuple(np.unique(labels).tolist()),
        )
        for place, name in enumerate(names)
    }


def _measured(
    adaptation: Adaptation, production: Predictions, old: Predictions | None
) -> dict[str, Measured | None]:
    resamples = adaptation.config.bootstrap
    found = {"production": production, "old_test": old}
    return {
        name: None if one is None else Measured.of(score(one, resamples))
        for name, one in found.items()
    }


def _pool(adaptation: Adaptation, requests: list[Request]) -> Any:
    num_rows = sum(len(request.row_ids) for request in requests)
    return ready_pool(adaptation.config, adaptation.job.stored.experiment.precision, num_rows)


def _normalised(probabilities: Probabilities) -> npt.NDArray[np.float64]:
    exact = probabilities.astype(np.float64)
    return exact / exact.sum(axis=1, keepdims=True)
