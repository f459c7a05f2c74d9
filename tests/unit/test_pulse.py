"""What slots and workers leave word of, also where the store does not take it."""

import json
import os
import threading
from types import SimpleNamespace
from unittest.mock import ANY

import pytest
import ray

from orchestrator.config import alive
from orchestrator.training import pulse
from orchestrator.training.pulse import Beat, Pulse, beats, say

RUN = "worker/slot-1/"


class Store:
    """Ray's key-value store, of which the first calls fail."""

    def __init__(self, monkeypatch, failures: int) -> None:
        self.failures, self.kept, self.written = failures, {}, threading.Event()
        monkeypatch.setattr(pulse, "_internal_kv_put", self.put)
        monkeypatch.setattr(pulse, "_prefix", lambda: "job/")

    def put(self, key, value, *, namespace) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the head does not answer")
        self.kept[key] = value
        self.written.set()


@pytest.mark.parametrize("failures", [0, 1])
def test_a_word_that_the_store_does_not_take_ends_nothing(failures, monkeypatch):
    store = Store(monkeypatch, failures)
    say("slot-1", "trains an epoch")
    assert list(store.kept) == ["job/slot/slot-1"][failures:]


def test_a_count_that_the_store_did_not_take_is_passed_on_later(monkeypatch):
    store = Store(monkeypatch, failures=2)
    monkeypatch.setattr(pulse, "BEAT_S", 0.001)
    monkeypatch.setattr(
        pulse.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "aa")
    )
    counted = Pulse("slot-1/0")
    assert store.written.wait(60)
    (told,) = store.kept.values()
    assert Beat(**json.loads(told)) == Beat(ANY, "aa", os.getpid())
    for move in (counted.beat, alive.step):
        before = dict(store.kept)
        store.written.clear()
        move()
        assert store.written.wait(60)
        assert store.kept.keys() == {"job/worker/slot-1/0"} == before.keys()
        assert store.kept != before
    monkeypatch.setattr(pulse, "_all", lambda below: {f"{below}0": told} if below == RUN else {})
    assert beats("slot-1") == {"0": Beat(**json.loads(told))}


def test_who_asks_after_the_end_gets_an_error_and_starts_no_ray():
    assert not ray.is_initialized()
    with pytest.raises(RuntimeError, match="Ray is not up"):
        pulse.signs_of_life()
    say("slot-1", "has ended")
    assert not ray.is_initialized()
