"""One, two, three and four workers train the same model: batches, gradients and figures agree."""

import itertools
import json

import numpy as np
import pytest
import worker_processes
from worker_processes import EPOCH_ROWS, KINDS, STEPS, VALIDATION_ROWS

SUMMATION = 1e-5
"""Workers add float32 gradients in another order: some roundings of 6e-8 on each of some tens of
terms, relative to the largest; a wrongly weighted row would be some tenths."""
ONE_EPOCH = 1e-4
"""The same after four steps, each of which passes its difference on to the next."""
WORKERS = (2, 3, 4)

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    for kind in KINDS:
        worker_processes.one_epoch(0, 1, kind, folder)
        worker_processes.single_steps(0, 1, kind, folder)
    worker_processes.run_all(WORKERS, folder)
    return folder


def said(folder, num_workers: int, kind: str = "plain") -> list[dict]:
    files = [folder / f"{kind}-{num_workers}-{worker}.json" for worker in range(num_workers)]
    return [json.loads(file.read_text()) for file in files]


def weights(folder, kind: str, num_workers: int, worker: int = 0) -> np.ndarray:
    return np.load(folder / f"{kind}-{num_workers}-{worker}.npy")


def gradients(folder, kind: str, num_workers: int, step: str) -> np.ndarray:
    return np.load(folder / f"{kind}-{num_workers}-0.npz")[step]


@pytest.mark.parametrize("num_workers", WORKERS)
def test_every_row_is_seen_once_and_in_the_batch_of_a_single_worker(num_workers, folder):
    (alone,) = said(folder, 1)
    parts = [worker["seen"] for worker in said(folder, num_workers)]
    batches = [sorted(itertools.chain(*shares)) for shares in zip(*parts, strict=True)]
    assert batches == [sorted(batch) for batch in alone["seen"]]
    assert len({row for batch in batches for row in batch}) == EPOCH_ROWS


@every_kind
@pytest.mark.parametrize("num_workers", WORKERS)
def test_all_workers_agree_on_the_training_and_the_leader_alone_scores_it(
    num_workers, kind, folder
):
    leader, *others = (worker["metrics"] for worker in said(folder, num_workers, kind))
    trained = {name: value for name, value in leader.items() if name.startswith("train_")}
    assert len(trained) == 3
    assert "val_macro_f1" in leader
    assert all(other == trained for other in others)


@every_kind
@pytest.mark.parametrize("num_workers", WORKERS)
def test_metrics_and_confusion_are_those_of_one_worker(num_workers, kind, folder):
    (alone,) = said(folder, 1, kind)
    expected, found = alone["metrics"], said(folder, num_workers, kind)[0]["metrics"]
    assert np.sum(found["val_confusion"]) == VALIDATION_ROWS
    assert found["val_confusion"] == expected["val_confusion"]
    for name in ("train_loss", "val_loss"):
        assert found[name] == pytest.approx(expected[name], rel=ONE_EPOCH)
    for name in ("train_accuracy", "train_macro_f1", "val_accuracy", "val_macro_f1"):
        assert found[name] == expected[name]  # from equal counts: no rounding
    for name in ("val_macro_f1_low", "val_macro_f1_high", "val_class_f1"):
        assert found[name] == expected[name]


@every_kind
@pytest.mark.parametrize("num_workers", WORKERS)
def test_weights_after_an_epoch_are_those_of_one_worker_and_alike_on_all(num_workers, kind, folder):
    alone = weights(folder, kind, 1)
    each = [weights(folder, kind, num_workers, worker) for worker in range(num_workers)]
    assert all(np.array_equal(one, each[0]) for one in each)
    assert np.abs(each[0] - alone).max() < ONE_EPOCH * np.abs(alone).max()


@every_kind
@pytest.mark.parametrize("num_workers", WORKERS)
@pytest.mark.parametrize("step", STEPS)
def test_a_partial_batch_is_weighted_exactly_even_where_workers_have_no_row(
    step, num_workers, kind, folder
):
    expected, found = (gradients(folder, kind, number, step) for number in (1, num_workers))
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() < SUMMATION * np.abs(expected).max()
