"""Slots in virtual time: they train nothing, and drive the real study, ledger and screen.

For benchmarks. Each slot takes a leg, and each epoch of it takes as many virtual seconds as a
calibrated distribution says; between two trials lies the time that a warm slot was measured to
need. Nodes can die: their slots lose the epoch at work, and come back after a while, each as a slot
of its own as Ray would start it anew.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from orchestrator.tuning.lineages import Leg
from orchestrator.tuning.study import Study

Metrics = dict[str, object]


@dataclass(frozen=True)
class Pace:
    """Virtual seconds, calibrated by `bench_slot_overhead` and the paper's forecast on a GPU.

    Attributes:
        epoch_s: median of an epoch; epochs vary by about a tenth around it.
        between_s: from a trial's end to the next one's first step in the same slot.
        start_s: of a slot's processes, once, and after its node has died.
        node_back_s: until a dead node, or the one in its place, is there again.
    """

    epoch_s: float = 2.0
    between_s: float = 0.26
    start_s: float = 20.0
    node_back_s: float = 120.0


@dataclass
class Slot:
    """One slot, and what it is at."""

    name: str
    node: int
    leg: Leg | None = None
    epoch: int = 0
    found: deque[int] = field(default_factory=deque)
    life: int = 0
    """Grows when its node dies: what was under way before does not happen."""
    trained_s: float = 0.0
    epoch_s: float = 0.0
    """Of the epoch under way."""
    is_first: bool = True
    """Whether the next epoch is the first of its leg."""


@dataclass
class Cluster:
    """Slots of several nodes in virtual time, with the checkpoints that outlive them."""

    num_nodes: int
    slots_per_node: int
    figures: Callable[[str, int], Metrics]
    pace: Pace = Pace()
    node_dies_every_s: float = 0.0
    seed: int = 0
    now_s: float = 0.0
    trained: int = 0
    lost: int = 0
    deaths: int = 0
    checkpoints: dict[str, int] = field(default_factory=dict)

    def run(self, study: Study) -> list[Slot]:
        """Train the study to its end; returns the slots with what each has done."""
        chance = random.Random(self.seed)
        self._counter = itertools.count()
        self._events: list[tuple[float, int, int, Slot | int]] = []
        slots = [
            Slot(f"node-{node}:{number}", node)
            for node in range(self.num_nodes)
            for number in range(self.slots_per_node)
        ]
        self._idle = deque[Slot]()
        for slot in slots:
            self._at(self.pace.start_s, slot)
        if self.node_dies_every_s:
            self._at(self.node_dies_every_s, chance.randrange(self.num_nodes))
        while not study.complete():
            self.now_s, _, life, what = heapq.heappop(self._events)
            if isinstance(what, int):
                self._node_dies(what, slots)
                self._at(self.node_dies_every_s, chance.randrange(self.num_nodes))
            elif life == what.life:
                self._act(what, study, chance)
        return slots

    def _act(self, slot: Slot, study: Study, chance: random.Random) -> None:
        if slot.leg is not None:
            self._end_epoch(slot, study)
        if slot.leg is None:
            self._take_leg(slot, study)
        if slot.leg is None:
            self._idle.append(slot)
            return
        slot.epoch_s = self.pace.epoch_s * chance.lognormvariate(0.0, 0.1)
        wait = self.pace.between_s if slot.is_first else 0.0
        slot.is_first = False
        self._at(wait + slot.epoch_s, slot)

    def _end_epoch(self, slot: Slot, study: Study) -> None:
        leg = slot.leg
        assert leg is not None
        slot.trained_s += slot.epoch_s
        slot.epoch += 1
        self.trained += 1
        self.checkpoints[leg.lineage] = slot.epoch
        study.record_epoch(leg.lineage, self.figures(leg.lineage, slot.epoch), slot.name)
        if slot.epoch >= leg.last_epoch:
            slot.leg = None
            study.end_leg(leg.lineage)
            while self._idle:  # a lineage may wait for this one's slot
                self._at(0.0, self._idle.popleft())

    def _take_leg(self, slot: Slot, study: Study) -> None:
        slot.leg = study.next_leg()
        slot.is_first = True
        if slot.leg is not None:
            slot.epoch = max(slot.leg.known_epoch, self.checkpoints.get(slot.leg.lineage, 0))
            for epoch in range(slot.leg.known_epoch + 1, slot.epoch + 1):
                study.record_epoch(
                    slot.leg.lineage, self.figures(slot.leg.lineage, epoch), slot.name
                )

    def _node_dies(self, node: int, slots: list[Slot]) -> None:
        """Its slots go on with their legs from the last checkpoint once a node is there again."""
        self.deaths += 1
        for slot in (slot for slot in slots if slot.node == node):
            slot.life += 1
            self.lost += slot.leg is not None
            if slot in self._idle:
                self._idle.remove(slot)
            self._after_death(slot)

    def _after_death(self, slot: Slot) -> None:
        wait = self.pace.node_back_s + self.pace.start_s
        if slot.leg is None:
            self._at(wait, slot)
            return
        # The epoch at work is trained once more, after the node and its processes are there.
        slot.epoch_s = self.pace.epoch_s
        self._at(wait + self.pace.epoch_s, slot)

    def _at(self, in_s: float, what: Slot | int) -> None:
        life = what.life if isinstance(what, Slot) else 0
        heapq.heappush(self._events, (self.now_s + in_s, next(self._counter), life, what))


def utilisation(slots: list[Slot], wall_s: float) -> float:
    """Share of slot time spent training."""
    return sum(slot.trained_s for slot in slots) / (len(slots) * wall_s)


def drawn_figures(num_classes: int = 6) -> Callable[[str, int], Metrics]:
    """Metrics as large as those of a training, a function of lineage and epoch."""

    def figures(lineage: str, epoch: int) -> Metrics:
        chance = random.Random(f"{lineage}/{epoch}")
        score = min(0.99, chance.random() * 0.3 + 0.6 * (1 - 0.9**epoch))
        return {"epoch": epoch, **dict(_metrics(score, num_classes))}

    return figures


def _metrics(score: float, num_classes: int) -> Iterator[tuple[str, object]]:
    for split in ("train", "val"):
        yield f"{split}_loss", 1.8 - score
        yield f"{split}_accuracy", score
        yield f"{split}_macro_f1", score
    yield "val_macro_f1_low", score - 0.05
    yield "val_macro_f1_high", score + 0.05
    yield "val_class_f1", [score] * num_classes
    yield (
        "val_confusion",
        [[100 + row + column for column in range(num_classes)] for row in range(num_classes)],
    )
    yield "images_per_s", 312.4
    yield "tflops", 0.1
    phases = ("augment", "forward", "backward", "optimizer", "train", "evaluate", "checkpoint")
    yield "seconds", dict.fromkeys(phases, 0.28)
