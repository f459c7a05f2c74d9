"""A slot that the queue needs no more lets go of its CPU, and of its node, before the study ends."""

import threading
import time
from pathlib import Path

import pytest
import ray
import yaml

from orchestrator import ablate
from orchestrator.tuning.ledger import LEDGER, read_records
from tests.unit.prepared_set import write_set

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

BASE = {"model.name": "main", "model.width": 0.125, "batch_size": 32, "optimizer.name": "adam"}
LONG = 60
"""Epochs of the trial that goes on alone: many times what it takes to end a slot."""


def test_a_shorter_queue_gives_slots_back_and_names_them_on_the_actors_page(tmp_path):
    data = write_set(tmp_path / "tiny", rows=240, image_px=32)
    rows = [{"optimizer.lr": lr, "epochs": epochs} for lr, epochs in ((0.001, 1), (0.002, LONG))]
    space = {"question": "does it run?", "kind": "rows", "base": BASE, "rows": rows}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    watched = Watched(tmp_path / "s" / LEDGER)
    watcher = threading.Thread(target=watched.watch)
    watcher.start()
    words = [f"space={tmp_path / 'space.yaml'}", f"data.path={data}", f"out={tmp_path}", "study=s"]
    assert ablate.main(words) == 0
    watcher.join()
    assert watched.names == {"slot-0 of s", "slot-1 of s"}
    assert watched.epochs_when_free < LONG, "a CPU was free while the long trial was at work"


class Watched:
    """What there is to see while the study runs."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self.names: set[str] = set()
        self.epochs_when_free = LONG

    def watch(self) -> None:
        while self._count("epoch") < 2:
            time.sleep(0.1)
        self.names = slot_names()
        while not self._count("end"):
            time.sleep(0.1)
        while ray.available_resources().get("CPU", 0) < 1 and self._count("end") < 2:
            time.sleep(0.1)
        self.epochs_when_free = self._count("epoch")

    def _count(self, kind: str) -> int:
        return sum(record["record"] == kind for record in read_records(self._ledger))


def slot_names() -> set[str]:
    """Names of living slots as the Actors page has them: Ray's own table of actors."""
    from ray._private.state import state
    from ray.core.generated import gcs_pb2

    table = state._connect_and_get_accessor().get_actor_table(None, "ALIVE")
    names = (gcs_pb2.ActorTableData.FromString(entry).repr_name for entry in table)
    return {name for name in names if name.startswith("slot-")}
