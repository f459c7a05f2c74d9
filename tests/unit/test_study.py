"""Whole studies without a process: simulated slots, failures, and kills at any record."""

import errno
import hashlib
import itertools
import random
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import fake_study
import numpy as np
import pytest

from orchestrator.config.errors import ConfigError, StorageError
from orchestrator.config.space import Space
from orchestrator.config.storage import MARKER
from orchestrator.config.validate import validate
from orchestrator.results.study_fold import fold
from orchestrator.training.early_stop import last_epoch
from orchestrator.training.group_counts import encode, keep
from orchestrator.tuning.judge import Judge
from orchestrator.tuning.ledger import LEDGER, Ledger, read_records
from orchestrator.tuning.lineages import Leg, StudyState
from orchestrator.tuning.plan import Resolver, whole_paths
from orchestrator.tuning.proposals import Proposals
from orchestrator.tuning.seeds import Repeats, by_configuration
from orchestrator.tuning.study import FAILURES, Failure, Study, past_trials, resume
from orchestrator.tuning.taking_up import TakenUp, take_up

GRID = {
    "kind": "grid",
    "axes": {"optimizer.name": ["sgd", "adam"], "optimizer.lr": [0.1, 0.2], "epochs": [2, 3, 5]},
}
TPE = {
    "kind": "tpe",
    "trials": 14,
    "axes": {
        "optimizer.name": ["sgd", "adam"],
        "optimizer.lr": [0.1, 0.2],  # few, so that lineages are extended again and again
        "epochs": {"low": 1, "high": 5},
    },
}
WRONG_TPE = {**TPE, "axes": {**TPE["axes"], "optimizer.lr": [0.1, 0.2, -1.0]}}
PATIENT = {
    "kind": "grid",
    "axes": {"optimizer.lr": [0.1, 0.2, 0.3], "epochs": [3, 9], "early_stop": [1, 2, 0, 3]},
}
PATIENT_TPE = {
    "kind": "tpe",
    "trials": 16,
    "axes": {
        "optimizer.lr": [0.1, 0.2],
        "epochs": {"low": 1, "high": 9},
        "early_stop": {"low": 0, "high": 3},
    },
}
DIVERGED = Failure("loss: must be finite", "Traceback ...", retry=False)
LOST = Failure("slot: its process must live", "Killed", retry=True)


MOST_LIVES = 100
"""Each life of a driver adds a record at least, and no study here has as many."""


class Killed(BaseException):
    """The driver is gone: whatever is not on the disk is lost."""


@dataclass
class World:
    """What outlives a driver: checkpoints, and a count of all that was ever trained."""

    diverges: dict[str, int] = field(default_factory=dict)  # lineage -> epoch
    checkpoints: dict[str, int] = field(default_factory=dict)
    trained: Counter = field(default_factory=Counter)
    busy: set[str] = field(default_factory=set)

    def train(self, lineage: str) -> bool:
        """One epoch from the checkpoint on; False where the loss is not finite."""
        epoch = self.checkpoints.get(lineage, 0) + 1
        if self.diverges.get(lineage) == epoch:
            return False
        self.trained[lineage, epoch] += 1
        self.checkpoints[lineage] = epoch
        return True


@dataclass
class FakeSlot:
    """Behaves as `orchestrator.tuning.slot.Slot` under Tune, one action at a time."""

    name: str
    world: World
    leg: Leg | None = None
    found: deque = field(default_factory=deque)
    scores: list = field(default_factory=list)
    done: bool = False

    def take(self, leg: Leg, study: Study) -> None:
        assert leg.lineage not in self.world.busy, "a lineage in two slots at once"
        self.world.busy.add(leg.lineage)
        self.leg, self.done, self.scores = leg, False, list(leg.scores)
        known, trained = leg.known_epoch, self.world.checkpoints.get(leg.lineage, 0)
        self.found = deque(range(known + 1, trained + 1))
        study.record_begin(leg.lineage, self.name, "slot-0")

    def act(self, study: Study) -> None:
        if self.done:
            self.leave(study)
        elif not self.found and not self.world.train(self.leg.lineage):
            self.leave(study, DIVERGED)
        else:
            epoch = self.found.popleft() if self.found else self.world.checkpoints[self.leg.lineage]
            metrics = figures(self.leg.lineage, epoch)
            self.scores.append(metrics["val_macro_f1"])
            self.done = epoch >= max(last_epoch(self.scores, *end) for end in self.leg.ends)
            study.record_epoch(self.leg.lineage, metrics, self.name)
            self.done = self.done or study.is_over(self.leg.lineage)

    def leave(self, study: Study, failure: Failure | None = None) -> None:
        lineage, self.leg = self.leg.lineage, None
        self.world.busy.discard(lineage)
        study.end_leg(lineage, failure)


def figures(lineage: str, epoch: int) -> dict:
    """Metrics that any slot would measure at this epoch, whoever trains it."""
    digest = hashlib.sha256(f"{lineage}/{epoch}".encode()).digest()
    made_up = fake_study.epoch(lineage, epoch, int.from_bytes(digest[:6], "big") / 2**48)
    return {"epoch": epoch, **made_up["metrics"]}


@dataclass
class Driver:
    """One life of `ablate`: takes up what the ledger has and drives until it ends or dies."""

    space: Space
    folder: Path
    world: World
    seed: int = 0
    num_slots: int = 3
    dies_after: int = 10**9  # records
    loses: int = 0  # slots
    records: list = field(default_factory=list)

    def run(self) -> None:
        self.world.busy.clear()  # no process survives its driver
        past = list(read_records(self.folder / LEDGER))
        with Ledger(self.folder) as ledger:
            if not past:
                ledger.append(fake_study.head())
            self.taken_up = self._taken_up(past)
            past += [ledger.append(record) for record in self.taken_up.news]
            study = self._study(past, ledger)
            self._drive(study, random.Random(self.seed))
            assert study.complete()

    def _taken_up(self, records) -> TakenUp:
        past = past_trials(records, stopping=self.space.stop.rule != "none")
        return take_up(records, past, self.space, 0, Resolver("mine", {}, "d" * 64).trial)

    def _study(self, past, ledger) -> Study:
        resolver = Resolver("mine", {}, "d" * 64)
        state = StudyState(self.space.epochs_choices(2))
        stops = self.space.stop.rule != "none"
        reopened = resume(past, state, resolver.trial, stopping=stops)
        whole = whole_paths(self.space, resolver)
        known = self.taken_up.past
        for number in self.taken_up.left:
            state.end_trial(number)
        configurations = by_configuration(known, self.space, 0)
        proposals = Proposals(self.space, seed=0, whole=whole, past=configurations)
        judge = Judge(self.space.stop, max(self.space.epochs_choices(2)))
        for record in past:
            judge.take(record)
        study = Study(
            self.folder,
            ledger,
            state,
            Repeats(proposals, self.space, 0, known),
            resolver.trial,
            self._on_record,
            self.num_slots,
            judge,
        )
        study.reopen(number for number in reopened if number not in self.taken_up.left)
        study.end_stopped()
        if self.space.num_listed():
            study.open_all()
        else:
            study.open_repeats()
        return study

    def _drive(self, study: Study, chance: random.Random) -> None:
        """As Tune does: asks for legs while slots are free; a searcher that ended is not asked."""
        slots = [FakeSlot(f"node:{number}", self.world) for number in range(self.num_slots)]
        asking = not study.complete()
        while asking or any(slot.leg for slot in slots):
            slot = chance.choice(slots)
            if study.broken is not None:
                raise StoppedByStorage
            if slot.leg is None:
                leg = study.next_leg() if asking else None
                if leg is not None:
                    slot.take(leg, study)
                elif asking and study.finished():
                    asking = False
                else:
                    assert not asking or any(other.leg for other in slots), "nothing ever happens"
            elif self.loses and chance.random() < 0.2:
                self.loses -= 1
                slot.leave(study, LOST)
            else:
                slot.act(study)

    def _on_record(self, record) -> None:
        self.records.append(record)
        if len(self.records) >= self.dies_after:
            raise Killed


def space(content) -> Space:
    return validate(Space, ("a test", {"question": "Which?", **content}))


def records(folder: Path, kind: str) -> list[dict]:
    return [record for record in read_records(folder / LEDGER) if record["record"] == kind]


def leaderboard(folder: Path) -> list[tuple]:
    view = fold(read_records(folder / LEDGER))
    return [
        (place.rank, place.row.trial, place.row.values, place.row.val_macro_f1, place.row.state)
        for place in view.places
    ]


def assert_consistent(folder: Path, world: World) -> None:
    """What holds for every finished study, however it went."""
    trials = {record["trial"]: record for record in records(folder, "trial")}
    ends = records(folder, "end")
    last_end = {record["trial"]: record for record in ends}
    assert sorted(last_end) == sorted(trials) == list(range(len(trials)))
    final = Counter(end["trial"] for end in ends if not end.get("retry"))
    assert set(final.values()) <= {1}, "a trial ends once, but for those that a lost slot ended"
    known = {(r["lineage"], r["epoch"]): r["metrics"] for r in records(folder, "epoch")}
    assert len(known) == len(records(folder, "epoch")), "an epoch is recorded once"
    for number, end in last_end.items():
        if end["state"] == "finished":
            lineage, epoch = trials[number]["lineage"], end_of(trials[number])
            assert end["epoch"] == epoch
            assert {"epoch": epoch, **known[lineage, epoch]} == figures(lineage, epoch)
    assert set(world.trained.values()) == {1}, "no finished epoch is trained again"
    wanted = Counter()
    for record in trials.values():
        wanted[record["lineage"]] = max(wanted[record["lineage"]], end_of(record))
    assert all(epoch <= wanted[lineage] for lineage, epoch in world.trained)


def end_of(trial: dict) -> int:
    """The epoch with which a trial must end: scores are known before anybody trains."""
    epochs = range(1, trial["epochs"] + 1)
    scores = [figures(trial["lineage"], epoch)["val_macro_f1"] for epoch in epochs]
    return last_epoch(scores, trial["epochs"], trial["early_stop"])


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """No machine loses its power here: records need not be flushed one by one."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The grid's leaderboard with one slot that never fails; and how many records it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    driver = Driver(space(GRID), folder, World(), num_slots=1)
    driver.run()
    return leaderboard(folder), len(driver.records)


def test_a_grid_trains_each_lineage_once_to_its_longest_trial(tmp_path, undisturbed):
    world = World()
    Driver(space(GRID), tmp_path, world).run()
    assert_consistent(tmp_path, world)
    assert len(records(tmp_path, "trial")) == 12
    assert len(world.trained) == 4 * 5  # not 4 * (2 + 3 + 5)
    assert leaderboard(tmp_path) == undisturbed[0]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("num_slots", [1, 2, 5])
def test_the_leaderboard_does_not_depend_on_slots_and_interleaving(
    seed, num_slots, tmp_path, undisturbed
):
    world = World()
    Driver(space(GRID), tmp_path, world, seed, num_slots).run()
    assert_consistent(tmp_path, world)
    assert leaderboard(tmp_path) == undisturbed[0]


def test_a_driver_killed_at_any_record_is_resumed_to_the_same_leaderboard(tmp_path, undisturbed):
    board, num_records = undisturbed
    for dies_after in range(1, num_records + 1):
        folder, world = tmp_path / str(dies_after), World()
        with pytest.raises(Killed):
            Driver(space(GRID), folder, world, dies_after, dies_after=dies_after).run()
        Driver(space(GRID), folder, world, seed=dies_after + 1).run()
        assert_consistent(folder, world)
        assert leaderboard(folder) == board


@pytest.mark.parametrize("content", [GRID, TPE], ids=["grid", "tpe"])
@pytest.mark.parametrize("seed", range(6))
def test_kills_and_lost_slots_again_and_again_leave_every_trial_ended_once(
    content, seed, tmp_path, undisturbed
):
    chance, world = random.Random(seed), World()
    for life in range(MOST_LIVES):
        driver = Driver(space(content), tmp_path, world, chance.random(), num_slots=3)
        if life < 12:
            driver.dies_after, driver.loses = chance.randint(1, 12), chance.randint(0, 2)
        try:
            driver.run()
        except Killed:
            continue
        if not fold(read_records(tmp_path / LEDGER)).count("failed"):
            break
    assert 1 < life < MOST_LIVES - 1, "it never ends"
    assert_consistent(tmp_path, world)
    assert leaderboard(tmp_path) == undisturbed[0] or content is TPE
    assert len(records(tmp_path, "end")) >= space(content).num_trials()


def test_a_slot_that_died_for_good_before_its_first_epoch_is_no_slot_and_its_trial_failed(tmp_path):
    with begun(tmp_path, 2) as study:
        alive, gone = study.next_leg(), study.next_leg()
        study.record_begin(alive.lineage, "a", "slot-0")
        study.record_begin(gone.lineage, "b", "slot-1")
        study.end_leg(alive.lineage, Failure("loss is nan", "", retry=False))
        study.end_leg(gone.lineage, LOST, is_gone=True)
    taken_back = [record["lineage"] for record in records(tmp_path, "unbegun")]
    assert taken_back == [gone.lineage]
    assert {end["state"] for end in records(tmp_path, "end")} == {"failed"}


def test_a_slot_that_trained_nothing_gives_back_its_training_and_its_name(tmp_path):
    with begun(tmp_path, 2) as study:
        first, second = study.next_leg(), study.next_leg()
        study.record_begin(first.lineage, "a", "slot-0")
        study.record_begin(second.lineage, "b", "slot-1")
        study.end_leg(second.lineage)  # no room
        study.record_epoch(first.lineage, figures(first.lineage, 1), "a")
        study.record_begin(second.lineage, "c", "slot-1")
        study.end_leg(first.lineage)
    said = [
        (record["record"], record["lineage"], record["slot"])
        for record in read_records(tmp_path / LEDGER)
        if "slot" in record
    ]
    assert said == [
        ("begin", first.lineage, "slot-0"),
        ("begin", second.lineage, "slot-1"),
        ("unbegun", second.lineage, "slot-1"),
        ("epoch", first.lineage, "slot-0"),
        ("begin", second.lineage, "slot-1"),
    ]


def test_a_checkpoint_beyond_the_ledger_is_handed_out_and_not_trained_again(tmp_path):
    world = World()
    with pytest.raises(Killed):
        Driver(space(GRID), tmp_path, world, num_slots=1, dies_after=14).run()
    (lineage,) = {lineage for lineage, _ in world.trained}
    world.train(lineage)  # finished, but the driver died before it heard of it
    Driver(space(GRID), tmp_path, world, num_slots=1).run()
    assert_consistent(tmp_path, world)


def test_an_epoch_trained_again_after_a_damaged_checkpoint_is_recorded_once(tmp_path, undisturbed):
    world = World()
    with pytest.raises(Killed):
        Driver(space(GRID), tmp_path, world, num_slots=1, dies_after=15).run()
    (lineage,) = {lineage for lineage, _ in world.trained}
    world.checkpoints[lineage] -= 1  # the newest is damaged: the one before it is used
    Driver(space(GRID), tmp_path, world, num_slots=1).run()
    keys = [(record["lineage"], record["epoch"]) for record in records(tmp_path, "epoch")]
    assert len(keys) == len(set(keys)) == 4 * 5
    assert leaderboard(tmp_path) == undisturbed[0]


@contextmanager
def begun(folder: Path, num_slots: int) -> Iterator[Study]:
    """A study of the grid of which nothing is trained, with its ledger open."""
    driver = Driver(space(GRID), folder, World(), num_slots=num_slots)
    driver.taken_up = driver._taken_up([])
    with Ledger(folder) as ledger:
        ledger.append(fake_study.head())
        yield driver._study([], ledger)


def test_what_a_slot_met_that_took_over_is_in_the_first_new_record_of_its_training(tmp_path):
    with begun(tmp_path, num_slots=1) as study:
        lineage = study.next_leg().lineage
        study.record_epoch(lineage, figures(lineage, 1), "node:1")
        study.record_epoch(lineage, figures(lineage, 1), "node:2", notes=["epoch-0002: not whole"])
        study.record_epoch(lineage, figures(lineage, 2), "node:2")
        study.record_epoch(lineage, figures(lineage, 3), "node:2")
    said = [record.get("notes") for record in records(tmp_path, "epoch")]
    assert said == [None, ["epoch-0002: not whole"], None]


def test_a_record_says_where_a_checkpoint_had_its_epoch(tmp_path):
    with begun(tmp_path, num_slots=1) as study:
        lineage = study.next_leg().lineage
        study.record_epoch(lineage, figures(lineage, 1), "node:1", found=True)
        study.record_epoch(lineage, figures(lineage, 2), "node:1")
    assert [record.get("found") for record in records(tmp_path, "epoch")] == [True, None]


def test_the_table_of_a_file_of_weights_is_recorded_once_however_many_begin_with_it(tmp_path):
    with begun(tmp_path, num_slots=2) as study:
        for table in ("imagenet: 13 layers", "imagenet: 13 layers", "vggface: 15 layers"):
            lineage = study.next_leg().lineage
            study.record_epoch(lineage, figures(lineage, 1), "node:1", weights=table)
            study.record_epoch(lineage, figures(lineage, 2), "node:1")
    said = [record.get("weights") for record in records(tmp_path, "epoch")]
    assert said == ["imagenet: 13 layers", None, None, None, "vggface: 15 layers", None]


def test_a_study_of_sampled_trials_resumed_with_one_slot_proposes_the_same(tmp_path):
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    undisturbed = Driver(space(TPE), whole, World(), num_slots=1)
    undisturbed.run()
    world = World()
    for dies_after in itertools.islice(itertools.cycle((1, 2, 3, 5)), MOST_LIVES):
        driver = Driver(space(TPE), pieces, world, num_slots=1, dies_after=dies_after)
        try:
            driver.run()
        except Killed:
            continue
        break
    assert_consistent(pieces, world)
    assert leaderboard(pieces) == leaderboard(whole)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_slots", [1, 4])
def test_sampled_studies_share_and_extend_lineages(seed, num_slots, tmp_path):
    world = World()
    Driver(space(TPE), tmp_path, world, seed, num_slots).run()
    assert_consistent(tmp_path, world)
    assert len(records(tmp_path, "trial")) == TPE["trials"]
    lineages = {record["lineage"] for record in records(tmp_path, "trial")}
    assert len(lineages) <= 4 < TPE["trials"]


@pytest.mark.parametrize("seed", range(6))
def test_trials_that_stop_early_share_what_they_need_and_no_more(seed, tmp_path):
    world = World()
    Driver(space(PATIENT), tmp_path, world, seed).run()
    assert_consistent(tmp_path, world)
    trials = {record["trial"]: record for record in records(tmp_path, "trial")}
    ends = records(tmp_path, "end")
    early = [end for end in ends if end["epoch"] < trials[end["trial"]]["epochs"]]
    assert len(trials) == 24
    assert len({trial["lineage"] for trial in trials.values()}) == 3
    assert len(early) > 4
    assert all(trials[end["trial"]]["early_stop"] for end in early)


@pytest.mark.parametrize("content", [PATIENT, PATIENT_TPE], ids=["grid", "tpe"])
@pytest.mark.parametrize("seed", range(6))
def test_kills_and_lost_slots_do_not_move_the_epoch_at_which_a_trial_stops(content, seed, tmp_path):
    chance, world = random.Random(seed), World()
    for life in range(MOST_LIVES):
        driver = Driver(space(content), tmp_path, world, chance.random(), num_slots=3)
        if life < 12:
            driver.dies_after, driver.loses = chance.randint(1, 12), chance.randint(0, 2)
        try:
            driver.run()
        except Killed:
            continue
        if not fold(read_records(tmp_path / LEDGER)).count("failed"):
            break
    assert_consistent(tmp_path, world)


def test_only_as_many_epochs_are_trained_as_the_most_patient_trial_needs(tmp_path):
    world = World()
    rows = [{"epochs": 9, "early_stop": 1}, {"epochs": 5, "early_stop": 2}]
    Driver(space({"kind": "rows", "rows": rows}), tmp_path, world).run()
    trials = records(tmp_path, "trial")
    assert len(world.trained) == max(map(end_of, trials)) < 9


def test_what_a_sampler_is_told_of_a_trial_that_stopped_early_is_its_last_score(tmp_path):
    Driver(space(PATIENT_TPE), tmp_path, World(), num_slots=1).run()
    trials = {record["trial"]: record for record in records(tmp_path, "trial")}
    told = {past.number: past.score for past in past_trials(read_records(tmp_path / LEDGER))}
    assert len(told) == 16
    for number, trial in trials.items():
        assert told[number] == figures(trial["lineage"], end_of(trial))["val_macro_f1"]


def test_a_study_that_was_recorded_before_fields_were_added_goes_on(tmp_path):
    """Its keys are those of the first version, its trials know nothing of `early_stop`."""
    old = {"optimizer.name": "sgd"}
    lineage = "1868841584cf"
    figures_of = {key: value for key, value in figures(lineage, 1).items() if key != "epoch"}
    ended = {"record": "end", "trial": 0, "state": "finished", "epoch": 1, "error": ""}
    with Ledger(tmp_path) as ledger:
        ledger.append(fake_study.head())
        for number in (0, 1):
            trial = fake_study.trial(number, lineage, number + 1, old)
            ledger.append({**trial, "values": {**old, "epochs": number + 1}})
        ledger.append({"record": "epoch", "lineage": lineage, "epoch": 1, "metrics": figures_of})
        ledger.append({**ended, "checkpoint": ""})
    world = World(checkpoints={lineage: 1})
    rows = [{**old, "epochs": epochs} for epochs in (1, 2, 3)]
    Driver(space({"kind": "rows", "rows": rows}), tmp_path, world).run()
    assert sorted(world.trained) == [(lineage, 2), (lineage, 3)]
    assert fold(read_records(tmp_path / LEDGER)).count("finished") == 3


def test_a_study_whose_trials_would_now_stop_elsewhere_is_refused(tmp_path):
    Driver(space(GRID), tmp_path, World()).run()
    for given in ({"early_stop": 2}, {"schedule": "cosine"}):
        other = Resolver("mine", given, "d" * 64)
        with pytest.raises(ConfigError, match="study: must hold the same"):
            resume(read_records(tmp_path / LEDGER), StudyState((2,)), other.trial)


def lineages_by_longest(folder: Path) -> list[str]:
    return list(dict.fromkeys(record["lineage"] for record in records(folder, "trial")))


def test_a_loss_that_is_not_finite_fails_only_the_trials_that_wanted_more_epochs(tmp_path):
    Driver(space(GRID), tmp_path / "first", World()).run()
    lineage = lineages_by_longest(tmp_path / "first")[1]
    world = World(diverges={lineage: 3})
    Driver(space(GRID), tmp_path / "second", world).run()
    assert_consistent(tmp_path / "second", world)
    trials = {r["trial"]: r for r in records(tmp_path / "second", "trial")}
    failed = [end for end in records(tmp_path / "second", "end") if end["state"] == "failed"]
    of_failed = [trials[end["trial"]] for end in failed]
    assert {trial["lineage"] for trial in of_failed} == {lineage}
    assert sorted(trial["epochs"] for trial in of_failed) == [3, 5]
    for end in failed:
        assert (end["epoch"], end["error"], end["checkpoint"]) == (2, DIVERGED.reason, "")
        assert (tmp_path / "second" / end["log"]).read_text() == "Traceback ...\n"
        assert end["log"].startswith(FAILURES)


def test_trials_that_failed_by_their_own_fault_stay_failed_after_a_resume(tmp_path):
    Driver(space(GRID), tmp_path / "first", World()).run()
    lineage = lineages_by_longest(tmp_path / "first")[0]
    folder, world = tmp_path / "second", World(diverges={lineage: 1})
    Driver(space(GRID), folder, world).run()
    before = (folder / LEDGER).read_bytes()
    world.diverges.clear()  # even if it would go well now
    Driver(space(GRID), folder, world).run()
    assert (folder / LEDGER).read_bytes() == before
    assert fold(read_records(folder / LEDGER)).count("failed") == 3


def test_trials_that_a_lost_slot_ended_are_open_again_after_a_resume(tmp_path, undisturbed):
    world = World()
    Driver(space(GRID), tmp_path, world, num_slots=1, loses=4, seed=3).run()
    failed = fold(read_records(tmp_path / LEDGER)).count("failed")
    assert failed > 0
    assert all(end["retry"] for end in records(tmp_path, "end") if end["state"] == "failed")
    Driver(space(GRID), tmp_path, world).run()
    assert_consistent(tmp_path, world)
    assert leaderboard(tmp_path) == undisturbed[0]


def test_a_draw_that_is_refused_has_failed_and_the_study_goes_on(tmp_path):
    Driver(space(WRONG_TPE), tmp_path, World()).run()
    trials = {trial["trial"]: trial for trial in records(tmp_path, "trial")}
    wrong = {number for number, trial in trials.items() if trial["values"]["optimizer.lr"] < 0}
    assert len(trials) == 14
    assert 0 < len(wrong) < 14
    failed = [end for end in records(tmp_path, "end") if end["state"] == "failed"]
    assert {end["trial"] for end in failed} == wrong
    for end in failed:
        assert end["error"].startswith("optimizer.lr: must be > 0; got -1")
        assert (tmp_path / end["log"]).read_text() == end["error"] + "\n"
    told = {past.number: past for past in past_trials(read_records(tmp_path / LEDGER))}
    assert {number for number, past in told.items() if past.score is None} == wrong
    assert fold(read_records(tmp_path / LEDGER)).count("finished") == 14 - len(wrong)
    before = (tmp_path / LEDGER).read_bytes()
    Driver(space(WRONG_TPE), tmp_path, World()).run()
    assert (tmp_path / LEDGER).read_bytes() == before, "it would be refused again"


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_driver_killed_at_a_refused_draw_is_resumed_to_the_same_leaderboard(seeds, tmp_path):
    wanted = space({**WRONG_TPE, "trials": 8, "seeds": seeds})
    calm = Driver(wanted, tmp_path / "calm", World(), num_slots=1)
    calm.run()
    kinds = [record.get("lineage", "").startswith("refused") for record in calm.records]
    assert any(kinds)
    for place in (place for place, refused in enumerate(kinds, 1) if refused):
        folder, world = tmp_path / str(place), World()
        with pytest.raises(Killed):
            Driver(wanted, folder, world, num_slots=1, dies_after=place).run()
        Driver(wanted, folder, world, num_slots=1).run()
        assert_consistent(folder, world)
        assert leaderboard(folder) == leaderboard(tmp_path / "calm")


def test_a_finished_study_run_again_writes_nothing(tmp_path):
    world = World()
    Driver(space(GRID), tmp_path, world).run()
    before = (tmp_path / LEDGER).read_bytes()
    Driver(space(GRID), tmp_path, world).run()
    assert (tmp_path / LEDGER).read_bytes() == before


def test_longer_trials_added_later_go_on_from_what_is_trained(tmp_path):
    world = World()
    Driver(space(GRID), tmp_path, world).run()
    longer = {**GRID, "axes": {**GRID["axes"], "epochs": [2, 3, 5, 7, 4]}}
    Driver(space(longer), tmp_path, world).run()
    assert_consistent(tmp_path, world)
    assert len(world.trained) == 4 * 7
    assert len(records(tmp_path, "trial")) == 20


def test_the_weights_of_a_milestone_are_pointed_at_where_they_lie(tmp_path):
    Driver(space(GRID), tmp_path / "first", World()).run()
    assert {end["checkpoint"] for end in records(tmp_path / "first", "end")} == {""}
    lineage = lineages_by_longest(tmp_path / "first")[0]
    weights = f"lineages/{lineage}/milestones/epoch-0003"
    for name, marker in (("cut short", "model.safetensors"), ("whole", MARKER)):
        (tmp_path / name / weights).mkdir(parents=True)
        (tmp_path / name / weights / marker).touch()
        Driver(space(GRID), tmp_path / name, World()).run()
        found = {end["checkpoint"] for end in records(tmp_path / name, "end")}
        assert found == ({"", weights} if marker == MARKER else {""})


def test_counts_of_the_groups_at_a_trials_end_go_into_its_record(tmp_path):
    Driver(space(GRID), tmp_path / "first", World()).run()
    lineage, counts = (
        lineages_by_longest(tmp_path / "first")[0],
        encode(np.eye(3)[None].astype(int)),
    )
    keep(tmp_path / "second" / "lineages" / lineage, 3, counts)
    Driver(space(GRID), tmp_path / "second", World()).run()
    found = [end["val_groups"] for end in records(tmp_path / "second", "end")]
    assert found.count(counts) == 1
    assert found.count(None) == len(found) - 1


def test_a_ledger_of_another_experiment_is_refused(tmp_path):
    Driver(space(GRID), tmp_path, World()).run()
    other = Resolver("mine", {"batch_size": 7}, "d" * 64)
    with pytest.raises(ConfigError, match=r"study: must hold the same .* study=NAME"):
        resume(read_records(tmp_path / LEDGER), StudyState((2,)), other.trial)
    another_set = Resolver("mine", {}, "e" * 64)
    with pytest.raises(ConfigError, match="study: must hold the same"):
        resume(read_records(tmp_path / LEDGER), StudyState((2,)), another_set.trial)


def test_a_sampled_study_does_not_propose_far_ahead_of_its_slots(tmp_path):
    content = {**TPE, "axes": {**TPE["axes"], "seed": {"low": 0, "high": 10**6}}}
    driver = Driver(space(content), tmp_path, World(), num_slots=2)
    driver.run()
    still_open = 0
    for record in driver.records:
        still_open += {"trial": 1, "end": -1}.get(record["record"], 0)
        assert still_open <= 2 * driver.num_slots


@pytest.mark.parametrize("seed", range(3))
def test_a_study_whose_disk_is_full_stops_clearly_and_goes_on_when_it_is_mended(
    seed, tmp_path, undisturbed, monkeypatch
):
    board, num_records = undisturbed
    chance, world = random.Random(seed), World()
    for _ in range(4):
        full = Full(chance.randint(1, num_records // 5))
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises((StorageError, StoppedByStorage)):
                Driver(space(GRID), tmp_path, world, chance.random()).run()
    Driver(space(GRID), tmp_path, world).run()
    assert_consistent(tmp_path, world)
    assert leaderboard(tmp_path) == board


class StoppedByStorage(Exception):
    """As `run_study` ends where the study says that its storage is broken."""


@dataclass
class Full:
    """A disk that takes so many records, and then none."""

    takes: int

    def __call__(self, _descriptor: int) -> None:
        self.takes -= 1
        if self.takes < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_slot_keeps_the_name_it_has_in_ray_and_one_that_replaces_it_gets_another(tmp_path):
    with Ledger(tmp_path) as ledger:
        study = Study(tmp_path, ledger, None, None, None, lambda record: None, 2, None)
        assert study._slot_name("host:1", "slot-1") == "slot-1"
        assert study._slot_name("host:2", "slot-0") == "slot-0"
        assert study._slot_name("host:1", "slot-0") == "slot-1", "for good"
        assert study._slot_name("host:3", "slot-1") == "slot-2"
