"""The order of an epoch: the same for every number of workers, another for every epoch."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ingest.order import NUM_LANES, batch_bounds, epoch_order, owned, uniform

SIGMAS = 5  # a sound hash fails a 5-sigma bound once in two million
ROWS = st.integers(1, 500)
SEEDS = st.integers(0, 2**31 - 1)
EPOCHS = st.integers(1, 10_000)
WORKERS = st.integers(1, 7)
BATCH_SIZES = st.integers(1, 600)


def for_any(*strategies):
    """Hypothesis without its deadline: a busy machine is no failure."""
    return lambda test: settings(deadline=None)(given(*strategies)(test))


def ids_of(num_rows: int) -> np.ndarray:
    """Ids with gaps, as a split's are: 3, 10, 17, ..."""
    return np.arange(num_rows, dtype=np.int64) * 7 + 3


def held_by(num_rows: int, worker: int, num_workers: int) -> tuple[np.ndarray, np.ndarray]:
    ranks = np.arange(num_rows, dtype=np.int64)
    mine = owned(ranks, worker, num_workers)
    return ids_of(num_rows)[mine], ranks[mine]


def worker_sequences(num_rows, num_workers, seed, epoch) -> list[tuple[np.ndarray, np.ndarray]]:
    """(row_ids in order, positions) of each worker."""
    sequences = []
    for worker in range(num_workers):
        row_ids, ranks = held_by(num_rows, worker, num_workers)
        order, positions = epoch_order(row_ids, ranks, seed=seed, epoch=epoch)
        sequences.append((row_ids[order], positions))
    return sequences


def global_sequence(num_rows, num_workers, seed, epoch) -> np.ndarray:
    sequences = worker_sequences(num_rows, num_workers, seed, epoch)
    row_ids = np.concatenate([rows for rows, _ in sequences])
    positions = np.concatenate([places for _, places in sequences])
    return row_ids[np.argsort(positions)]


def shares(num_rows, num_workers, batch_size, seed=0, epoch=1) -> np.ndarray:
    """Rows of each worker in each batch, shape (workers, batches)."""
    sequences = worker_sequences(num_rows, num_workers, seed, epoch)
    return np.array([np.diff(batch_bounds(at, num_rows, batch_size)) for _, at in sequences])


@for_any(ROWS, SEEDS, EPOCHS, WORKERS)
def test_every_row_belongs_to_exactly_one_worker_and_comes_once(rows, seed, epoch, workers):
    seen = np.concatenate([ids for ids, _ in worker_sequences(rows, workers, seed, epoch)])
    assert np.array_equal(np.sort(seen), ids_of(rows))


@for_any(ROWS, SEEDS, EPOCHS, WORKERS)
def test_positions_ascend_on_each_worker_and_are_zero_to_n_over_all(rows, seed, epoch, workers):
    positions = [at for _, at in worker_sequences(rows, workers, seed, epoch)]
    assert all((np.diff(at) > 0).all() for at in positions)
    assert np.array_equal(np.sort(np.concatenate(positions)), np.arange(rows))


@for_any(ROWS, SEEDS, EPOCHS, WORKERS)
def test_the_global_sequence_is_the_same_for_every_number_of_workers(rows, seed, epoch, workers):
    alone = global_sequence(rows, 1, seed, epoch)
    assert np.array_equal(global_sequence(rows, workers, seed, epoch), alone)


@for_any(ROWS, WORKERS, BATCH_SIZES)
def test_every_worker_gets_equally_many_batches_that_add_up_to_the_global_ones(
    rows, workers, batch_size
):
    of_workers = shares(rows, workers, batch_size)  # np.array refuses unequal lengths
    whole, rest = divmod(rows, batch_size)
    assert of_workers.sum(axis=0).tolist() == [batch_size] * whole + [rest] * (rest > 0)


@for_any(ROWS, WORKERS, BATCH_SIZES)
def test_loads_within_a_batch_differ_by_at_most_one_row_a_lane_cycle(rows, workers, batch_size):
    # A stretch of one cycle of lanes gives each worker every `workers`-th row: at most one row
    # of difference. A batch touches at most so many cycles, the first and last in part:
    cycles = (batch_size - 2) // NUM_LANES + 2 if batch_size > 1 else 1
    # Where the workers divide the lanes, cycles join without a seam and the whole batch is one.
    bound = 1 if NUM_LANES % workers == 0 else cycles
    of_workers = shares(rows, workers, batch_size)
    assert (of_workers.max(axis=0) - of_workers.min(axis=0)).max() <= bound


@for_any(SEEDS, EPOCHS, st.integers(1, 6), st.integers(200, 500))
def test_another_epoch_or_another_seed_gives_another_order(seed, epoch, step, rows):
    # 200 rows are three or four a lane: the same order by chance has odds below 6**-64.
    order = global_sequence(rows, 1, seed, epoch)
    assert not np.array_equal(order, global_sequence(rows, 1, seed, epoch + step))
    assert not np.array_equal(order, global_sequence(rows, 1, seed + step, epoch))


@for_any(ROWS, SEEDS, EPOCHS, WORKERS, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_how_the_rows_lie_in_memory(
    rows, seed, epoch, workers, random
):
    row_ids, ranks = held_by(rows, 0, workers)
    shuffled = list(range(len(row_ids)))
    random.shuffle(shuffled)
    order, positions = epoch_order(row_ids, ranks, seed=seed, epoch=epoch)
    again, places = epoch_order(row_ids[shuffled], ranks[shuffled], seed=seed, epoch=epoch)
    assert np.array_equal(row_ids[order], row_ids[shuffled][again])
    assert np.array_equal(positions, places)


def test_a_worker_beyond_the_rows_gets_empty_batches():
    assert shares(2, 3, batch_size=1).tolist() == [[1, 0], [0, 1], [0, 0]]


def test_every_row_comes_in_every_cycle_of_the_epochs_equally_often():
    rows, epochs = 10 * NUM_LANES, 100
    turns = np.zeros((rows, 10))
    for epoch in range(1, epochs + 1):
        order, positions = epoch_order(ids_of(rows), np.arange(rows), seed=1, epoch=epoch)
        turns[order, positions // NUM_LANES] += 1
    # Each of the 10 turns has probability 1/10 for a row: chi-square with 9 degrees of freedom,
    # of mean 9 and variance 18; over all rows its mean lies within some sigmas of 9.
    chi_squares = ((turns - epochs / 10) ** 2 / (epochs / 10)).sum(axis=1)
    assert abs(chi_squares.mean() - 9) < SIGMAS * np.sqrt(18 / rows)


@for_any(
    SEEDS, EPOCHS, st.integers(0, 10), st.lists(st.integers(0, 2**62), min_size=1, max_size=50)
)
def test_uniform_numbers_are_in_zero_one_and_do_not_depend_on_the_company(
    seed, epoch, draw, row_ids
):
    together = uniform(seed, epoch, np.array(row_ids, dtype=np.int64), draw)
    alone = [uniform(seed, epoch, np.array([row], dtype=np.int64), draw)[0] for row in row_ids]
    assert together.tolist() == alone
    assert ((together >= 0) & (together < 1)).all()


@pytest.mark.parametrize(("seed", "epoch", "draw"), [(0, 1, 0), (0, 1, 1), (7, 300, 4)])
def test_uniform_numbers_have_the_moments_of_a_uniform_distribution(seed, epoch, draw):
    numbers = uniform(seed, epoch, np.arange(20_000, dtype=np.int64), draw)
    assert abs(numbers.mean() - 1 / 2) < SIGMAS * np.sqrt(1 / 12 / len(numbers))
    # The square of a uniform number has mean 1/3 and variance 1/5 - 1/9.
    assert abs((numbers**2).mean() - 1 / 3) < SIGMAS * np.sqrt((1 / 5 - 1 / 9) / len(numbers))


def test_seeds_epochs_draws_and_neighbours_are_uncorrelated():
    row_ids = np.arange(20_000, dtype=np.int64)
    series = [
        uniform(*about, row_ids, draw) for *about, draw in itertools.product((0, 1), (1, 2), (0, 1))
    ]
    series.append(np.roll(series[0], 1))
    correlations = np.corrcoef(series)[np.triu_indices(len(series), 1)]
    assert np.abs(correlations).max() < SIGMAS / np.sqrt(len(row_ids))
