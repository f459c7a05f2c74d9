"""What each slot is doing, for the one who watches over all of them.

A busy slot answers no call, so it and its workers leave their words in Ray's own key-value
store, where the driver finds them: in which state a slot is, since when, and how many batches its
workers have been through (and other steps, `config.alive`). SLOT and WORKER write, DRIVER and SLOT
read. A word that the store does not take is no reason to end a training: it is left out, and a
count is passed on later.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import asdict, dataclass

import ray
from ray.experimental.internal_kv import (
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

from orchestrator.config import alive

NAMESPACE = b"fer-slots"
BEAT_S = 10.0
"""How often a worker passes its count on; a stall is minutes."""


@dataclass(frozen=True)
class Activity:
    """What a slot is doing.

    Attributes:
        slot: its name.
        state: in words.
        since: when that began, seconds since 1970.
        place: node and process.
    """

    slot: str
    state: str
    since: float
    place: str


def say(slot: str, state: str) -> None:
    """Leave word of what a slot is doing now, if the store takes it."""
    place = f"{os.uname().nodename}:{os.getpid()}"
    activity = Activity(slot, state, time.time(), place)
    _put(f"slot/{slot}", json.dumps(asdict(activity)))


def activities() -> tuple[Activity, ...]:
    """What the slots of this job are doing, by name."""
    found = [Activity(**json.loads(text)) for text in _all("slot/").values()]
    return tuple(sorted(found, key=lambda activity: activity.slot))


def signs_of_life() -> dict[str, str]:
    """All that slots and workers have left: as long as it changes, something moves."""
    return _all("")


@dataclass(frozen=True)
class Beat:
    """How far a worker is.

    Attributes:
        count: grows as long as it moves.
        node, pid: where it is, by Ray's id of the node.
    """

    count: int
    node: str
    pid: int


def beats(run: str) -> dict[str, Beat]:
    """How far each worker of a run is, by rank; of those that have said so."""
    found = _all(f"worker/{run}/")
    return {key.rpartition("/")[2]: Beat(**json.loads(text)) for key, text in found.items()}


class Pulse:
    """Counts what one worker has been through, and passes the count on as it grows."""

    def __init__(self, name: str) -> None:
        """Begin to count for the worker of this name."""
        self._key = f"worker/{name}"
        self._count = 0
        threading.Thread(target=self._pass_on, daemon=True, name="pulse").start()

    def beat(self, *_: object) -> None:
        """One more batch; takes any arguments, so that it can be a hook of a module."""
        self._count += 1

    def _pass_on(self) -> None:
        told, node = -1, ray.get_runtime_context().get_node_id()
        while True:
            count = self._count + alive.steps()
            if count != told and _put(
                self._key, json.dumps(asdict(Beat(count, node, os.getpid())))
            ):
                told = count
            time.sleep(BEAT_S)


def _put(key: str, value: str) -> bool:
    """Whether the store took it."""
    try:
        _internal_kv_put(_prefix() + key, value, namespace=NAMESPACE)
    except Exception:  # noqa: BLE001 - a hiccup of Ray's; what is told is told again
        return False
    return True


def _all(below: str) -> dict[str, str]:
    prefix = _prefix()
    keys = _internal_kv_list(prefix + below, namespace=NAMESPACE)
    found = {
        key.decode()[len(prefix) :]: _internal_kv_get(key, namespace=NAMESPACE) for key in keys
    }
    return {key: value.decode() for key, value in found.items() if value is not None}


def _prefix() -> str:
    """Several studies can run on one cluster, each as a job of its own.

    Raises:
        RuntimeError: this process has no Ray, or has left it; to ask would start or join another.
    """
    if not ray.is_initialized():
        raise RuntimeError("Ray is not up in this process")
    return f"{ray.get_runtime_context().get_job_id()}/"
