"""Question: a whole study, ours against what one would write with Optuna or Ray Tune alone?

The same configurations on the same rows with the same training loop (our `train_epoch` and
`evaluate`), on this machine's CPUs; total wall time, everything included:

    ours      `ablate`: lineages shared, warm slots, ledger, checkpoints, leaderboard, plots
    optuna    ask, train, tell in one process: every trial from its first epoch; nothing kept
    tune      a Ray Tune trial that runs its own TorchTrainer, as documented; two at once

Usage: python -m benchmarks.bench_study [small|quickstart]
       small: 8 trials of 1 or 2 epochs on 288 faces of 32 px; quickstart: the shipped space on the
       embedded faces, for an hour that has nothing else to do.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from benchmarks.machine import describe
from orchestrator import ablate
from orchestrator.cluster import connect
from orchestrator.config.commands import PrepareConfig
from orchestrator.config.experiment import Experiment
from orchestrator.config.space import Space
from orchestrator.config.validate import to_dict
from orchestrator.embedded import embedded_dataset
from orchestrator.ingest.dataset import PreparedDataset, open_dataset
from orchestrator.ingest.reading import select_rows
from orchestrator.ingest.shard import Shard, collect_shard
from orchestrator.prepare import prepare
from orchestrator.tuning.ledger import LEDGER, read_records
from orchestrator.tuning.plan import Resolver, load_space

SMALL = {
    "question": "What does a whole study cost?",
    "kind": "grid",
    "base": {"model.name": "main", "model.width": 0.125, "batch_size": 32},
    "axes": {
        "optimizer.name": ["sgd", "adam"],
        "optimizer.lr": [0.01, 0.001],
        "epochs": [1, 2],
    },
}
CPUS = 2


@dataclass(frozen=True)
class Work:
    """What all three do."""

    space: Space
    file: str
    data: str
    folder: Path

    def experiments(self) -> list[Experiment]:
        """Every trial."""
        resolver = Resolver("bench", dict(self.space.base), "d" * 64)
        return [resolver.experiment(values) for values in self.space.listed()]


def main(size: str = "small") -> None:
    """Measures the three and prints the table."""
    folder = Path(tempfile.mkdtemp(prefix="bench-study-"))
    with connect("local", cpus=CPUS, dashboard=False):
        work = small_work(folder) if size == "small" else quickstart_work(folder)
    rows = [("ours", *ours(work)), ("optuna", *optuna_alone(work)), ("tune", *nested_tune(work))]
    first_s = rows[0][1]
    print(f"\n{describe()}\n")
    print(f"{size}: {work.space.num_trials()} trials\n")
    print("| way | wall s | epochs trained | of ours |\n|---|---|---|---|")
    for name, wall_s, epochs in rows:
        print(f"| {name} | {wall_s:.0f} | {epochs} | {wall_s / first_s:.2f} |")


def small_work(folder: Path) -> Work:
    """A few small faces, prepared outside the measured time."""
    options = {"subjects": 12, "videos_per_subject": 6, "frames_per_video": 4}
    config = PrepareConfig(
        dataset="synthetic", options=options, out=str(folder / "data"), image_px=32
    )
    data = str(prepare(config).root)
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(SMALL))
    return Work(load_space(str(file)), str(file), data, folder)


def quickstart_work(folder: Path) -> Work:
    """The shipped space on the embedded faces, drawn outside the measured time."""
    data = str(embedded_dataset(str(folder)).root)
    return Work(load_space("quickstart"), "quickstart", data, folder)


def ours(work: Work) -> tuple[float, int]:
    """Wall seconds and epochs of the command."""
    started = time.monotonic()
    status = ablate.main(
        [
            f"space={work.file}",
            f"data.path={work.data}",
            f"out={work.folder}",
            "study=ours",
            "address=local",
            "open_page=false",
        ]
    )
    assert status == 0, "the study must finish"
    records = read_records(work.folder / "ours" / LEDGER)
    epochs = sum(record["record"] == "epoch" for record in records)
    return time.monotonic() - started, epochs


def optuna_alone(work: Work) -> tuple[float, int]:
    """One trial after another in this process, with both cores."""
    started, epochs = time.monotonic(), 0
    torch.set_num_threads(CPUS)
    shards, num_classes = plain_shards(work.data)
    study = optuna.create_study(direction="maximize")
    for values, experiment in zip(work.space.listed(), work.experiments(), strict=True):
        study.enqueue_trial(values)
        trial = study.ask()
        score = 0.0
        for metrics in train(experiment, shards, num_classes):
            score = metrics["val_macro_f1"]
            epochs += 1
        study.tell(trial, score)
    return time.monotonic() - started, epochs


def nested_tune(work: Work) -> tuple[float, int]:
    """Ray's documented nesting: a function trainable that calls `TorchTrainer.fit`."""
    started = time.monotonic()
    with connect("local", cpus=CPUS):
        from ray import tune

        results = tune.Tuner(
            # Drivers take no CPU, and no more of them than workers fit: with the defaults two
            # drivers hold the two CPUs that their own workers wait for, for ever.
            tune.with_resources(nested_trial, {"CPU": 0, "node:__internal_head__": 0.001}),
            param_space={
                "experiment": tune.grid_search([to_dict(one) for one in work.experiments()]),
                "data": work.data,
                "storage": str(work.folder / "nested"),
            },
            tune_config=tune.TuneConfig(max_concurrent_trials=CPUS),
            run_config=tune.RunConfig(storage_path=str(work.folder / "tune"), verbose=0),
        ).fit()
    assert not results.errors, "every trial must finish"
    epochs = sum(int(result.metrics["epochs"]) for result in results)
    return time.monotonic() - started, epochs


def nested_trial(config: dict[str, Any]) -> None:
    """A trial of its own processes, one worker."""
    import ray.train
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    TorchTrainer(
        nested_loop,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            storage_path=config["storage"], callbacks=[TuneReportCallback()]
        ),
    ).fit()


def nested_loop(config: dict[str, Any]) -> None:
    """What its worker does."""
    import ray.train

    torch.set_num_threads(1)
    shards, num_classes = plain_shards(config["data"])
    experiment = Experiment.model_validate(config["experiment"])
    for epoch, metrics in enumerate(train(experiment, shards, num_classes), start=1):
        ray.train.report({"score": metrics["val_macro_f1"], "epochs": epoch})


def train(experiment: Experiment, shards: dict[str, Shard], num_classes: int) -> Any:
    """The metrics of each epoch, from the first."""
    import models
    from orchestrator.training.build import build_training
    from orchestrator.training.epochs import evaluate, train_epoch
    from orchestrator.training.precision import choose_precision

    device = torch.device("cpu")
    model, _ = models.build(
        experiment.model.name,
        num_classes=num_classes,
        image_size=shards["train"].images.shape[1],
        width=experiment.model.width,
        seed=experiment.seed,
    )
    precision = choose_precision(experiment.precision, device)
    model = model.to(memory_format=precision.memory_format)
    training = build_training(experiment, model, precision, device, shards["train"], num_classes)
    for _ in range(experiment.epochs):
        metrics = train_epoch(training, shards["train"], num_classes)
        yield metrics | evaluate(training, shards["validation"], num_classes)


def plain_shards(data: str) -> tuple[dict[str, Shard], int]:
    """Both splits read by pyarrow alone, and the number of classes."""
    dataset = open_dataset(data)
    shards = {split: plain_shard(dataset, split) for split in ("train", "validation")}
    return shards, len(dataset.classes)


def plain_shard(dataset: PreparedDataset, split: str) -> Shard:
    """All rows of a split in memory."""
    rows = select_rows(dataset, "group", split, 0, 0)
    files = [dataset.root.path(name) for name in dataset.files]
    # Files hold the kept rows in the order of their row_id, which counts from 0.
    table = pa.concat_tables([pq.read_table(file, columns=["image", "label"]) for file in files])
    table = table.take(pa.array(rows.row_ids))
    table = table.append_column("row_id", pa.array(rows.row_ids))
    table = table.append_column("rank", pa.array(np.arange(len(rows.row_ids))))
    table = table.append_column("group_index", pa.array(rows.group_index))
    return collect_shard(
        [table.combine_chunks()],
        dataset.image_shape,
        num_rows=len(rows.row_ids),
        num_groups=rows.num_groups,
        device=torch.device("cpu"),
        budget_gib=8,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
