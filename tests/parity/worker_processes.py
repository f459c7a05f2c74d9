"""Worker processes that exchange over gloo on the loopback, as Ray Train's would, without Ray."""

import json
import os
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from small_training import (
    CLIP,
    CPU,
    EVERY_OPTION,
    NUM_CLASSES,
    experiment,
    new_training,
    rows,
    skewed,
    without_times,
)

from orchestrator.ingest.shard import epoch_batches
from orchestrator.training.epochs import evaluate, train_epoch

EPOCH_ROWS, VALIDATION_ROWS = 41, 31
EPOCH = {"optimizer__name": "sgd", "optimizer__lr": 0.01, "seed": 3}
ONE_STEP = {**EPOCH, "optimizer__momentum": 0, "augmentation__share": 0}
KINDS = {"plain": {}, "every option": EVERY_OPTION, "clipped": CLIP}
STEPS = {
    "two rows, of a batch of two": (2, 2),
    "one row": (1, 12),
    "five rows, the last batch of one": (5, 4),
    "five rows, of a batch of twelve": (5, 12),
}
"""What each is of: (rows of the split, batch size)."""


def run_all(world_sizes: tuple[int, ...], folder: Path) -> None:
    """Does all of it in groups of each size, one after another, in the same processes."""
    torch.multiprocessing.spawn(_worker, (world_sizes, str(folder)), nprocs=max(world_sizes))


def _worker(rank: int, world_sizes: tuple[int, ...], folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    for size in world_sizes:
        if rank < size:
            meeting = f"file://{folder}/meeting-{size}"
            dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
            for kind in KINDS:
                one_epoch(rank, size, kind, Path(folder))
                single_steps(rank, size, kind, Path(folder))
            dist.barrier()
            dist.destroy_process_group()


def one_epoch(worker: int, num_workers: int, kind: str, folder: Path) -> None:
    """Trains an epoch and evaluates; leaves what this worker saw, said and ended with."""
    about = {"worker": worker, "num_workers": num_workers}
    shard = skewed(rows(EPOCH_ROWS, **about))
    training = new_training(experiment(**EPOCH, **KINDS[kind]), shard)
    batches = epoch_batches(shard, batch_size=12, seed=3, epoch=1, device=CPU)
    seen = [batch.row_ids.tolist() for batch in batches]
    metrics = without_times(train_epoch(training, shard, NUM_CLASSES))
    metrics |= evaluate(training, rows(VALIDATION_ROWS, seed=1, **about), NUM_CLASSES)
    path = folder / f"{kind}-{num_workers}-{worker}"
    path.with_suffix(".json").write_text(json.dumps({"seen": seen, "metrics": metrics}))
    np.save(path.with_suffix(".npy"), _flat(training.model.parameters()))


def single_steps(worker: int, num_workers: int, kind: str, folder: Path) -> None:
    """Leaves the gradients of the last step of each of `STEPS`."""
    about = {"worker": worker, "num_workers": num_workers}
    gradients = {step: _gradients(*STEPS[step], kind, about) for step in STEPS}
    np.savez(folder / f"{kind}-{num_workers}-{worker}.npz", **gradients)


def _gradients(num_rows: int, batch_size: int, kind: str, about: dict) -> np.ndarray:
    shard = skewed(rows(num_rows, **about))
    wanted = experiment(**{**ONE_STEP, **KINDS[kind], "batch_size": batch_size})
    training = new_training(wanted, shard)
    train_epoch(training, shard, NUM_CLASSES)
    return _flat(p.grad for p in training.model.parameters() if p.requires_grad)


def _flat(tensors) -> np.ndarray:
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])
