"""What a Ray Train worker does for the life of its slot: hold its shard and obey commands.

WORKER. The commands are

    begin   build an experiment, go on from its newest checkpoint if there is one
    epoch   train one epoch, evaluate, take a snapshot, report; a thread writes the checkpoint
            while the next epoch trains (`checkpoint_writer.py` says what that promises)
    settle  wait until the newest checkpoint is on disk
    stop    leave, the same wait before

The first answer (`ready`) comes when the shards are held. A trial that fails by its own fault
(a loss that is not finite) is an answer, not an exception: the slot lives on.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import ray
import ray.train
import ray.train.torch
import torch
from torch import nn

import models
from orchestrator.config.errors import (
    OrchestratorError,
    SlotError,
    StorageError,
    TrainingError,
)
from orchestrator.config.experiment import Experiment, Model
from orchestrator.config.object_store import Store
from orchestrator.config.shared_folder import Mark
from orchestrator.ingest.reading import SplitSize, own_rows
from orchestrator.ingest.shard import Shard, collect_shard, device_gib
from orchestrator.training.agreement import Finding, agree, failure
from orchestrator.training.build import build_training
from orchestrator.training.checkpoint import (
    CheckpointState,
    epoch_folder,
    newest_valid,
    read_state,
    restore,
)
from orchestrator.training.checkpoint_writer import CheckpointWriter
from orchestrator.training.compiling import compiler_problem, uncompiled
from orchestrator.training.epochs import Metrics, Training, evaluate, train_epoch
from orchestrator.training.exchange import num_workers, rank
from orchestrator.training.flops import speed, training_flops
from orchestrator.training.freezing import ParameterCounts, freeze_convolutions
from orchestrator.training.lineage_store import LAST, fetch_newest, lineage_place
from orchestrator.training.mailbox import Answer, Command
from orchestrator.training.memory import batch_words, no_memory
from orchestrator.training.precision import choose_precision
from orchestrator.training.pulse import Pulse, say
from orchestrator.training.saving import Keeping, leave_only_best, save_epoch

LOG = logging.getLogger(__name__)


class WorkerSettings(TypedDict):
    """What a slot tells its workers once."""

    slot: str
    mailbox: ray.actor.ActorHandle
    mark: Mark | None
    image_shape: tuple[int, int, int]
    num_classes: int
    dataset: dict[str, Any]
    sizes: dict[str, SplitSize]
    threads: int
    device_budget_gib: float


@dataclass
class _Held:
    """What a worker keeps from command to command."""

    settings: WorkerSettings
    device: torch.device
    shards: dict[str, Shard]
    pulse: Pulse
    writer: CheckpointWriter = field(default_factory=CheckpointWriter)
    lineage: _Lineage | None = None
    flops: dict[str, int] = field(default_factory=dict)


@dataclass
class _Lineage:
    """The experiment at work."""

    training: Training
    key: str
    keeping: Keeping
    experiment: dict[str, Any]
    report: models.WeightReport
    counts: ParameterCounts
    flops_per_image: int
    history: list[Metrics] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    """What a user should know: checkpoints passed over, a failed write of the lineage before."""


@dataclass(frozen=True)
class _Built:
    """A network with its first weights."""

    model: nn.Module
    report: models.WeightReport
    counts: ParameterCounts


def obey(settings: WorkerSettings) -> None:
    """The train function of a slot's Ray Train run; returns on `stop`."""
    mailbox = settings["mailbox"]
    if not ray.get(mailbox.join.remote(rank())):
        raise SlotError(f"slot: worker {rank()} must start once; Ray Train started it again")
    _see_folder(settings)
    device = ray.train.torch.get_device()
    torch.set_num_threads(max(1, settings["threads"]))
    started = time.perf_counter()
    pulse = Pulse(f"{settings['slot']}/{rank()}")
    held = _Held(settings, device, _hold_all(settings, device, pulse), pulse)
    seconds = time.perf_counter() - started
    _reply(mailbox, {"kind": "ready", "seconds": seconds, "workers": num_workers()})
    number = 0
    while True:
        command = ray.get(mailbox.command.remote(number))
        number += 1
        if command["kind"] == "stop":
            _leave(held.writer)
            return
        _reply(mailbox, _carry_out(command, held))


def _see_folder(settings: WorkerSettings) -> None:
    """Make sure that what is written here is not lost; all workers do, or none goes on.

    Raises:
        StorageError: one of them sees another folder than the driver.
    """
    mark, own = settings["mark"], Finding()
    if mark is None:
        return
    words = f"{mark.folder} is not to be seen on {os.uname().nodename}: looks again"
    try:
        mark.look_for(lambda: say(settings["slot"], words))
    except StorageError as error:
        own = failure(error)
    agree(own)


def _leave(writer: CheckpointWriter) -> None:
    """Wait for the newest write; nobody waits for an answer now, so the log has what went wrong."""
    try:
        writer.wait()
    except OrchestratorError as error:
        LOG.error("as this slot ended: %s", error)
        raise


def _hold_all(settings: WorkerSettings, device: torch.device, pulse: Pulse) -> dict[str, Shard]:
    """Read this worker's part of each split; the first may use the whole budget."""
    budget_gib = settings["device_budget_gib"]
    shards = {}
    for split in settings["sizes"]:
        shards[split] = _hold(settings, split, device, budget_gib, pulse)
        budget_gib -= device_gib(shards[split], device)
    return shards


def _hold(
    settings: WorkerSettings, split: str, device: torch.device, budget_gib: float, pulse: Pulse
) -> Shard:
    iterator = ray.train.get_dataset_shard(split)
    tables = iterator.iter_batches(batch_size=None, batch_format="pyarrow")
    return collect_shard(
        own_rows(_counted(tables, pulse), rank(), num_workers()),
        settings["image_shape"],
        num_rows=settings["sizes"][split]["num_rows"],
        num_groups=settings["sizes"][split]["num_groups"],
        device=device,
        budget_gib=budget_gib,
    )


def _counted(tables: Iterable[pa.Table], pulse: Pulse) -> Iterator[pa.Table]:
    """Each table that arrives is a sign of life."""
    for table in tables:
        pulse.beat()
        yield table


def _carry_out(command: Command, held: _Held) -> Answer:
    """Do what the command says; what is the experiment's own fault becomes an answer."""
    try:
        if command["kind"] == "begin":
            held.lineage = None
            _free_memory()
            held.lineage = _begin(command, held)
            return _begun(held.lineage)
        if command["kind"] == "settle":
            held.writer.wait()
            return {"kind": "settled", "checkpoint_write_s": held.writer.read_seconds()}
        assert held.lineage is not None, "an epoch comes after a beginning"
        return {"kind": "epoch", "metrics": _epoch(held.lineage, held)}
    except TrainingError as error:
        return {"kind": "failed", "error": str(error), "final": error.final}
    except StorageError as error:  # of the leader, who alone writes: nobody waits for it
        held.lineage = None
        return {"kind": "failed", "error": str(error), "final": False, "storage": True}
    except (RuntimeError, MemoryError) as error:  # torch's own for memory is a RuntimeError too
        problem = no_memory(error, _batch(command, held)) or compiler_problem(error)
        if not problem or num_workers() > 1:
            raise  # the others wait in an exchange that this worker will never join
        held.lineage = None
        return {"kind": "failed", "error": problem, "final": False}


def _free_memory() -> None:
    """Free the last model before the next: DDP holds itself in a cycle.

    What is left are modules and data, which stay: they are not looked at again. Of torch and Ray
    that would take tenths of a second each time.
    """
    gc.collect()
    gc.freeze()


def _batch(command: Command, held: _Held) -> str:
    """The batch of the experiment at work, or of the one that begins; "" if there is neither."""
    if held.lineage is not None:
        return batch_words(held.lineage.training.batch_size, num_workers())
    begins = command.get("experiment")
    return batch_words(int(begins["batch_size"]), num_workers()) if begins else ""


def _begin(command: Command, held: _Held) -> _Lineage:
    """Build the experiment, or go on with it; all workers do, or none does."""
    experiment = Experiment.model_validate(command["experiment"])
    folder, store = lineage_place(command["folder"])
    last, own, notes = folder / LAST, Finding(), list[str]()
    built: _Built | None = None
    found: CheckpointState | None = None
    try:
        notes += _failed_write(held.writer)
        built = _build(experiment, held)
        found = _newest(last, store, command["lineage"], notes)
    except (OrchestratorError, models.ModelError, OSError) as error:
        own = failure(error)
    leader = agree(_finding(own, found, experiment.precision, held.device))
    assert built is not None, "all workers have agreed that they could"
    keeping = Keeping(
        folder=folder,
        milestones=frozenset(command["milestones"]),
        ends=tuple((epochs, patience) for epochs, patience in command["ends"]),
        keep_best=command["keep_best"],
        store=store,
        handed_out=command["handed_out"],
    )
    lineage = _lineage(command["lineage"], experiment, built, leader.precision, keeping, held)
    if leader.epoch:
        checked = found if found and found.epoch == leader.epoch else None
        _go_on(lineage, epoch_folder(last, leader.epoch), checked)
        notes += _other_workers(lineage, experiment.model, held)
    return replace(lineage, notes=tuple(notes))


def _newest(
    last: Path, store: Store | None, lineage: str, notes: list[str]
) -> CheckpointState | None:
    """What the newest whole checkpoint of a lineage says; None where it has none."""
    if store is not None:
        fetch_newest(store / LAST, last, lineage, notes)
    found = newest_valid(last, lineage, notes)
    return found[1] if found else None


def _finding(
    own: Finding, found: CheckpointState | None, precision: str, device: torch.device
) -> Finding:
    """What this worker tells the others: its failure, or where it could go on, and how."""
    if found:  # `auto` is chosen once: this may be another machine
        precision = found.history[-1].get("precision", precision)
    chosen = choose_precision(precision, device)
    return replace(own, epoch=found.epoch if found else 0, precision=chosen.name)


def _lineage(
    key: str,
    experiment: Experiment,
    built: _Built,
    precision_name: str,
    keeping: Keeping,
    held: _Held,
) -> _Lineage:
    """The experiment at its beginning."""
    precision = choose_precision(precision_name, held.device)
    model = built.model.to(held.device).to(memory_format=precision.memory_format)
    beat = uncompiled(held.pulse.beat) if experiment.compile else held.pulse.beat
    model.register_forward_pre_hook(beat)  # each batch, trained or scored, is a beat
    classes, rows = held.settings["num_classes"], held.shards["train"]
    return _Lineage(
        training=build_training(experiment, model, precision, held.device, rows, classes),
        key=key,
        keeping=keeping,
        experiment=experiment.model_dump(mode="json"),
        report=built.report,
        counts=built.counts,
        flops_per_image=_flops_per_image(experiment, model, held),
    )


def _failed_write(writer: CheckpointWriter) -> list[str]:
    """What went wrong with the newest write of the lineage before, whose own matter it is.

    Its trials have ended or were stopped, and what is lost is trained again should it go on.

    Raises:
        StorageError: the next lineage could not be written either.
    """
    try:
        writer.wait()  # what is being written may be what the next goes on from
    except TrainingError as error:
        LOG.error("the lineage before: %s", error)
        return [f"of the training before in this slot: {error}"]
    return []


def _go_on(lineage: _Lineage, folder: Path, checked: CheckpointState | None) -> None:
    """Take over a checkpoint that the leader found whole; all workers do, or none does.

    Args:
        lineage: which goes on.
        folder: of the checkpoint.
        checked: what it says, where this worker has compared its digests already.
    """
    own = Finding()
    try:
        lineage.history.extend((checked or read_state(folder)).history)
        restore(folder, lineage.training)
        if rank() == 0:
            leave_only_best(lineage.keeping, lineage.key, lineage.history)
    except (OrchestratorError, OSError) as error:
        own = failure(error)
    agree(own)


def _other_workers(lineage: _Lineage, model: Model, held: _Held) -> tuple[str, ...]:
    """Says that another number of workers goes on, where what is trained depends on it."""
    before, image_px = (
        lineage.history[-1].get("workers", num_workers()),
        held.settings["image_shape"][0],
    )
    if before == num_workers():
        return ()
    if not model.dropout and not models.has_batch_norm(model.name, image_size=image_px):
        return ()
    return (
        f"from epoch {lineage.history[-1]['epoch'] + 1} on {num_workers()} workers train it, {before} "
        "did before: each draws its own dropout or averages its own rows in batch norm, so the "
        "weights will differ from those of an equal number",
    )


def _build(experiment: Experiment, held: _Held) -> _Built:
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
    return _Built(model, report, freeze_convolutions(model, experiment.model.freeze))


def _flops_per_image(experiment: Experiment, model: nn.Module, held: _Held) -> int:
    """Counted once for each network that a slot trains: it takes a tenth of a second."""
    key = repr((experiment.model.name, experiment.model.width, experiment.model.freeze))
    if key not in held.flops:
        held.flops[key] = training_flops(model, held.settings["image_shape"][0])
    return held.flops[key]


def _begun(lineage: _Lineage) -> Answer:
    weights_K = lineage.training.loss.class_weights_K
    return {
        "kind": "begun",
        "history": list(lineage.history),
        "weights": lineage.report.table(),
        "weights_read": bool(lineage.report.sha256),
        "weights_json": lineage.report.to_json(),
        "precision": lineage.training.precision.name,
        "parameters": asdict(lineage.counts),
        "class_weights": weights_K if weights_K is None else weights_K.tolist(),
        "notes": list(lineage.notes),
    }


def _epoch(lineage: _Lineage, held: _Held) -> Metrics:
    _announce("begins", lineage.key, lineage.training.epoch + 1)
    num_classes = held.settings["num_classes"]
    clock = time.perf_counter()
    metrics: Metrics = train_epoch(lineage.training, held.shards["train"], num_classes)
    trained = time.perf_counter()
    metrics |= evaluate(lineage.training, held.shards["validation"], num_classes)
    evaluated = time.perf_counter()
    _announce("trained", lineage.key, lineage.training.epoch)
    groups = metrics.pop("val_groups", None)  # too large for every epoch's record
    metrics["epoch"] = lineage.training.epoch
    metrics["precision"] = lineage.training.precision.name
    metrics["workers"] = num_workers()
    metrics |= _speed(lineage, metrics["images_per_s"])
    seconds = lineage.training.clock.read()
    # What its phases leave of it, so that all of them add up to the epoch.
    seconds["train"] = max(0.0, trained - clock - sum(seconds.values()))
    seconds["evaluate"] = evaluated - trained
    metrics["seconds"] = seconds
    lineage.history.append(metrics)
    if rank() == 0:
        state = _state(lineage, held.settings["dataset"])
        save_epoch(lineage.keeping, lineage.training, state, groups, held.writer)
        # A dict of its own: the thread that writes must find the one before as it was.
        lineage.history[-1] = metrics | {
            "seconds": seconds | {"checkpoint": time.perf_counter() - evaluated},
            "checkpoint_write_s": held.writer.read_seconds(),
        }
    return lineage.history[-1]


def _announce(event: str, lineage: str, epoch: int) -> None:
    """Tell whoever counts what is trained; costs nothing where nobody listens."""
    if rank() == 0:
        sys.audit(f"orchestrator.epoch_{event}", lineage, epoch)


def _speed(lineage: _Lineage, images_per_s: float) -> Metrics:
    device = lineage.training.device
    return speed(
        images_per_s,
        lineage.flops_per_image,
        precision=lineage.training.precision.name,
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else "",
        devices=num_workers(),
    )


def _state(lineage: _Lineage, dataset: dict[str, Any]) -> CheckpointState:
    return CheckpointState(
        epoch=lineage.training.epoch,
        lineage=lineage.key,
        history=tuple(lineage.history),
        experiment=lineage.experiment,
        weights=asdict(lineage.report),
        dataset=dataset,
    )


def _reply(mailbox: ray.actor.ActorHandle, answer: dict[str, Any]) -> None:
    if rank() == 0:
        ray.get(mailbox.reply.remote(answer | {"pid": os.getpid()}))
