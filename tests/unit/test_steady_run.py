"""A run that is kept up: which epochs are handed out, whatever a checkpoint says."""

from orchestrator.training import steady_run
from orchestrator.training.steady_run import SteadyRun, Task


class Run:
    """Stands for warm workers whose newest checkpoint is that of `epoch`."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def ask(self, command):
        if command["kind"] == "begin":
            return {"kind": "begun", "history": [{"epoch": n + 1} for n in range(self.epoch)]}
        self.epoch += 1
        return {"kind": "epoch", "metrics": {"epoch": self.epoch}}

    def wait_ready(self) -> None:
        pass

    def stop(self) -> None:
        pass


def task() -> Task:
    return Task(experiment={}, lineage="any", folder="", milestones=(), ends=(), keep_best=False)


def epochs(run: Run, known: int, number: int, monkeypatch) -> list[int]:
    monkeypatch.setattr(steady_run, "WarmRun", lambda *_: run)
    steady = SteadyRun("any", None, {}, 0)
    steady.take(task(), known_epoch=known)
    return [int(steady.next_epoch()["epoch"]) for _ in range(number)]


def test_epochs_follow_each_other_from_the_newest_checkpoint(monkeypatch):
    assert epochs(Run(0), 0, 3, monkeypatch) == [1, 2, 3]
    assert epochs(Run(5), 3, 4, monkeypatch) == [4, 5, 6, 7]


def test_no_epoch_is_handed_out_twice_where_the_newest_checkpoint_was_damaged(monkeypatch):
    assert epochs(Run(4), 5, 2, monkeypatch) == [6, 7]
