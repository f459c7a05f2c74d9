"""Trainings one after another by one group of warm workers: `train` has one, `adapt` several.

    read the data once -> start workers once -> for each experiment: begin, epochs, settle, say

DRIVER; Ray must be initialised.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.config.command_line import INTERRUPTED
from orchestrator.config.errors import StalledError
from orchestrator.config.experiment import Data, Experiment, Resources
from orchestrator.config.home import Home
from orchestrator.config.storage import CHECKPOINTS
from orchestrator.config.validate import to_dict
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.results.phase_table import Stopwatch
from orchestrator.results.plots import learning_curve
from orchestrator.results.sample_grid import augmented_grid
from orchestrator.results.tensorboard import TensorBoard
from orchestrator.run_folder import (
    CURVE,
    Metrics,
    begun_lines,
    closing_lines,
    end_of,
    epoch_line,
    send_results,
    time_lines,
    write_metrics,
    write_weights,
)
from orchestrator.stopping import Stop, stop_on_signals
from orchestrator.tuning.capacity import SlotCapacity
from orchestrator.tuning.lineages import lineage_key
from orchestrator.tuning.watchdog import Signs, watching

if TYPE_CHECKING:
    from orchestrator.training.steady_run import SteadyRun


@contextmanager
def warm_training(
    dataset: PreparedDataset, data: Data, resources: Resources, capacity: SlotCapacity, home: Home
) -> Iterator[WarmTraining]:
    """Workers that hold the data until this context ends; they start with the first training.

    Args:
        dataset: checked.
        data: which rows of it.
        resources: as asked for.
        capacity: of one slot, which they are.
        home: its name is theirs, and it has Ray Train's own files meanwhile.

    Raises:
        StalledError: nothing moved for `resources.stall_s`.
    """
    from orchestrator.slots import ready_slots  # torch and Ray's libraries: seconds
    from orchestrator.training.steady_run import SteadyRun
    from orchestrator.tuning.stall_report import free_amounts

    watch = Stopwatch()
    with _watched(free_amounts, resources.stall_s, home):
        plan, datasets = ready_slots(dataset, data, capacity, resources, home)
    watch.lap("ingest")
    if capacity.none_yet:
        print("waiting     for a node: none that is up has room for the workers", flush=True)
    steady = SteadyRun(home.local.name, plan, datasets, resources.restarts)
    try:
        yield WarmTraining(steady, dataset, resources, watch)
    finally:
        steady.stop()
        shutil.rmtree(plan.storage, ignore_errors=True)


@dataclass(frozen=True)
class Trained:
    """One training by warm workers, which need not wait for what is made of it.

    Attributes:
        experiment: as asked for.
        home: of the run.
        history: of all epochs there are.
        found: how many of them there were before.
        written_s: how long the last checkpoint was written, which no epoch waited for.
        watch: of the training.
        tensorboard: of the run, still writing.
    """

    experiment: Experiment
    home: Home
    history: list[Metrics]
    found: int
    written_s: float
    watch: Stopwatch
    tensorboard: TensorBoard

    def finish(self, again: str) -> int:
        """Plot, send and say what there is; returns the exit status.

        Args:
            again: the command that goes on where this training was stopped.

        Returns:
            130 where Ctrl-C ended it before its last epoch.
        """
        self.tensorboard.close()
        learning_curve(self.history, self.home.local / CURVE)
        sent = send_results(self.home)
        times = time_lines(self.watch, self.history[self.found :], self.written_s)
        closing = closing_lines(self.home, self.experiment, self.history, again)
        board = self.tensorboard.closing_lines(self.home)
        print(*sent, *times, *closing, *board, sep="\n")
        ended = len(self.history) >= end_of(self.experiment, self.history)
        return 0 if ended else INTERRUPTED


class WarmTraining:
    """Trains one experiment after another on the data that its workers hold."""

    def __init__(
        self, steady: SteadyRun, dataset: PreparedDataset, resources: Resources, watch: Stopwatch
    ) -> None:
        """Start nothing yet; `watch` has timed what was done for all, and goes to the first."""
        self._steady = steady
        self._dataset = dataset
        self._resources = resources
        self._watch: Stopwatch | None = watch

    def train(self, experiment: Experiment, home: Home) -> Trained:
        """Train to the asked epoch, or until Ctrl-C, and write the run folder as it goes.

        Args:
            experiment: resolved, on the rows that the workers hold.
            home: of the run, held; has its facts.

        Raises:
            StalledError: nothing moved for `resources.stall_s`.
        """
        self._take(experiment, home)
        watch, self._watch = self._watch or Stopwatch(), None
        with ExitStack() as on_error:
            tensorboard = on_error.enter_context(TensorBoard(home.local, print))
            # After an error its workers would first end their epoch.
            on_error.push(self._abandon)
            tensorboard.show_samples("training", lambda: augmented_grid(self._dataset, experiment))
            found, history, written_s = self._train(experiment, home, tensorboard, watch)
            on_error.pop_all()
        return Trained(experiment, home, history, found, written_s, watch, tensorboard)

    def _abandon(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt | StalledError):
            self._steady.abandon()

    def _take(self, experiment: Experiment, home: Home) -> None:
        from orchestrator.training.steady_run import Task

        task = Task(
            experiment=to_dict(experiment),
            lineage=lineage_key(experiment, self._dataset.fingerprint),
            folder=str(home.kept / CHECKPOINTS),
            milestones=(),
            ends=(),
            keep_best=True,
        )
        self._steady.take(task, known_epoch=0)

    def _train(
        self, experiment: Experiment, home: Home, tensorboard: TensorBoard, watch: Stopwatch
    ) -> tuple[int, list[Metrics], float]:
        """Epochs there were already, all epochs, and how long the last checkpoint was written."""
        from orchestrator.training.pulse import signs_of_life

        with _watched(signs_of_life, self._resources.stall_s, home) as stop:
            found = len(self._steady.begin()["history"])
            watch.lap("start")
            stop.gently()
            classes = self._dataset.classes
            history = train_epochs(self._steady, experiment, classes, home, tensorboard, stop)
            return found, history, self._steady.settle()["checkpoint_write_s"]


@contextmanager
def _watched(signs: Signs, stall_s: float, home: Home) -> Iterator[Stop]:
    """What is done in this context ends with an error where nothing moves any more.

    The first Ctrl-C ends it at once until `Stop.gently` is called.
    """
    from orchestrator.tuning.stall_report import stall_report

    def report() -> Sequence[str]:
        return stall_report(None, (str(home.shown),))

    with (
        stop_on_signals(at_once=True) as stop,
        watching(signs, report, stop.abort, stall_s=stall_s),
    ):
        yield stop


def train_epochs(
    steady: SteadyRun,
    experiment: Experiment,
    classes: Sequence[str],
    home: Home,
    tensorboard: TensorBoard,
    stop: Stop,
) -> list[Metrics]:
    """Begin or go on; each epoch goes to the terminal, metrics.jsonl and TensorBoard.

    Ctrl-C ends it with the epoch at work, so the history may end before it was asked to.
    """
    begun = steady.begin()
    trained, epochs = len(begun["history"]), experiment.epochs
    lines = (*begun_lines(begun, classes), *_notes(steady))
    print(begun["weights"], *lines, "", sep="\n", flush=True)
    write_weights(home, begun["weights_json"])
    if trained:
        print(f"resuming    {trained} of {epochs} epochs are trained already", flush=True)
    history: list[Metrics] = []
    while len(history) < max(trained, end_of(experiment, history)):
        history.append(steady.next_epoch())
        write_metrics(home, history)
        tensorboard.show_training(history, classes, to_dict(experiment))
        if len(history) > trained:
            print(epoch_line(history[-1], epochs), *_notes(steady), sep="\n", flush=True)
        if stop.asked() and len(history) >= trained:
            break
    return history


def _notes(steady: SteadyRun) -> list[str]:
    """Of the first beginning, then of each that followed the death of a worker."""
    return [f"note        {note}" for note in steady.new_notes()]
