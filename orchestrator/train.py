"""The command `train`: train one experiment and leave a run folder.

    check everything -> find or draw the data -> train in one warm slot -> plot and say

The run folder holds config.yaml (usable with --config), environment.json, weights.json (what each
layer began with), metrics.jsonl, the best and the last checkpoint, learning_curve.png and
tensorboard/. The same command again goes on where it was. DRIVER.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from datasets import EMOTIONS
from orchestrator.cluster import connect, is_private, nodes
from orchestrator.config.command_line import INTERRUPTED, parse, run
from orchestrator.config.commands import TrainConfig
from orchestrator.config.errors import ConfigError, StalledError, StorageError
from orchestrator.config.experiment import Experiment, Resources
from orchestrator.config.folder import Folder
from orchestrator.config.home import Home, held, open_home
from orchestrator.config.storage import as_typed, write_atomic, write_json
from orchestrator.config.validate import read_yaml, to_dict, validate
from orchestrator.embedded import (
    IMAGE_PX,
    check_embedded_protocol,
    embedded_dataset,
    find_dataset,
)
from orchestrator.environment import describe_environment
from orchestrator.ingest.dataset import PreparedDataset, check_protocol
from orchestrator.results.phase_table import Stopwatch, phase_table, speed_lines, summed
from orchestrator.results.plots import learning_curve
from orchestrator.results.printable import one_line
from orchestrator.results.sample_grid import augmented_grid
from orchestrator.results.tensorboard import FOLDER as TENSORBOARD
from orchestrator.results.tensorboard import TensorBoard
from orchestrator.stopping import Stop, go_on, stop_on_signals
from orchestrator.training.early_stop import last_epoch
from orchestrator.tuning.capacity import plan_slots, this_machine
from orchestrator.tuning.lineages import is_bound_to_horizon, lineage_key
from orchestrator.tuning.plan import (
    model_problems,
    training_problems,
    with_absolute_paths,
    worker_problems,
)
from orchestrator.tuning.watchdog import Signs, watching

if TYPE_CHECKING:
    from orchestrator.training.steady_run import SteadyRun

COMMAND = "python -m orchestrator.train"
DESCRIPTION = "Trains one experiment and leaves a run folder with checkpoints and curves."
EXAMPLES = (
    f"{COMMAND} data.path=prepared/fer2013 model.name=baseline model.weights=vgg16.safetensors "
    "optimizer.lr=1e-3",
    f"{COMMAND} --config orchestrator/presets/main.yaml data.path=prepared/faces",
    f"{COMMAND} --config runs/main-1a2b3c4d5e6f/config.yaml --epochs 30",
    f"{COMMAND} data.path=s3://bucket/faces out=s3://bucket/runs",
)
CONFIG, ENVIRONMENT, METRICS = "config.yaml", "environment.json", "metrics.jsonl"
WEIGHTS = "weights.json"
"""What was loaded, skipped and initialised, layer by layer."""
Metrics = Mapping[str, Any]


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(TrainConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES)
    if is_private(config.address):  # before the data set is read, which can take a while
        plan_slots([this_machine()], config.resources, 1)
    experiment = with_absolute_paths(
        Experiment.model_validate({name: getattr(config, name) for name in Experiment.model_fields})
    )
    dataset = find_dataset(config.data.path, config.out)
    _check(experiment, dataset, config.resources)
    with open_home(config.out) as runs, connect(config.address):
        dataset = dataset or embedded_dataset(config.out)
        key = lineage_key(experiment, dataset.fingerprint)
        name = config.name or f"{experiment.model.name.replace(':', '-')}-{key}"
        with held(runs / name, "name", print) as home:
            return train_run(config, experiment, dataset, home, go_on(COMMAND, argv))


def train_run(
    config: TrainConfig, experiment: Experiment, dataset: PreparedDataset, home: Home, again: str
) -> int:
    """Trains to the asked epoch and writes the run folder as it goes; Ray must be initialised.

    Args:
        config: of the command.
        experiment: its resolved experiment.
        dataset: checked.
        home: of the run, held.
        again: the command that goes on where this one was stopped.

    Returns:
        The exit status: 130 where Ctrl-C ended it before its last epoch.

    Raises:
        StalledError: nothing moved for `resources.stall_s`.
    """
    from orchestrator.slots import ready_slots
    from orchestrator.training.pulse import signs_of_life
    from orchestrator.training.steady_run import SteadyRun, Task
    from orchestrator.tuning.stall_report import free_amounts

    resources, folder = config.resources, home.local
    capacity = plan_slots(nodes(), resources, 1)
    _write_facts(home, experiment)
    print(f"run         {home.shown}", flush=True)
    watch = Stopwatch()
    with _watched(free_amounts, resources.stall_s, home):
        plan, datasets = ready_slots(dataset, experiment.data, capacity, resources, folder)
    watch.lap("ingest")
    task = Task(
        experiment=to_dict(experiment),
        lineage=lineage_key(experiment, dataset.fingerprint),
        folder=str(home.kept / "checkpoints"),
        milestones=(),
        ends=(),
        keep_best=True,
    )
    steady = SteadyRun(folder.name, plan, datasets, resources.restarts)
    steady.take(task, known_epoch=0)
    tensorboard = TensorBoard(folder, print)
    tensorboard.show_samples("training", lambda: augmented_grid(dataset, experiment))
    with tensorboard:  # outside: closing it must not keep the workers waiting
        try:
            with _watched(signs_of_life, resources.stall_s, home) as stop:
                found = len(steady.begin()["history"])
                watch.lap("start")
                stop.gently()
                history = _epochs(steady, experiment, dataset.classes, home, tensorboard, stop)
                written_s = steady.settle()["checkpoint_write_s"]
        except (KeyboardInterrupt, StalledError):
            steady.abandon()  # its workers would first end their epoch
            raise
        finally:
            steady.stop()
            shutil.rmtree(plan.storage, ignore_errors=True)
    learning_curve(history, folder / "learning_curve.png")
    _send_results(home)
    watching_lines = home.named(tensorboard.closing_lines())
    closing = (*_closing(home, experiment, history, again), *watching_lines)
    print(*_time_lines(watch, history[found:], written_s), *closing, sep="\n")
    return INTERRUPTED if len(history) < _last_epoch(experiment, history) else 0


def _send_results(home: Home) -> None:
    """Curves and event files, if an object store keeps the run; it is whole without."""
    try:
        home.send_files()
        home.send_folder(TENSORBOARD)
    except StorageError as error:
        print(f"curves      not all sent: {one_line(str(error), 200)}")


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


def _epochs(
    steady: SteadyRun,
    experiment: Experiment,
    classes: Sequence[str],
    home: Home,
    tensorboard: TensorBoard,
    stop: Stop,
) -> list[Metrics]:
    """Begins or goes on; each epoch goes to the terminal, metrics.jsonl and TensorBoard.

    Ctrl-C ends it with the epoch at work, so the history may end before it was asked to.
    """
    begun = steady.begin()
    trained, epochs = len(begun["history"]), experiment.epochs
    lines = (*_begun_lines(begun, classes), *_notes(steady))
    print(begun["weights"], *lines, "", sep="\n", flush=True)
    write_atomic(home.local / WEIGHTS, begun["weights_json"].encode())
    if trained:
        print(f"resuming    {trained} of {epochs} epochs are trained already", flush=True)
    history: list[Metrics] = []
    while len(history) < max(trained, _last_epoch(experiment, history)):
        history.append(steady.next_epoch())
        _write_metrics(home, history)
        tensorboard.show_training(history, classes, to_dict(experiment))
        if len(history) > trained:
            print(_epoch_line(history[-1], epochs), *_notes(steady), sep="\n", flush=True)
        if stop.asked() and len(history) >= trained:
            break
    return history


def _begun_lines(begun: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    counts, weights = begun["parameters"], begun["class_weights"]
    lines = [
        f"precision   {begun['precision']}",
        f"parameters  {counts['trainable']:,} trainable, {counts['frozen']:,} frozen",
    ]
    if weights is not None:
        by_class = (f"{name} {weight:.3g}" for name, weight in zip(classes, weights, strict=True))
        lines.append(f"row weight  {', '.join(by_class)}")
    return lines


def _notes(steady: SteadyRun) -> list[str]:
    """Of the first beginning, then of each that followed the death of a worker."""
    return [f"note        {note}" for note in steady.new_notes()]


def _last_epoch(experiment: Experiment, history: Sequence[Metrics]) -> int:
    """The epoch with which the training ends, as far as its history tells."""
    scores = [metrics["val_macro_f1"] for metrics in history]
    return last_epoch(scores, experiment.epochs, experiment.early_stop)


def _check(experiment: Experiment, dataset: PreparedDataset | None, resources: Resources) -> None:
    image_px, num_classes = IMAGE_PX, len(EMOTIONS)
    if dataset is None:
        check_embedded_protocol(experiment.data.protocol)
    else:
        check_protocol(dataset, experiment.data.protocol)
        image_px, num_classes = dataset.image_shape[0], len(dataset.classes)
    problems = (
        *model_problems(experiment, image_px, num_classes),
        *training_problems(experiment),
    )
    if problems := problems or worker_problems([experiment], resources, image_px):
        raise ConfigError(*problems)


def _write_facts(home: Home, experiment: Experiment) -> None:
    """What was asked for and what it ran on; a name that holds another experiment is refused."""
    home.fetch(CONFIG)
    path = home.local / CONFIG
    if path.is_file() and not _go_on(_experiment_of(path), experiment):
        raise ConfigError(
            f"name: must be a new run folder or one of the same experiment; {home.kept} holds "
            "another (with schedule=cosine, another number of epochs is one). Choose another name"
        )
    write_atomic(path, yaml.safe_dump(to_dict(experiment), sort_keys=False).encode())
    write_json(home.local / ENVIRONMENT, describe_environment())
    home.send(CONFIG, ENVIRONMENT)


def _experiment_of(path: Path) -> Experiment:
    """What a run folder was written for; fields that came later have their defaults."""
    return validate(Experiment, (str(path), read_yaml(path)))


def _go_on(before: Experiment, now: Experiment) -> bool:
    """Whether they differ in nothing but when to stop, and so are one training."""
    ends = {"early_stop"} if is_bound_to_horizon(now) else {"early_stop", "epochs"}
    return before.model_dump(exclude=ends) == now.model_dump(exclude=ends)


def _write_metrics(home: Home, history: Sequence[Metrics]) -> None:
    lines = "".join(json.dumps(metrics) + "\n" for metrics in history)
    write_atomic(home.local / METRICS, lines.encode())
    home.send(METRICS)


def _epoch_line(metrics: Metrics, epochs: int) -> str:
    return (
        f"epoch {metrics['epoch']:>3}/{epochs}  "
        f"train loss {metrics['train_loss']:.4f}  macro-F1 {metrics['train_macro_f1']:.4f}  |  "
        f"validation loss {metrics['val_loss']:.4f}  accuracy {metrics['val_accuracy']:.4f}  "
        f"macro-F1 {metrics['val_macro_f1']:.4f} "
        f"[{metrics['val_macro_f1_low']:.3f}, {metrics['val_macro_f1_high']:.3f}]  "
        f"{metrics['images_per_s']:,.0f} images/s"
    )


def _time_lines(watch: Stopwatch, trained: Sequence[Metrics], written_s: float) -> tuple[str, ...]:
    """How long the phases of this command took, and how fast its epochs were.

    Args:
        watch: of the command.
        trained: the epochs of this command.
        written_s: time that the checkpoint took which no epoch waited for.
    """
    seconds = summed([watch.seconds, *(metrics["seconds"] for metrics in trained)])
    written_s += sum(metrics.get("checkpoint_write_s", 0.0) for metrics in trained)
    line = f"  {written_s:.1f} s of writing checkpoints, while the next epoch was trained"
    behind = (line,) if written_s else ()
    return ("", *phase_table(seconds, watch.wall_s()), *behind, *speed_lines(trained))


def _closing(
    home: Home, experiment: Experiment, history: Sequence[Metrics], again: str
) -> tuple[str, ...]:
    best = max(history, key=lambda metrics: metrics["val_macro_f1"])
    shown = home.shown
    end = _last_epoch(experiment, history)
    stop: tuple[str, ...] = (f"stopped     after epoch {len(history)} of {end}, as asked",)
    if len(history) >= end:
        stop = _stop_lines(experiment, end, len(history))
        again = _longer(home, experiment, len(history), patient=bool(stop))
    return (
        "",
        *stop,
        _checkpoint_line("best", best, shown),
        _checkpoint_line("last", history[-1], shown),
        f"curves      {shown}/learning_curve.png",
        f"next        {again}",
    )


def _longer(home: Home, experiment: Experiment, trained: int, *, patient: bool) -> str:
    """The command that trains on from here, whatever patience says."""
    end = f"{' early_stop=0' if patient else ''} --epochs {trained + 10}"
    if home.store is not None:  # its config.yaml is no file that a command could read
        return f"the same command with{end}"
    folder = home.local
    name = "" if is_bound_to_horizon(experiment) else f" name={folder.name}"
    return f"{COMMAND} --config {home.shown}/{CONFIG} out={as_typed(folder.parent)}{name}{end}"


def _stop_lines(experiment: Experiment, end: int, trained: int) -> tuple[str, ...]:
    """Why there are fewer epochs than were asked for.

    Args:
        experiment: what was asked for.
        end: the epoch after which its patience was lost, or its last.
        trained: epochs there are: more than `end` if an earlier command asked for more.
    """
    if end == experiment.epochs or trained >= experiment.epochs:
        return ()
    why = f"no better validation macro-F1 for {experiment.early_stop} epochs"
    if trained == end:
        return (f"stopped     after epoch {end} of {experiment.epochs}: {why}",)
    return (
        f"stopped     at epoch {trained} of {experiment.epochs}, which an earlier command trained: "
        f"after epoch {end} there was {why}",
    )


def _checkpoint_line(kind: str, metrics: Metrics, shown: Folder | Path) -> str:
    epoch = metrics["epoch"]
    return (
        f"{kind:12}epoch {epoch}: validation macro-F1 {metrics['val_macro_f1']:.4f}, "
        f"{shown}/checkpoints/{kind}/epoch-{epoch:04d}"
    )


if __name__ == "__main__":
    sys.exit(run(main))
