"""Question: what does one more trial cost in a warm slot, against a Tune trial of its own?

Both in one run on one Ray, one trial at a time, the same tiny model and data:

    warm    our slot: Tune resets the actor, the Train run stays up
    nested  the documented way: a function trainable that starts its own TorchTrainer

The cost of a trial is its wall time less the seconds it trained, evaluated and saved.
Usage: python -m benchmarks.bench_slot_overhead [WARM_TRIALS] [NESTED_TRIALS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import yaml

from benchmarks.machine import describe
from orchestrator import ablate
from orchestrator.cluster import connect
from orchestrator.config.commands import PrepareConfig
from orchestrator.prepare import prepare
from orchestrator.tuning.ledger import LEDGER, read_records

BASE = {"model.name": "main", "model.width": 0.125, "batch_size": 32, "epochs": 1}


def main(num_warm: int = 20, num_nested: int = 3) -> None:
    """Measures both and prints the table."""
    folder = Path(tempfile.mkdtemp(prefix="bench-slot-"))
    with connect("local", cpus=2):
        data = prepare(
            PrepareConfig(
                dataset="synthetic",
                options={"subjects": 6, "videos_per_subject": 6, "frames_per_video": 2},
                out=str(folder / "data"),
                image_px=32,
            )
        )
        first, later = warm_trials(folder, str(data.root), num_warm)
        nested = nested_trials(folder, num_nested)
    print(f"\n{describe()}\n")
    print("| trial | n | median s | min s | max s |\n|---|---|---|---|---|")
    print(f"| warm slot, first (starts the slot) | 1 | {first:.2f} | {first:.2f} | {first:.2f} |")
    print(row("warm slot, each later one", later))
    print(row("Tune trial with its own TorchTrainer", nested))
    ratio = statistics.median(nested) / statistics.median(later)
    print(f"\nratio of medians, nested / warm: {ratio:.0f}")


def warm_trials(folder: Path, data: str, num_trials: int) -> tuple[float, list[float]]:
    """Seconds that each trial took beyond training: of the first, and of the later ones."""
    rows = [
        {"optimizer.name": "sgd", "optimizer.lr": round(0.001 + 0.0001 * n, 6)}
        for n in range(num_trials)
    ]
    space = folder / "space.yaml"
    space.write_text(yaml.safe_dump({"question": "?", "kind": "rows", "base": BASE, "rows": rows}))
    started = time.time()
    ablate.main(
        [f"space={space}", f"data.path={data}", f"out={folder}", "study=s", "resources.slots=1"]
    )
    epochs = [r for r in read_records(folder / "s" / LEDGER) if r["record"] == "epoch"]
    ends = [datetime.fromisoformat(record["time"]).timestamp() for record in epochs]
    busy = [sum(record["metrics"]["seconds"].values()) for record in epochs]
    costs = [end - before for before, end in zip([started, *ends], ends, strict=False)]
    costs = [cost - own for cost, own in zip(costs, busy, strict=True)]
    return costs[0], costs[1:]


def nested_trials(folder: Path, num_trials: int) -> list[float]:
    """Seconds that each trial took beyond training, in Ray's documented nesting."""
    from ray import train, tune
    from ray.tune.integration.ray_train import TuneReportCallback

    def trial(config: dict[str, float]) -> None:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        TorchTrainer(
            loop,
            train_loop_config=config,
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(
                name=f"nested-{config['lr']}",
                storage_path=str(folder / "nested"),
                callbacks=[TuneReportCallback()],
            ),
        ).fit()

    def loop(config: dict[str, float]) -> None:
        import torch

        import models

        model, _ = models.build("main", num_classes=6, image_size=32, width=0.125)
        optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
        start = time.time()
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.rand(32, 3, 32, 32)).logsumexp(1).mean().backward()
            optimizer.step()
        train.report({"busy": time.time() - start})

    costs = []
    for number in range(num_trials):
        started = time.time()
        results = tune.Tuner(
            tune.with_resources(trial, {"CPU": 0, "node:__internal_head__": 0.001}),
            param_space={"lr": 0.001 + 0.0001 * number},
            run_config=tune.RunConfig(storage_path=str(folder / f"tune-{number}"), verbose=0),
        ).fit()
        costs.append(time.time() - started - results[0].metrics["busy"])
    return costs


def row(name: str, costs: list[float]) -> str:
    """One line of the table."""
    median = statistics.median(costs)
    return f"| {name} | {len(costs)} | {median:.2f} | {min(costs):.2f} | {max(costs):.2f} |"


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
