"""A problem of one worker stops all of them, and in the same words."""

import errno

import pytest

from orchestrator.config.errors import CheckpointError, StorageError, TrainingError
from orchestrator.training import agreement
from orchestrator.training.agreement import Finding, agree, failure

FINE = Finding(epoch=3, precision="bf16")


@pytest.fixture
def workers(monkeypatch):
    """Gives this worker, the first, companions that found what is said."""

    def others(*found: Finding) -> None:
        def gather(gathered: list[Finding], own: Finding) -> None:
            gathered[:] = [own, *found]

        monkeypatch.setattr(agreement, "num_workers", lambda: 1 + len(found))
        monkeypatch.setattr(agreement.dist, "all_gather_object", gather)

    return others


def test_alone_a_worker_agrees_with_itself():
    assert agree(FINE) == FINE
    with pytest.raises(TrainingError, match=r"^lost$"):
        agree(Finding("lost"))


def test_the_leaders_word_counts(workers):
    workers(Finding(epoch=2, precision="fp32"))
    assert agree(FINE) == FINE


def test_a_problem_of_another_stops_a_worker_that_has_none(workers):
    workers(Finding(), failure(CheckpointError("epoch-0003: must fit")))
    with pytest.raises(TrainingError, match=r"^worker 2: epoch-0003: must fit$") as caught:
        agree(FINE)
    assert not caught.value.final


@pytest.mark.parametrize("other_is_final", [True, False])
def test_a_failure_is_final_only_if_each_that_failed_says_so(workers, other_is_final):
    workers(Finding(), Finding("b", final=other_is_final))
    with pytest.raises(TrainingError, match="worker 0: a; worker 2: b") as caught:
        agree(failure(TrainingError("a", final=True)))
    assert caught.value.final == other_is_final


def test_a_full_disk_of_one_is_the_storages_fault_for_all(workers):
    workers(failure(OSError(errno.ESTALE, "Stale file handle", "last")))
    with pytest.raises(StorageError, match=r"worker 1: storage: last .*Mount the network"):
        agree(FINE)


def test_an_error_of_the_system_that_is_not_the_storages_may_end_otherwise_next_time():
    found = failure(PermissionError(errno.EACCES, "Permission denied", "last"))
    assert (found.final, found.storage) == (False, False)
    assert found.problem.startswith("files: must be readable on every node; got: ")
