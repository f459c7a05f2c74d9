"""What a Ray Train worker does for the life of its slot: hold its shard and obey commands.

WORKER. The commands are

    begin   build an experiment, go on from its newest checkpoint if there is one
    epoch   train one epoch, evaluate, write the checkpoint, report
    stop    leave

The first answer (`ready`) comes when the shards are held. A trial that fails by its own fault
(a loss that is not finite) is an answer, not an exception: the slot lives on.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

import models
from orchestrator.config.errors import OrchestratorError
from orchestrator.config.experiment import Experiment
from orchestrator.ingest.reading import SplitSize
from orchestrator.ingest.shard import Shard, collect_shard
from orchestrator.training.augmentation import AugmentationPlan
from orchestrator.training.checkpoint import (
    CheckpointState,
    keep_only,
    newest_valid,
    restore,
    save_for_resume,
    save_weights,
)
from orchestrator.training.epochs import Metrics, Training, evaluate, replicate, train_epoch
from orchestrator.training.mailbox import Answer, Command
from orchestrator.training.optimizers import build_optimizer
from orchestrator.training.precision import choose_precision


class WorkerSettings(TypedDict):
    """What a slot tells its workers once."""

    mailbox: ray.actor.ActorHandle
    image_shape: tuple[int, int, int]
    num_classes: int
    sizes: dict[str, SplitSize]
    threads: int
    device_budget_gib: float


@dataclass
class _Held:
    """What a worker keeps from command to command."""

    settings: WorkerSettings
    device: torch.device
    shards: dict[str, Shard]
    lineage: _Lineage | None = None


@dataclass
class _Lineage:
    """The experiment at work."""

    training: Training
    key: str
    folder: Path
    milestones: frozenset[int]
    keep_best: bool
    experiment: dict[str, Any]
    report: models.WeightReport
    history: list[Metrics]


def obey(settings: WorkerSettings) -> None:
    """The train function of a slot's Ray Train run; returns on `stop`."""
    device = ray.train.torch.get_device()
    torch.set_num_threads(max(1, settings["threads"]))
    started = time.perf_counter()
    held = _Held(
        settings, device, {split: _hold(settings, split, device) for split in settings["sizes"]}
    )
    mailbox = settings["mailbox"]
    _reply(
        mailbox,
        {
            "kind": "ready",
            "seconds": time.perf_counter() - started,
            "device": str(device),
            "node": ray.util.get_node_ip_address(),
        },
    )
    number = 0
    while True:
        command = ray.get(mailbox.command.remote(number))
        number += 1
        if command["kind"] == "stop":
            return
        _reply(mailbox, _carry_out(command, held))


def _hold(settings: WorkerSettings, split: str, device: torch.device) -> Shard:
    iterator = ray.train.get_dataset_shard(split)
    tables = iterator.iter_batches(batch_size=None, batch_format="pyarrow")
    return collect_shard(
        tables,
        settings["image_shape"],
        num_rows=settings["sizes"][split]["num_rows"],
        num_groups=settings["sizes"][split]["num_groups"],
        device=device,
        budget_gib=settings["device_budget_gib"],
    )


def _carry_out(command: Command, held: _Held) -> Answer:
    """Do what the command says; what is the trial's own fault becomes an answer."""
    try:
        if command["kind"] == "begin":
            held.lineage = None  # frees the last model before the next one is built
            held.lineage = _begin(command, held)
            return {
                "kind": "begun",
                "epoch": held.lineage.training.epoch,
                "history": list(held.lineage.history),
                "weights": held.lineage.report.table(),
                "precision": held.lineage.training.precision.name,
            }
        assert held.lineage is not None, "an epoch comes after a beginning"
        return {"kind": "epoch", "metrics": _epoch(held.lineage, held)}
    except (OrchestratorError, models.ModelError) as error:
        return {"kind": "failed", "error": str(error)}
    except torch.OutOfMemoryError as error:
        if _num_workers() > 1:
            raise  # the others wait in an exchange that this worker will never join
        held.lineage = None
        return {"kind": "failed", "error": _out_of_memory(error)}


def _begin(command: Command, held: _Held) -> _Lineage:
    experiment = Experiment.model_validate(command["experiment"])
    training, report = _build(experiment, held)
    lineage = _Lineage(
        training=training,
        key=command["lineage"],
        folder=Path(command["folder"]),
        milestones=frozenset(command["milestones"]),
        keep_best=command["keep_best"],
        experiment=experiment.model_dump(mode="json"),
        report=report,
        history=[],
    )
    _resume(lineage)
    return lineage


def _build(experiment: Experiment, held: _Held) -> tuple[Training, models.WeightReport]:
    precision = choose_precision(experiment.precision, held.device)
    model, report = models.build(
        experiment.model.name,
        num_classes=held.settings["num_classes"],
        image_size=held.settings["image_shape"][0],
        width=experiment.model.width,
        dropout=experiment.model.dropout,
        normalisation=experiment.model.normalisation,
        weights=experiment.model.weights,
        weights_sha256=experiment.model.weights_sha256,
        seed=experiment.seed,
    )
    model = model.to(held.device).to(memory_format=precision.memory_format)
    training = Training(
        model=model,
        replica=replicate(model, held.device),
        optimizer=build_optimizer(experiment.optimizer, model.parameters()),
        augmentation=AugmentationPlan(**experiment.augmentation.model_dump()),
        precision=precision,
        device=held.device,
        batch_size=experiment.batch_size,
        seed=experiment.seed,
    )
    return training, report


def _resume(lineage: _Lineage) -> None:
    """Go on from the newest whole checkpoint; every worker reads it, so all start alike."""
    found = newest_valid(lineage.folder / "last", lineage.key)
    if found is None:
        return
    folder, state = found
    restore(folder, lineage.training)
    lineage.history.extend(state.history)


def _epoch(lineage: _Lineage, held: _Held) -> Metrics:
    num_classes = held.settings["num_classes"]
    clock = time.perf_counter()
    metrics: Metrics = train_epoch(lineage.training, held.shards["train"], num_classes)
    trained = time.perf_counter()
    metrics |= evaluate(lineage.training, held.shards["validation"], num_classes)
    evaluated = time.perf_counter()
    metrics["epoch"] = lineage.training.epoch
    seconds = {"train": trained - clock, "evaluate": evaluated - trained}
    metrics["seconds"] = seconds
    lineage.history.append(metrics)
    if _rank() == 0:
        _save(lineage)
        seconds["checkpoint"] = time.perf_counter() - evaluated
    return metrics


def _save(lineage: _Lineage) -> None:
    epoch = lineage.training.epoch
    state = CheckpointState(
        epoch, lineage.key, tuple(lineage.history), lineage.experiment, asdict(lineage.report)
    )
    if epoch in lineage.milestones:
        save_weights(lineage.folder / "milestones", lineage.training, state)
    if lineage.keep_best and _is_best(lineage.history):
        keep_only(save_weights(lineage.folder / "best", lineage.training, state))
    # The newest resume point comes last: once it is there, so is all that belongs to it.
    save_for_resume(lineage.folder / "last", lineage.training, state)


def _is_best(history: list[Metrics]) -> bool:
    scores = [metrics["val_macro_f1"] for metrics in history]
    return scores.index(max(scores)) == len(scores) - 1


def _out_of_memory(error: torch.OutOfMemoryError) -> str:
    first_line = str(error).splitlines()[0]
    return f"batch_size: must fit the device's memory; {first_line}. Lower batch_size"


def _reply(mailbox: ray.actor.ActorHandle, answer: dict[str, Any]) -> None:
    if _rank() == 0:
        ray.get(mailbox.reply.remote(answer | {"pid": os.getpid()}))


def _rank() -> int:
    return ray.train.get_context().get_world_rank()


def _num_workers() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1
