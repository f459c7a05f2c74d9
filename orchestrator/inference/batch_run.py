"""Rows of prepared sets through a model, by Ray Data, each row exactly once.

DRIVER. Ray Data reads the raw pixels on whatever node has a free CPU and streams them to a pool
of actors that hold the model, so that memory holds a few blocks and no split. That each row came
once is not believed but checked, by row_id.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, Dataset
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import NodeDiedError, RayActorError, RayTaskError, WorkerCrashedError
from ray.util.annotations import RayDeprecationWarning
from torch import nn

from orchestrator.config.errors import OrchestratorError
from orchestrator.inference.actors import ActorPlan
from orchestrator.inference.each_row_once import (
    Features,
    Probabilities,
    features_of,
    probabilities_of,
)
from orchestrator.inference.predictor import KEYS, Predictor
from orchestrator.inference.projection import Projection
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.ingest.order import Int64s
from orchestrator.ingest.reading import raw_rows
from orchestrator.ingest.tasks import refuse_without_cpu

RESTARTS = 2
"""Times that a pool of which a process died is replaced."""


@dataclass(frozen=True, eq=False)
class Request:
    """Rows of one set to predict: `row_ids` ascending, each once."""

    dataset: PreparedDataset
    row_ids: Int64s


@dataclass(frozen=True)
class Pool:
    """What predicts.

    Attributes:
        plan: how many processes, with what of the cluster.
        precision: auto, fp32 or bf16.
        batch_size: images at once.
        timeout_s: longest time without progress before it is an error.
    """

    plan: ActorPlan
    precision: str
    batch_size: int
    timeout_s: float


@dataclass(frozen=True)
class Pace:
    """How long it took.

    Attributes:
        num_rows: rows predicted.
        seconds: from the start to the last row; processes start within it.
        first_s: until the first rows came.
        first_rows: how many came then.
    """

    num_rows: int
    seconds: float
    first_s: float
    first_rows: int

    @property
    def images_per_s(self) -> float:
        """Over all, the start of processes counted."""
        return self.num_rows / self.seconds

    @property
    def steady_images_per_s(self) -> float | None:
        """After the first rows; None where all came at once."""
        rest = self.seconds - self.first_s
        return (self.num_rows - self.first_rows) / rest if self.num_rows > self.first_rows else None


def predict(
    requests: Sequence[Request], network: nn.Module, pool: Pool
) -> tuple[list[Probabilities], Pace]:
    """Predict the rows of one or several sets with one pool of actors; Ray must be initialised.

    Args:
        requests: rows of sets whose images have one shape.
        network: on the CPU, in evaluation mode.
        pool: what predicts them.

    Returns:
        For each request probabilities of shape (len(row_ids), K), in the order of its row_ids;
        and the pace.

    Raises:
        OrchestratorError: no CPU or GPU is free, nothing went on for too long, processes died
            again and again, an output is not finite, or a row did not come exactly once.
    """
    whole, pace = _predict(requests, network, pool, None)
    return [probabilities_of(*one) for one in _asked(requests, whole)], pace


def predict_with_features(
    requests: Sequence[Request], network: nn.Module, pool: Pool, projection: Projection
) -> tuple[list[tuple[Probabilities, Features]], Pace]:
    """As `predict`, with penultimate features of each row as well.

    Args:
        requests: rows of sets whose images have one shape.
        network: a model of ours, on the CPU, in evaluation mode.
        pool: what predicts them.
        projection: what features are reduced to before they leave their process.

    Returns:
        For each request probabilities and float32 features of shape (len(row_ids), D), in the
        order of its row_ids; and the pace.

    Raises:
        OrchestratorError: as `predict`.
    """
    whole, pace = _predict(requests, network, pool, projection)
    asked = _asked(requests, whole)
    return [(probabilities_of(*one), features_of(*one)) for one in asked], pace


def _predict(
    requests: Sequence[Request], network: nn.Module, pool: Pool, projection: Projection | None
) -> tuple[pa.Table, Pace]:
    """All outputs in one table, in any order."""
    refuse_without_cpu()
    _refuse_without_gpu(pool.plan)
    started = time.monotonic()
    tables: list[pa.Table] = []
    seconds: list[float] = []
    for table in _outputs(requests, ray.put(network), pool, projection):
        seconds.append(time.monotonic() - started)
        tables.append(table)
    if not tables:
        raise OrchestratorError("rows: at least one must come; none did. Nothing was written")
    whole = pa.concat_tables(tables)
    return whole, Pace(whole.num_rows, seconds[-1], seconds[0], tables[0].num_rows)


def _asked(requests: Sequence[Request], whole: pa.Table) -> list[tuple[int, Int64s, pa.Table, str]]:
    return [(number, one.row_ids, whole, one.dataset.name) for number, one in enumerate(requests)]


def _refuse_without_gpu(plan: ActorPlan) -> None:
    free = ray.available_resources().get("GPU", 0)
    if free < plan.gpus:
        raise OrchestratorError(
            f"cluster: must have {plan.gpus:g} GPUs free for each actor; got {free:g}. Wait for "
            "other jobs, end them, or use gpus_per_actor=0"
        )


def _outputs(
    requests: Sequence[Request],
    network: ray.ObjectRef[nn.Module],
    pool: Pool,
    projection: Projection | None,
) -> Iterator[pa.Table]:
    """The outputs as they come; after a lost process only what is left is predicted anew."""
    came: list[pa.Table] = []
    for restarts_left in reversed(range(RESTARTS + 1)):
        pipeline = _pipeline(_left(requests, came), network, pool, projection)
        try:
            for table in _tables(pipeline, pool.timeout_s):
                came.append(table)
                yield table
            return
        except (RayActorError, NodeDiedError, WorkerCrashedError) as error:
            if not restarts_left:
                raise OrchestratorError(
                    f"actors: must live while they predict; one died {RESTARTS + 1} times. Short "
                    "of memory? Lower actors or batch_size"
                ) from error


def _left(requests: Sequence[Request], came: Sequence[pa.Table]) -> list[Request]:
    """What of the requests has not come."""
    if not came:
        return list(requests)
    keys = pa.concat_tables(came).select(list(KEYS)).to_pandas()
    return [
        Request(one.dataset, np.setdiff1d(one.row_ids, keys.row_id[keys.request == number]))
        for number, one in enumerate(requests)
    ]


def _pipeline(
    requests: Sequence[Request],
    network: ray.ObjectRef[nn.Module],
    pool: Pool,
    projection: Projection | None,
) -> Dataset:
    first, *others = [_rows_of(number, request) for number, request in enumerate(requests)]
    rows = first.union(*others) if others else first
    with warnings.catch_warnings():
        # Ray 2.60 deprecates the one way to say this, and has no other yet.
        warnings.filterwarnings("ignore", category=RayDeprecationWarning)
        return rows.map_batches(
            Predictor,
            batch_size=pool.batch_size,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=pool.plan.actors),
            num_cpus=pool.plan.cpus,
            num_gpus=pool.plan.gpus,
            ray_remote_args_fn=_without_restarts,
            fn_constructor_args=[network],
            fn_constructor_kwargs={
                "precision": pool.precision,
                "image_shape": requests[0].dataset.image_shape,
                "threads": pool.plan.threads,
                "on_gpu": pool.plan.gpus > 0,
                "projection": projection,
            },
        )


def _without_restarts() -> dict[str, int]:
    """By itself Ray starts a process that dies of its batch again and again, without end."""
    return {"max_restarts": 0, "max_task_retries": 0}


def _rows_of(number: int, request: Request) -> Dataset:
    return raw_rows(request.dataset, ["image", "row_id"]).map_batches(
        _keep_wanted,
        fn_kwargs={"row_ids": request.row_ids, "number": number},
        batch_format="pyarrow",
        batch_size=None,
    )


def _keep_wanted(table: pa.Table, row_ids: Int64s, number: int) -> pa.Table:
    """The rows asked for, marked with the number of their request."""
    keep = np.isin(table.column("row_id").to_numpy(), row_ids)
    kept = table.filter(pa.array(keep))
    return kept.append_column("request", pa.array(np.full(kept.num_rows, number, np.int64)))


def _tables(pipeline: Dataset, timeout_s: float) -> Iterator[pa.Table]:
    """What a pipeline gives; a bug or a stand-still in it becomes an error of ours."""
    # By itself Ray Data would wait half an hour for a cluster that cannot go on.
    pipeline.context.execution_no_progress_timeout_s = timeout_s
    pipeline.context.raise_original_map_exception = True
    try:
        for table in pipeline.iter_batches(batch_size=None, batch_format="pyarrow"):
            if table.num_rows:
                yield table
    except ExecutionTimeoutError as error:
        free = ray.available_resources()
        raise OrchestratorError(
            f"timeout_s: rows must be predicted without a pause of {timeout_s:g} s; got one. Free "
            f"now: {free.get('CPU', 0):g} CPUs, {free.get('GPU', 0):g} GPUs. Wait for other jobs, "
            "lower actors or batch_size, or raise timeout_s"
        ) from error
    except RayTaskError as error:
        if isinstance(error.cause, OrchestratorError):
            # Ray Data puts advice of its own below the message.
            raise OrchestratorError(str(error.cause).partition("\n")[0]) from error
        raise
