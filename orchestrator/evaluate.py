"""The command `evaluate`: measure a checkpoint on a split, or on another prepared set.

    open the checkpoint and the data -> predict -> measure -> write -> say

Every row is predicted exactly once, by Ray Data and actors that hold the model, and the rows
that the run has seen are counted before a score is called held-out. Leaves evaluation.json,
report.txt, predictions.parquet, groups.csv and pictures. DRIVER.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.checkpoint_choice import chosen
from orchestrator.cluster import connect, refuse_lost_folder
from orchestrator.config.command_line import parse, run
from orchestrator.config.evaluation import EvaluateConfig
from orchestrator.config.home import Home, held

if TYPE_CHECKING:
    from orchestrator.evaluation_job import Int64s, Job
    from orchestrator.inference.batch_run import Pace
    from orchestrator.inference.each_row_once import Probabilities
    from orchestrator.ingest.dataset import SplitIndex
    from orchestrator.results.evaluation import Predictions
    from orchestrator.results.evaluation_report import Evaluation

COMMAND = "python -m orchestrator.evaluate"
DESCRIPTION = (
    "Measures a checkpoint on a split of its data set, or on another prepared set: every row once, "
    "by Ray Data, on as many nodes as there are; says whether the run has seen the rows."
)
EXAMPLES = (
    f"{COMMAND} checkpoint=runs/main-1a2b3c4d5e6f",
    f"{COMMAND} checkpoint=runs/paper-1a2b3c4d data.path=prepared/production split=all",
    f"{COMMAND} checkpoint=runs/paper-1a2b3c4d/lineages/1791037ca98c/milestones/epoch-0012",
    f"{COMMAND} checkpoint=s3://bucket/runs/paper-1a2b3c4d",
)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(
        EvaluateConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES
    )
    refuse_lost_folder(config.out)
    from orchestrator.evaluation_job import checked_job, facts  # torch: seconds

    with chosen(config.checkpoint) as choice:
        job = checked_job(config, choice)
        print(*facts(job), sep="\n", flush=True)
        with held(job.out, "out", print) as out:
            with connect(config.address, dashboard=False):
                outputs, pace = _predict(job)
            evaluation = _measure(job, outputs, pace, shlex.join([*COMMAND.split(), *argv]))
            _write(job, evaluation, out)
    return 0


def _predict(job: Job) -> tuple[list[Probabilities], Pace]:
    """Probabilities of the rows measured, then of those a temperature is fitted on; one pool."""
    from orchestrator.evaluation_job import requests_of
    from orchestrator.inference.batch_run import predict
    from orchestrator.prediction_pool import ready_pool

    requests = requests_of(job)
    num_rows = sum(len(request.row_ids) for request in requests)
    pool = ready_pool(job.config, job.stored.experiment.precision, num_rows)
    print(f"predicting   {num_rows:,} rows, actors: {pool.plan.words}", flush=True)
    outputs, pace = predict(requests, job.network, pool)
    print(
        f"             {pace.images_per_s:,.0f} images/s; {pace.seconds:.1f} s, of which "
        f"{pace.first_s:.1f} s to the first rows\n",
        flush=True,
    )
    if job.sets.same:
        parts = (job.row_ids, job.validation_ids)
        outputs = [outputs[0][np.searchsorted(requests[0].row_ids, ids)] for ids in parts]
    return outputs, pace


def _measure(job: Job, outputs: Sequence[Probabilities], pace: Pace, command: str) -> Evaluation:
    """All figures, from what was predicted."""
    from orchestrator.evaluation_job import facts, record
    from orchestrator.results import evaluation as measures
    from orchestrator.results.evaluation_groups import confident_mistakes, group_scores
    from orchestrator.results.evaluation_report import Evaluation
    from orchestrator.results.held_out import exposure, first_weights

    same, fitted_ids = job.sets.same, job.validation_ids
    found = _predictions(job, job.index, job.row_ids, outputs[0], job.sets.class_indices)
    calibrated = None
    if len(fitted_ids):
        own_classes = range(len(job.sets.own.classes))
        validation = _predictions(job, job.own_index, fitted_ids, outputs[1], own_classes)
        in_sample = same and bool(np.isin(job.row_ids, fitted_ids).any())
        calibrated = measures.calibrate(found, validation, in_sample=in_sample)
    return Evaluation(
        title=job.title,
        facts=facts(job),
        record=record(job, pace, command),
        exposure=exposure(
            found.groups,
            job.row_ids,
            job.own_index,
            same_set=same,
            first_weights=first_weights(job.stored.experiment.model.weights),
        ),
        predictions=found,
        scores=measures.score(found, job.config.bootstrap),
        reliability=measures.reliability(found.normalised, found.labels),
        calibrated=calibrated,
        groups=group_scores(found),
        mistakes=confident_mistakes(found),
    )


def _predictions(
    job: Job,
    index: SplitIndex,
    row_ids: Int64s,
    probabilities: Probabilities,
    class_indices: Sequence[int],
) -> Predictions:
    """Probabilities with what the data set says of their rows, classes by the model's numbers."""
    from orchestrator.results.evaluation import Predictions

    return Predictions(
        row_ids=row_ids,
        groups=index.groups[row_ids],
        labels=np.asarray(class_indices, dtype=np.int64)[index.labels[row_ids]],
        probabilities=probabilities,
        classes=job.sets.own.classes,
        present=tuple(sorted(class_indices)),
    )


def _write(job: Job, evaluation: Evaluation, out: Home) -> None:
    """Writes the files and prints what a reader decides by."""
    from orchestrator.ingest.pixels import images_of
    from orchestrator.results.evaluation_report import PICTURES, SUMMARY, figures, write_evaluation

    rows = [mistake.row_id for mistake in evaluation.mistakes]
    write_evaluation(evaluation, images_of(job.sets.measured, rows), out.local)
    out.send_results(SUMMARY, PICTURES)
    print(figures(evaluation))
    files = "report.txt, evaluation.json, predictions.parquet, groups.csv, pictures"
    print(f"results      {out.shown}  ({files})")


if __name__ == "__main__":
    sys.exit(run(main))
