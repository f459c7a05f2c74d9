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
from orchestrator.config.storage import write_atomic, write_json
from orchestrator.config.validate import read_yaml, to_dict
from orchestrator.embedded import IMAGE_PX, embedded_dataset, find_dataset
from orchestrator.environment import describe_environment
from orchestrator.ingest.dataset import PreparedDataset, check_protocol
from orchestrator.quiet import quiet_libraries
from orchestrator.results.plots import learning_curve
from orchestrator.tuning.capacity import SlotCapacity, plan_slots, this_machine
from orchestrator.tuning.lineages import lineage_key
from orchestrator.tuning.plan import model_problems, with_absolute_weights

if TYPE_CHECKING:
    from orchestrator.training.warm_run import WarmRun

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
    experiment = Experiment.model_validate(
        {name: getattr(config, name) for name in Experiment.model_fields}
    )
    dataset = find_dataset(config.data.path, config.out)
    experiment = with_absolute_weights(experiment)
    _check(experiment, dataset)
    if is_private(config.address):
        plan_slots([this_machine()], config.resources, 1)
    with connect(config.address):
        dataset = dataset or embedded_dataset(config.out)
        capacity = plan_slots(nodes(), config.resources, 1)
        _train(config, experiment, dataset, capacity)
    return 0


def _train(
    config: TrainConfig, experiment: Experiment, dataset: PreparedDataset, capacity: SlotCapacity
) -> None:
    """Trains to the asked epoch and writes the run folder as it goes."""
    from orchestrator.ingest.reading import read_training_data
    from orchestrator.training.warm_run import SlotPlan, WarmRun

    quiet_libraries()
    key = lineage_key(experiment, dataset.fingerprint)
    name = config.name or f"{experiment.model.name.replace(':', '-')}-{key}"
    folder = Path(config.out).absolute() / name
    _write_facts(folder, experiment)
    print(f"run         {folder}")
    data = read_training_data(
        dataset,
        protocol=experiment.data.protocol,
        train_per_class=experiment.data.train_per_class,
        validation_per_class=experiment.data.validation_per_class,
    )
    plan = SlotPlan(
        workers=capacity.workers,
        cpus_per_worker=capacity.cpus_per_worker,
        gpus_per_worker=capacity.gpus_per_worker,
        image_shape=dataset.image_shape,
        num_classes=len(dataset.classes),
        sizes=data.sizes,
        device_budget_gib=config.resources.device_budget_gib,
        start_timeout_s=config.resources.start_timeout_s,
        storage=folder / ".ray",
    )
    warm = WarmRun(name, plan, data.datasets)
    try:
        warm.wait_ready()
        history = _epochs(warm, experiment, key, folder)
    finally:
        warm.stop()
        shutil.rmtree(plan.storage, ignore_errors=True)
    learning_curve(history, folder / "learning_curve.png")
    print(*_closing(folder, history), sep="\n")


def _epochs(warm: WarmRun, experiment: Experiment, key: str, folder: Path) -> list[Metrics]:
    """Begins or goes on, and reports each epoch to the terminal and to metrics.jsonl."""
    begun = warm.ask(
        {
            "kind": "begin",
            "experiment": to_dict(experiment),
            "lineage": key,
            "folder": str(folder / "checkpoints"),
            "milestones": [],
            "keep_best": True,
        }
    )
    print(begun["weights"], f"precision   {begun['precision']}", "", sep="\n", flush=True)
    history: list[Metrics] = list(begun["history"])
    if history:
        print(f"resuming    {len(history)} of {experiment.epochs} epochs are trained already")
    _write_metrics(folder, history)
    while len(history) < experiment.epochs:
        history.append(warm.ask({"kind": "epoch"})["metrics"])
        _write_metrics(folder, history)
        print(_epoch_line(history[-1], experiment.epochs), flush=True)
    return history[: experiment.epochs]


def _check(experiment: Experiment, dataset: PreparedDataset | None) -> None:
    image_px, num_classes = IMAGE_PX, len(EMOTIONS)
    if dataset is not None:
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
    here = Path.cwd()
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    return (
        "",
        f"best        epoch {best['epoch']}: validation macro-F1 {best['val_macro_f1']:.4f}, "
        f"{shown}/checkpoints/best",
        f"last        epoch {history[-1]['epoch']}: validation macro-F1 "
        f"{history[-1]['val_macro_f1']:.4f}, {shown}/checkpoints/last",
        f"curves      {shown}/learning_curve.png",
        f"next        {COMMAND} --config {shown}/config.yaml --epochs {len(history) + 10}",
    )


if __name__ == "__main__":
    sys.exit(run(main))
