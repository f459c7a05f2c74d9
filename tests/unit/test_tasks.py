"""Tasks of a cluster that is busy, that grows, or whose tasks fail. No Ray is started."""

import pytest

from orchestrator.config.commands import PrepareConfig
from orchestrator.config.errors import ConfigError, OrchestratorError
from orchestrator.ingest import tasks
from orchestrator.prepare import prepare

BUSY = r"^cluster: must have a free CPU to read the data with; got 0\. Wait for other jobs"


class FakeRay:
    """Stands for Ray: a number is a reference; the newest that waits is the first to be done."""

    def __init__(self, cpus, free=None):
        self.cpus, self.free = cpus, cpus if free is None else free
        self.most = 0  # tasks under way at once
        self.hangs = False

    def install(self, monkeypatch):
        for name in ("cluster_resources", "available_resources", "wait", "get"):
            monkeypatch.setattr(f"ray.{name}", getattr(self, name))
        monkeypatch.setattr(tasks, "unused", lambda _: frozenset())
        return self

    def cluster_resources(self):
        return {"CPU": float(self.cpus)}

    def available_resources(self):
        return {"CPU": float(self.free)} if self.free else {}

    def wait(self, waiting, *, num_returns, timeout):
        assert (num_returns, timeout) == (1, tasks.STALL_S)
        if self.hangs:
            return [], waiting
        self.most = max(self.most, len(waiting))
        return waiting[-1:], waiting[:-1]

    def get(self, reference):
        if isinstance(reference, Exception):
            raise reference
        return reference


@pytest.fixture
def busy(monkeypatch):
    def no_task(*_):
        raise AssertionError("a task that is started now waits for ever")

    monkeypatch.setattr(tasks, "FREED_WITHIN_S", 0)
    monkeypatch.setattr("ray.remote", no_task)
    return FakeRay(cpus=4, free=0).install(monkeypatch)


def test_no_task_is_started_where_other_jobs_hold_every_cpu(busy):
    with pytest.raises(OrchestratorError, match=BUSY):
        tasks.start_workers(print)


def test_prepare_called_from_a_program_does_not_wait_for_a_busy_cluster_either(busy, tmp_path):
    out = tmp_path / "set"
    with pytest.raises(OrchestratorError, match=BUSY):
        prepare(PrepareConfig(out=str(out), options={"subjects": 2}, image_px=32))
    assert not out.exists()


def test_a_cpu_that_is_freed_in_a_moment_is_waited_for(monkeypatch):
    ray = FakeRay(cpus=1, free=0).install(monkeypatch)
    monkeypatch.setattr(tasks, "FREED_WITHIN_S", 60)
    monkeypatch.setattr(tasks.time, "sleep", lambda _: setattr(ray, "free", 1))
    tasks.refuse_without_cpu()


def test_two_tasks_a_core_are_under_way_and_each_result_comes_once(monkeypatch):
    ray = FakeRay(cpus=2).install(monkeypatch)
    assert sorted(tasks.in_bounds(range(20))) == list(range(20))
    assert ray.most == 4


def test_tasks_none_of_which_ends_are_not_waited_for_for_ever(monkeypatch):
    ray = FakeRay(cpus=2).install(monkeypatch)
    results = tasks.in_bounds(range(20))
    next(results)
    ray.hangs, ray.free = True, 0
    with pytest.raises(OrchestratorError, match=r"one of 4 tasks must end within 600 s.* 0 CPUs"):
        list(results)


@pytest.mark.parametrize(("cpus", "later", "most"), [(1, 3, 6), (3, 1, 2)])
def test_nodes_that_come_or_go_change_how_many_are_under_way(monkeypatch, cpus, later, most):
    ray = FakeRay(cpus).install(monkeypatch)
    results = tasks.in_bounds(range(40))
    first = [next(results) for _ in range(5)]
    assert ray.most == 2 * cpus
    ray.cpus = later
    second = [next(results) for _ in range(10)]
    ray.most = 0
    assert sorted([*first, *second, *results]) == list(range(40))
    assert ray.most == most


@pytest.mark.parametrize(
    ("cause", "kind", "said"),
    [
        (tasks.SourceError("source: must be there; got 'x'."), ConfigError, "^source: must be"),
        (OSError(28, "No space left on device"), OrchestratorError, "^out: .*No space left"),
    ],
)
def test_what_a_task_failed_of_is_said_of_the_source_or_of_out(monkeypatch, cause, kind, said):
    monkeypatch.setattr("ray.exceptions.RayTaskError", FailedTask)
    FakeRay(cpus=1).install(monkeypatch)
    with pytest.raises(kind, match=said):
        list(tasks.in_bounds([FailedTask(cause)]))


class FailedTask(Exception):
    """Stands for Ray's error, which only Ray can make."""

    def __init__(self, cause):
        super().__init__(cause)
        self.cause = cause
