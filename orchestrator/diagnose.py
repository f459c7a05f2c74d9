"""The command `diagnose`: has production shifted, how, and what does that cost?

    open the checkpoint and both sets -> predict -> compare -> write -> say

Compares the run's validation split with production by the model's outputs and its penultimate
features (`orchestrator/shift`), without labels and, where there are any, checked against them.
Leaves diagnosis.json, report.txt, diagnosis.html and priors.png. DRIVER.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.checkpoint_choice import chosen
from orchestrator.cluster import connect, refuse_lost_folder
from orchestrator.config.command_line import parse, run
from orchestrator.config.home import Home, held
from orchestrator.config.production import DiagnoseConfig

if TYPE_CHECKING:
    from orchestrator.diagnosis_job import Comparison
    from orchestrator.results.diagnosis_report import Report
    from orchestrator.shift.outputs import Outputs

COMMAND = "python -m orchestrator.diagnose"
DESCRIPTION = (
    "Says whether a production set has shifted against the run's validation split, and how: "
    "class priors, label shift, covariate shift, accuracy to expect, recall where there are labels."
)
EXAMPLES = (
    f"{COMMAND} checkpoint=runs/main-1a2b3c4d5e6f production=prepared/production",
    f"{COMMAND} checkpoint=runs/paper-1a2b3c4d production=prepared/production labels=false",
)
FEATURE_WIDTH = 256
"""Numbers that are kept of a row's penultimate features: a kilobyte."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(
        DiagnoseConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES
    )
    refuse_lost_folder(config.out)
    from orchestrator.diagnosis_job import checked_comparison  # torch: seconds

    command = shlex.join([*COMMAND.split(), *argv])
    with chosen(config.checkpoint) as choice:
        comparison = checked_comparison(config, choice)
        with held(comparison.out, "out", print) as out:
            with connect(config.address, dashboard=False):
                reference, production = _predict(comparison)
            _write(_diagnose(comparison, reference, production, command), out)
    return 0


def _predict(comparison: Comparison) -> tuple[Outputs, Outputs]:
    """Outputs and projected features of both sets, by one pool of actors."""
    from orchestrator.inference.batch_run import predict_with_features
    from orchestrator.inference.projection import Projection
    from orchestrator.prediction_pool import ready_pool

    config, job = comparison.config, comparison.job
    requests = comparison.requests()
    num_rows = sum(len(request.row_ids) for request in requests)
    pool = ready_pool(config, job.stored.experiment.precision, num_rows)
    print(f"predicting   {num_rows:,} rows, actors: {pool.plan.words}\n", flush=True)
    projection = Projection(FEATURE_WIDTH, config.seed)
    found, _ = predict_with_features(requests, job.network, pool, projection)
    return comparison.outputs(found)


def _diagnose(
    comparison: Comparison, reference: Outputs, production: Outputs, command: str
) -> Report:
    """Runs the tests and puts them together with what they belong to."""
    from orchestrator.diagnosis_job import record
    from orchestrator.results.diagnosis_report import Report
    from orchestrator.shift.diagnosis import diagnose

    assert reference.features is not None, "predict_with_features gives features"
    of_reference, of_production = comparison.exposures()
    return Report(
        diagnosis=diagnose(reference, production, seed=comparison.config.seed),
        classes=comparison.job.sets.own.classes,
        reference=comparison.job.sets.own.name,
        production=comparison.job.sets.measured.name,
        record=record(comparison, command, kept=reference.features.shape[1]),
        reference_exposure=of_reference,
        production_exposure=of_production,
    )


def _write(report: Report, out: Home) -> None:
    from orchestrator.results.diagnosis_report import SUMMARY, text, write_diagnosis

    write_diagnosis(report, out.local)
    out.send_results(SUMMARY)
    print(text(report))
    files = "diagnosis.html, report.txt, diagnosis.json, priors.png"
    print(f"results      {out.shown}  ({files})")


if __name__ == "__main__":
    sys.exit(run(main))
