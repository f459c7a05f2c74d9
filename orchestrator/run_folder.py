"""What a training leaves in its run folder, and what it says of it. DRIVER.

config.yaml (usable with --config), environment.json, weights.json (what each layer began with),
metrics.jsonl (an epoch a line), the best and the last checkpoint, learning_curve.png, tensorboard/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestrator.config.errors import ConfigError, StorageError
from orchestrator.config.experiment import Experiment
from orchestrator.config.folder import Folder
from orchestrator.config.home import Home
from orchestrator.config.storage import RUN_CONFIG, write_atomic, write_json
from orchestrator.config.validate import read_yaml, to_dict, validate
from orchestrator.environment import describe_environment
from orchestrator.results.phase_table import Stopwatch, phase_table, speed_lines, summed
from orchestrator.results.printable import one_line
from orchestrator.results.tensorboard import FOLDER as TENSORBOARD
from orchestrator.training.early_stop import last_epoch
from orchestrator.tuning.lineages import is_bound_to_horizon

TRAIN = "python -m orchestrator.train"
ENVIRONMENT, METRICS = "environment.json", "metrics.jsonl"
WEIGHTS = "weights.json"
"""What was loaded, skipped and initialised, layer by layer."""
CURVE = "learning_curve.png"
Metrics = Mapping[str, Any]


def write_facts(home: Home, experiment: Experiment) -> None:
    """Write what is asked for and what it runs on.

    Raises:
        ConfigError: the folder holds another experiment.
        StorageError: it cannot be written.
    """
    home.fetch(RUN_CONFIG)
    path = home.local / RUN_CONFIG
    if path.is_file() and not _is_one_training(_experiment_of(path), experiment):
        raise ConfigError(
            f"name: must be a new run folder or one of the same experiment; {home.kept} holds "
            "another (with schedule=cosine, another number of epochs is one). Choose another name"
        )
    write_atomic(path, yaml.safe_dump(to_dict(experiment), sort_keys=False).encode())
    write_json(home.local / ENVIRONMENT, describe_environment())
    home.send(RUN_CONFIG, ENVIRONMENT)


def _experiment_of(path: Path) -> Experiment:
    """What a run folder was written for; fields that came later have their defaults."""
    return validate(Experiment, (str(path), read_yaml(path)))


def _is_one_training(before: Experiment, now: Experiment) -> bool:
    """Whether they differ in nothing but when to stop."""
    ends = {"early_stop"} if is_bound_to_horizon(now) else {"early_stop", "epochs"}
    return before.model_dump(exclude=ends) == now.model_dump(exclude=ends)


def write_weights(home: Home, weights_json: str) -> None:
    """Write what each layer began with, as the worker reports it."""
    write_atomic(home.local / WEIGHTS, weights_json.encode())


def write_metrics(home: Home, history: Sequence[Metrics]) -> None:
    """Write the figures of all epochs so far."""
    lines = "".join(json.dumps(metrics) + "\n" for metrics in history)
    write_atomic(home.local / METRICS, lines.encode())
    home.send(METRICS)


def send_results(home: Home) -> tuple[str, ...]:
    """Send tables, curves and event files, if an object store keeps a run or study, whole without them.

    Returns:
        What is to be said: nothing where all was sent.
    """
    try:
        home.send_files()
        home.send_folder(TENSORBOARD)
    except StorageError as error:
        return (f"results     not all sent: {one_line(str(error), 200)}",)
    return ()


def end_of(experiment: Experiment, history: Sequence[Metrics]) -> int:
    """The epoch with which the training ends, as far as its history tells."""
    scores = [metrics["val_macro_f1"] for metrics in history]
    return last_epoch(scores, experiment.epochs, experiment.early_stop)


def begun_lines(begun: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """What a training began with, besides its weights."""
    counts, weights = begun["parameters"], begun["class_weights"]
    lines = [
        f"precision   {begun['precision']}",
        f"parameters  {counts['trainable']:,} trainable, {counts['frozen']:,} frozen",
    ]
    if weights is not None:
        by_class = (f"{name} {weight:.3g}" for name, weight in zip(classes, weights, strict=True))
        lines.append(f"row weight  {', '.join(by_class)}")
    return lines


def epoch_line(metrics: Metrics, epochs: int) -> str:
    """The figures of one epoch of so many."""
    return (
        f"epoch {metrics['epoch']:>3}/{epochs}  "
        f"train loss {metrics['train_loss']:.4f}  macro-F1 {metrics['train_macro_f1']:.4f}  |  "
        f"validation loss {metrics['val_loss']:.4f}  accuracy {metrics['val_accuracy']:.4f}  "
        f"macro-F1 {metrics['val_macro_f1']:.4f} "
        f"[{metrics['val_macro_f1_low']:.3f}, {metrics['val_macro_f1_high']:.3f}]  "
        f"{metrics['images_per_s']:,.0f} images/s"
    )


def time_lines(watch: Stopwatch, trained: Sequence[Metrics], written_s: float) -> tuple[str, ...]:
    """How long the phases of a training took, and how fast its epochs were.

    Args:
        watch: of the training.
        trained: the epochs that it trained now.
        written_s: time that the last checkpoint took, which no epoch waited for.
    """
    seconds = summed([watch.seconds, *(metrics["seconds"] for metrics in trained)])
    written_s += sum(metrics.get("checkpoint_write_s", 0.0) for metrics in trained)
    line = f"  {written_s:.1f} s of writing checkpoints, while the next epoch was trained"
    behind = (line,) if written_s else ()
    return ("", *phase_table(seconds, watch.wall_s()), *behind, *speed_lines(trained))


def closing_lines(
    home: Home, experiment: Experiment, history: Sequence[Metrics], again: str
) -> tuple[str, ...]:
    """What a training left and what to type next.

    Args:
        home: of the run.
        experiment: as asked for.
        history: of all epochs there are.
        again: the command that goes on where this one was stopped.
    """
    best = max(history, key=lambda metrics: metrics["val_macro_f1"])
    shown = home.shown
    end = end_of(experiment, history)
    stop: tuple[str, ...] = (f"stopped     after epoch {len(history)} of {end}, as asked",)
    if len(history) >= end:
        stop = _stop_lines(experiment, end, len(history))
        again = _longer(home, experiment, len(history), patient=bool(stop))
    return (
        "",
        *stop,
        _checkpoint_line("best", best, shown),
        _checkpoint_line("last", history[-1], shown),
        f"curves      {shown}/{CURVE}",
        f"next        {again}",
    )


def _longer(home: Home, experiment: Experiment, trained: int, *, patient: bool) -> str:
    """The command that trains on from here, whatever patience says."""
    end = f"{' early_stop=0' if patient else ''} --epochs {trained + 10}"
    name = "" if is_bound_to_horizon(experiment) else f" name={home.local.name}"
    return f"{TRAIN} --config {home.shown}/{RUN_CONFIG} out={home.parent.shown}{name}{end}"


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
