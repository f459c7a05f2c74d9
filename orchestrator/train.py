"""The command `train`: train one experiment and leave a run folder.

    check everything -> find or draw the data -> train in one warm slot -> plot and say

The run folder holds config.yaml (usable with --config), environment.json, metrics.jsonl, the
best and the last checkpoint, and learning_curve.png. The same command again goes on where it
was. DRIVER.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from datasets import EMOTIONS
from orchestrator.cluster import connect, is_private, nodes
from orchestrator.config.command_line import parse, run
from orchestrator.config.commands import TrainConfig
from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import Experiment
from orchestrator.config.storage import as_typed, exclusive, write_atomic, write_json
from orchestrator.config.validate import read_yaml, to_dict
from orchestrator.embedded import (
    IMAGE_PX,
    check_embedded_protocol,
    embedded_dataset,
    find_dataset,
)
from orchestrator.environment import describe_environment
from orchestrator.ingest.dataset import PreparedDataset, check_protocol
from orchestrator.results.plots import learning_curve
from orchestrator.tuning.capacity import plan_slots, this_machine
from orchestrator.tuning.lineages import lineage_key
from orchestrator.tuning.plan import model_problems, with_absolute_paths

if TYPE_CHECKING:
    from orchestrator.training.steady_run import SteadyRun

COMMAND = "python -m orchestrator.train"
DESCRIPTION = "Trains one experiment and leaves a run folder with checkpoints and curves."
EXAMPLES = (
    f"{COMMAND} data.path=prepared/fer2013 model.name=baseline model.weights=vgg16.safetensors "
    "optimizer.lr=1e-3",
    f"{COMMAND} --config runs/main-1a2b3c4d5e6f/config.yaml --epochs 30",
)
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
    _check(experiment, dataset)
    with connect(config.address):
        dataset = dataset or embedded_dataset(config.out)
        key = lineage_key(experiment, dataset.fingerprint)
        name = config.name or f"{experiment.model.name.replace(':', '-')}-{key}"
        folder = Path(config.out).absolute() / name
        with exclusive(folder, "name"):
            _train(config, experiment, dataset, folder)
    return 0


def _train(
    config: TrainConfig, experiment: Experiment, dataset: PreparedDataset, folder: Path
) -> None:
    """Trains to the asked epoch and writes the run folder as it goes."""
    from orchestrator.slots import ready_slots
    from orchestrator.training.steady_run import SteadyRun, Task

    resources = config.resources
    capacity = plan_slots(nodes(), resources, 1)
    _write_facts(folder, experiment)
    print(f"run         {as_typed(folder)}", flush=True)
    plan, datasets = ready_slots(dataset, experiment.data, capacity, resources, folder)
    task = Task(
        experiment=to_dict(experiment),
        lineage=lineage_key(experiment, dataset.fingerprint),
        folder=str(folder / "checkpoints"),
        milestones=(),
        keep_best=True,
    )
    steady = SteadyRun(folder.name, plan, datasets, resources.restarts)
    steady.take(task, known_epoch=0)
    try:
        history = _epochs(steady, experiment.epochs, folder)
    finally:
        steady.stop()
        shutil.rmtree(plan.storage, ignore_errors=True)
    learning_curve(history, folder / "learning_curve.png")
    print(*_closing(folder, history), sep="\n")


def _epochs(steady: SteadyRun, epochs: int, folder: Path) -> list[Metrics]:
    """Begins or goes on, and reports each epoch to the terminal and to metrics.jsonl."""
    begun = steady.begin()
    trained = len(begun["history"])
    print(begun["weights"], f"precision   {begun['precision']}", "", sep="\n", flush=True)
    if trained:
        print(f"resuming    {trained} of {epochs} epochs are trained already", flush=True)
    history: list[Metrics] = []
    while len(history) < max(epochs, trained):
        history.append(steady.next_epoch())
        _write_metrics(folder, history)
        if len(history) > trained:
            print(_epoch_line(history[-1], epochs), flush=True)
    return history


def _check(experiment: Experiment, dataset: PreparedDataset | None) -> None:
    image_px, num_classes = IMAGE_PX, len(EMOTIONS)
    if dataset is None:
        check_embedded_protocol(experiment.data.protocol)
    else:
        check_protocol(dataset, experiment.data.protocol)
        image_px, num_classes = dataset.image_shape[0], len(dataset.classes)
    problems = model_problems(experiment, image_px, num_classes)
    if problems:
        raise ConfigError(*problems)


def _write_facts(folder: Path, experiment: Experiment) -> None:
    """What was asked for and what it ran on; a name that holds another experiment is refused."""
    path = folder / "config.yaml"
    content = to_dict(experiment)
    if path.is_file() and _but_epochs(read_yaml(path)) != _but_epochs(content):
        raise ConfigError(
            f"name: must be a new run folder or one of the same experiment; {folder} holds "
            "another. Choose another name"
        )
    write_atomic(path, yaml.safe_dump(content, sort_keys=False).encode())
    write_json(folder / "environment.json", describe_environment())


def _but_epochs(experiment: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in experiment.items() if name != "epochs"}


def _write_metrics(folder: Path, history: Sequence[Metrics]) -> None:
    lines = "".join(json.dumps(metrics) + "\n" for metrics in history)
    write_atomic(folder / "metrics.jsonl", lines.encode())


def _epoch_line(metrics: Metrics, epochs: int) -> str:
    return (
        f"epoch {metrics['epoch']:>3}/{epochs}  "
        f"train loss {metrics['train_loss']:.4f}  macro-F1 {metrics['train_macro_f1']:.4f}  |  "
        f"validation loss {metrics['val_loss']:.4f}  accuracy {metrics['val_accuracy']:.4f}  "
        f"macro-F1 {metrics['val_macro_f1']:.4f} "
        f"[{metrics['val_macro_f1_low']:.3f}, {metrics['val_macro_f1_high']:.3f}]  "
        f"{metrics['images_per_s']:,.0f} images/s"
    )


def _closing(folder: Path, history: Sequence[Metrics]) -> tuple[str, ...]:
    best = max(history, key=lambda metrics: metrics["val_macro_f1"])
    shown = as_typed(folder)
    more = f"--config {shown}/config.yaml out={as_typed(folder.parent)} name={folder.name}"
    return (
        "",
        _checkpoint_line("best", best, shown),
        _checkpoint_line("last", history[-1], shown),
        f"curves      {shown}/learning_curve.png",
        f"next        {COMMAND} {more} --epochs {len(history) + 10}",
    )


def _checkpoint_line(kind: str, metrics: Metrics, shown: Path) -> str:
    epoch = metrics["epoch"]
    return (
        f"{kind:12}epoch {epoch}: validation macro-F1 {metrics['val_macro_f1']:.4f}, "
        f"{shown}/checkpoints/{kind}/epoch-{epoch:04d}"
    )


if __name__ == "__main__":
    sys.exit(run(main))
