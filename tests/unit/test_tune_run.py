"""What Tune is told of the study: an epoch is recorded before it is judged. No Ray is started."""

import json

from orchestrator.tuning.tune_run import Recorder


class FakeStudy:
    """Wants two epochs of each lineage."""

    def __init__(self) -> None:
        self.recorded: list = []

    def record_epoch(self, lineage, metrics, slot, *, wanted_name) -> None:
        self.recorded.append((lineage, metrics["epoch"], slot, wanted_name))

    def is_over(self, lineage) -> bool:
        return len([name for name, *_ in self.recorded if name == lineage]) == 2


def result(epoch: int) -> dict:
    metrics = json.dumps({"epoch": epoch})
    return {"lineage": "a", "slot": "node:1", "name": "slot-0", "metrics": metrics}


def test_a_leg_ends_with_the_epoch_after_which_no_trial_wants_another():
    study = FakeStudy()
    recorder = Recorder(study)
    assert [recorder("leg", result(1)), recorder("leg", result(2))] == [False, True]
    assert study.recorded == [("a", 1, "node:1", "slot-0"), ("a", 2, "node:1", "slot-0")]
    assert not recorder.stop_all()


def test_a_failure_is_no_epoch():
    study = FakeStudy()
    assert not Recorder(study)("leg", {"lineage": "a", "failed": "loss: must be finite"})
    assert study.recorded == []


def test_once_it_is_asked_to_a_leg_ends_with_the_epoch_it_is_in():
    study, asked = FakeStudy(), []
    recorder = Recorder(study, lambda: bool(asked))
    asked.append("Ctrl-C")
    assert recorder("leg", result(1))
    assert len(study.recorded) == 1
