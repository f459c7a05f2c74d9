"""A Ray Train run that stays up: workers with their data, waiting for the next experiment.

Runs in a slot (`tuning/slot.py`) or in the driver of `train`. Starting a Train run costs
10-20 s; a warm one begins its next experiment in the time it takes to build the model.

What happens when a worker or its node is lost. Ray Train's own recovery (`FailureConfig`) would
start the train function again in the middle of a conversation with its slot, count the failures
of all trials of a slot together, and start again after a bug too. So the run ends
(`max_failures=0`), the slot looks at why, and makes a new one that goes on from the lineage's
newest checkpoint (`steady_run.py`, `resources.restarts` times before the next epoch). With
`resources.min_workers` the new one gets as many workers as Ray has room for just then
(`workers_that_fit`), and keeps that number. Ray Train's own elastic form is not used: each run
reserves room for all the workers that it may have, so that of two slots one starves the other,
and it resizes a healthy run by killing its workers in mid-epoch with all the data that they hold.
Where a run has fewer workers than planned, the slot asks between epochs whether another one fits
(`could_grow`), and makes a new run if so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.data import Dataset
from ray.exceptions import RayActorError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.execution.controller import TrainController

from orchestrator.config.errors import (
    NoRoomError,
    SlotError,
    StorageError,
    TrainingError,
)
from orchestrator.config.shared_folder import Mark
from orchestrator.ingest.reading import LaneShards, SplitSize
from orchestrator.training.mailbox import Answer, Command, open_mailbox
from orchestrator.training.memory import batch_words
from orchestrator.training.movement import Movement, end_workers
from orchestrator.training.pulse import Beat, say
from orchestrator.training.room import Room, fits_now, free_resources
from orchestrator.training.run_end import slot_error
from orchestrator.training.worker import WorkerSettings, obey

POLL_S = 1.0
"""How often a waiting slot looks whether its Train run is still alive."""
STOP_TIMEOUT_S = 30.0
"""Of a run that may hang."""
WRITE_TIMEOUT_S = 600.0
"""Of one that is well: its newest checkpoint may still be on its way to a slow storage."""
SAY_EVERY_S = 10.0
"""How often a slot that ends says so: who watches for a stall must not take it for one."""
GROW_EVERY_S = 60.0
"""How often a run that has lost workers asks whether they fit again."""
SILENT = (
    "slot: something must move in it at least every {:g} s while it trains (a batch, a file of a checkpoint); "
    "nothing did, and its workers were ended"
)
LOST_MAILBOX = "slot: its mailbox must live while it trains; its process died"


@dataclass(frozen=True)
class SlotPlan:
    """All that a slot needs besides the data: the same for every slot of a study.

    Attributes:
        workers: data-parallel workers, at most.
        cpus_per_worker: CPU cores of each, whole.
        gpus_per_worker: GPUs of each; 0 trains on the CPU.
        image_shape: (H, W, C) of the data set.
        num_classes: classes of the data set.
        dataset: what a checkpoint says of the data set (`checkpoint.CheckpointState`).
        sizes: rows and groups of each split.
        device_budget_gib: images a worker may keep on its device.
        start_timeout_s: longest wait for the workers.
        storage: folder for Ray Train's own files; see `slots.ready_slots`.
        silence_s: how long no worker may get through a batch, nor write a file of a checkpoint.
        mark: what each worker must see of the folder of the run; None where an object store keeps it.
        min_workers: workers at least: a run starts with as many as fit then, and keeps that
            number; 0 = `workers`.
    """

    workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    image_shape: tuple[int, int, int]
    num_classes: int
    dataset: Mapping[str, object]
    sizes: Mapping[str, SplitSize]
    device_budget_gib: float
    start_timeout_s: float
    storage: Path
    silence_s: float
    mark: Mark | None = None
    min_workers: int = 0


class WarmRun:
    """One Ray Train run and the mailbox through which it is commanded."""

    def __init__(
        self, name: str, plan: SlotPlan, datasets: Mapping[str, Dataset], workers: int
    ) -> None:
        """Start a run of so many workers; does not wait for them (`ask` and `wait_ready` do)."""
        self._name = name
        self._plan = plan
        self.workers = workers
        need = f"{plan.cpus_per_worker} CPU + {plan.gpus_per_worker:g} GPU"
        say(name, f"waits for {workers} workers, each {need}")
        self._mailbox = open_mailbox()
        self._num_answers = 0
        self._failure: Exception | None = None
        self._batch = ""
        self._asked_s = time.monotonic()
        self._room = Room(_resources(plan))
        trainer = _trainer(name, plan, workers, datasets, self._mailbox)
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True, name=name)
        self._thread.start()

    def wait_ready(self) -> Answer:
        """Wait until the workers hold their shards.

        Raises:
            NoRoomError: they did not come in time.
            StorageError: one of them sees another folder than the driver.
            SlotError: they died.
        """
        deadline_s = time.monotonic() + self._plan.start_timeout_s
        return self._next_answer(deadline_s, room=self._room)

    def could_grow(self) -> bool:
        """Whether the run has fewer workers than planned, and one more would fit now."""
        now = time.monotonic()
        if self.workers >= self._plan.workers or now - self._asked_s < GROW_EVERY_S:
            return False
        self._asked_s = now
        if fits_now([_resources(self._plan)]):
            return True
        self._room.look()  # what took it may be reserved for nobody
        return False

    def ask(self, command: Command) -> Answer:
        """Send a command to all workers and wait for the leader's answer.

        Raises:
            TrainingError: the experiment failed; the workers are ready for another.
            StorageError: what was trained could not be written.
            SlotError: the Train run is gone (a process died, or a bug); make a new one.
        """
        say(self._name, _in_words(command))
        if command["kind"] == "begin":
            self._batch = batch_words(int(command["experiment"]["batch_size"]), self.workers)
        try:
            ray.get(self._mailbox.put.remote(command))
        except RayActorError as error:
            raise SlotError(LOST_MAILBOX, retryable=True, detail=str(error)) from error
        # A beginning may fetch a file of weights, of which nobody hears.
        moves = None if command["kind"] == "begin" else Movement(self._name)
        answer = self._next_answer(moves=moves)
        say(self._name, "waits for what comes next")
        if answer["kind"] == "failed" and answer.get("storage"):
            raise StorageError(answer["error"])
        if answer["kind"] == "failed":
            raise TrainingError(answer["error"], final=answer["final"])
        return answer

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Let the workers leave, and wait until they have, or for so long."""
        if self._thread.is_alive():
            self._mailbox.put.remote({"kind": "stop"})
            end_s = time.monotonic() + timeout_s
            while self._thread.is_alive() and (left_s := end_s - time.monotonic()) > 0:
                say(self._name, "ends: its newest checkpoint is being written")
                self._thread.join(min(left_s, SAY_EVERY_S))
        ray.kill(self._mailbox)
        say(self._name, "has ended")

    def abandon(self) -> None:
        """Leave a run whose workers are busy: they end with its controller.

        To be called by a driver before it leaves Ray. `TorchTrainer.fit` waits for the controller
        in a thread of this process, and a thread that is still asking Ray then ends the process on
        the spot, with status 1 (2.60, "The core worker has already been shutdown").
        """
        # In a thread: Ray may be what hangs, and then there is nothing to wait for.
        ending = threading.Thread(target=self._end_controller, daemon=True, name="ending")
        ending.start()
        ending.join(STOP_TIMEOUT_S)

    def _end_controller(self) -> None:
        with suppress(Exception):
            while self._thread.is_alive():
                _kill_controllers()
                self._thread.join(timeout=POLL_S)

    def _fit(self, trainer: TorchTrainer) -> None:
        try:
            trainer.fit()
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits
            self._failure = error

    def _next_answer(
        self,
        deadline_s: float = float("inf"),
        moves: Movement | None = None,
        room: Room | None = None,
    ) -> Answer:
        pending = self._mailbox.answer.remote(self._num_answers)
        while True:
            done, _ = ray.wait([pending], timeout=POLL_S)
            if done:
                self._num_answers += 1
                return _received(pending)
            if not self._thread.is_alive():
                raise slot_error(self._failure, no_room=self._no_room, batch=self._batch)
            if time.monotonic() > deadline_s:
                raise NoRoomError(self._no_room())
            if room is not None:
                room.look()
            if moves is not None and moves.still_s() > self._plan.silence_s:
                self._end_workers(moves.workers())
                words = SILENT.format(self._plan.silence_s)
                raise SlotError(words, retryable=True, detail=words)

    def _end_workers(self, workers: Sequence[Beat]) -> None:
        """End what hangs; the run then ends by itself, and gives its room back."""
        say(self._name, "ends its workers: nothing moves in them")
        end_workers(workers, STOP_TIMEOUT_S)
        self._thread.join(STOP_TIMEOUT_S)

    def _no_room(self) -> str:
        plan = self._plan
        return (
            f"resources: a slot's {self.workers} workers must be ready within "
            f"start_timeout_s={plan.start_timeout_s:g} s; they are not. Each needs "
            f"{plan.cpus_per_worker} CPUs and {plan.gpus_per_worker:g} GPUs, "
            f"then reads its data; free now: {free_resources()}. Wait for other jobs, "
            "lower resources, or raise resources.start_timeout_s"
        )


def _received(answer: ray.ObjectRef[Answer]) -> Answer:
    try:
        return ray.get(answer)
    except RayActorError as error:
        raise SlotError(LOST_MAILBOX, retryable=True, detail=str(error)) from error


def _trainer(
    name: str,
    plan: SlotPlan,
    workers: int,
    datasets: Mapping[str, Dataset],
    mailbox: ray.actor.ActorHandle,
) -> TorchTrainer:
    on_gpu = plan.gpus_per_worker > 0
    settings: WorkerSettings = {
        "slot": name,
        "mailbox": mailbox,
        "mark": plan.mark,
        "image_shape": plan.image_shape,
        "num_classes": plan.num_classes,
        "dataset": dict(plan.dataset),
        "sizes": dict(plan.sizes),
        "threads": plan.cpus_per_worker,
        "device_budget_gib": plan.device_budget_gib,
    }
    return TorchTrainer(
        obey,
        train_loop_config=dict(settings),
        datasets=dict(datasets),
        dataset_config=LaneShards(),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=on_gpu,
            resources_per_worker=_resources(plan),
        ),
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        run_config=RunConfig(
            name=name,
            storage_path=str(plan.storage),
            failure_config=FailureConfig(
                max_failures=0,
                max_preemption_failures=0,
                # Each failure to start is a minute of waiting; the default waits for ever.
                controller_failure_limit=max(1, int(plan.start_timeout_s // 60)),
            ),
        ),
    )


def _kill_controllers() -> None:
    """Ends the controllers of this job's Ray Train runs.

    Ray Train hands out no handle of its controller, which `ray.kill` wants; what that does with the
    handle is done here with the name that Ray's table has.
    """
    this_process = ray._private.worker.global_worker.core_worker
    job = ray.get_runtime_context().get_job_id()
    for actor in ray._private.state.actors().values():
        named = actor["ActorClassName"] == TrainController.__name__ and actor["JobID"] == job
        if named and actor["State"] != "DEAD":
            this_process.kill_actor(ray.ActorID.from_hex(actor["ActorID"]), True)


def fewest_workers(plan: SlotPlan) -> int:
    """Without which no run is started."""
    return plan.min_workers or plan.workers


def workers_that_fit(plan: SlotPlan) -> int:
    """As many as Ray finds room for now; the fewest of the plan if not even these have it."""
    fewest, most = fewest_workers(plan), plan.workers
    while fewest < most:
        middle = (fewest + most + 1) // 2
        if fits_now([_resources(plan)] * middle):
            fewest = middle
        else:
            most = middle - 1
    return fewest


def _resources(plan: SlotPlan) -> dict[str, float]:
    """Of one worker."""
    gpus = {"GPU": plan.gpus_per_worker} if plan.gpus_per_worker > 0 else {}
    return {"CPU": float(plan.cpus_per_worker), **gpus}


def _in_words(command: Command) -> str:
    if command["kind"] == "begin":
        return f"builds the model of lineage {command['lineage']}"
    return "trains an epoch" if command["kind"] == "epoch" else f"waits for: {command['kind']}"
