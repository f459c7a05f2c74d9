"""Seeds: each configuration with the same ones, only new ones trained, the sampler told the mean."""

import random
from collections import Counter

import pytest

from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import Experiment
from orchestrator.results.study_fold import StudyFold, fold
from orchestrator.tuning.ledger import LEDGER, read_records
from orchestrator.tuning.plan import load_space, with_num_seeds
from orchestrator.tuning.proposals import PastTrial
from orchestrator.tuning.seeds import Repeats, by_configuration, with_seeds
from tests.unit import fake_study
from tests.unit.test_study import (
    GRID,
    MOST_LIVES,
    TPE,
    Driver,
    Killed,
    World,
    figures,
    leaderboard,
    no_waiting_for_the_disk,
    records,
    space,
)

__all__ = ["no_waiting_for_the_disk"]  # a fixture

ROWS = {"kind": "rows", "rows": [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}]}


class Told:
    """Proposes what a list has, and remembers what it is told."""

    def __init__(self, values=()):
        self.waiting = list(values)
        self.number = 0
        self.told = {}
        self.stops = {}

    def next(self):
        if not self.waiting:
            return None
        self.number += 1
        return self.number - 1, self.waiting.pop(0)

    def exhausted(self):
        return not self.waiting

    def tell(self, number, score, *, stopped_at=None, seconds=0.0):
        self.told[number] = score
        self.stops[number] = stopped_at


def handed_out(repeats) -> list[tuple]:
    found = []
    while (repeat := repeats.next()) is not None:
        found.append(repeat)
    return found


def seeds_of(folder) -> dict[int, list[int]]:
    found = {}
    for record in records(folder, "trial"):
        found.setdefault(record["configuration"], []).append(record["seed"])
    return found


def test_each_configuration_is_trained_with_every_seed_counted_up_from_the_first():
    of = space({**ROWS, "seeds": 3})
    repeats = handed_out(Repeats(Told(of.rows), of, 7, []))
    assert [repeat[2:] for repeat in repeats] == [(0, 7), (0, 8), (0, 9), (1, 7), (1, 8), (1, 9)]
    assert [repeat[0] for repeat in repeats] == list(range(6))


def test_the_sampler_is_told_the_mean_when_the_last_seed_has_ended():
    of = space({**ROWS, "seeds": 3})
    sampler = Told(of.rows)
    repeats = Repeats(sampler, of, 0, [])
    first = [repeats.next() for _ in range(3)]
    repeats.tell(first[0][0], 0.2)
    repeats.tell(first[1][0], 0.4)
    assert sampler.told == {}
    repeats.tell(first[2][0], 0.9)
    assert sampler.told == {0: pytest.approx(0.5)}


def test_a_configuration_is_not_told_while_a_seed_of_it_has_not_even_begun():
    of = space({**ROWS, "seeds": 2})
    sampler = Told(of.rows)
    repeats = Repeats(sampler, of, 0, [])
    repeats.tell(repeats.next()[0], 0.2)
    assert sampler.told == {}
    repeats.tell(repeats.next()[0], None)
    assert sampler.told == {0: None}, "a configuration with a failed seed has failed"


def test_a_configuration_of_which_a_seed_was_stopped_was_stopped_where_the_first_of_them_was():
    of = space({**ROWS, "seeds": 3})
    sampler = Told(of.rows)
    repeats = Repeats(sampler, of, 0, [])
    first = [repeats.next() for _ in range(3)]
    repeats.tell(first[0][0], 0.2, stopped_at=4)
    repeats.tell(first[1][0], 0.4)
    repeats.tell(first[2][0], 0.3, stopped_at=2)
    assert (sampler.told, sampler.stops) == ({0: pytest.approx(0.3)}, {0: 2})


def test_a_past_configuration_is_open_while_a_seed_is_to_come():
    of = space({**ROWS, "seeds": 2})
    past = [
        PastTrial(n, of.rows[n], score, open=False, configuration=n, seed=0)
        for n, score in enumerate((0.5, 0.3))
    ]
    assert [trial.open for trial in by_configuration(past, of, 0)] == [True, True]
    assert [trial.open for trial in by_configuration(past, space(ROWS), 0)] == [False, False]
    repeats = handed_out(Repeats(Told(), of, 0, past))
    assert repeats == [(2, of.rows[0], 0, 1), (3, of.rows[1], 1, 1)]


def test_a_configuration_that_the_space_no_longer_has_gets_no_more_seeds():
    of = space({"kind": "rows", "rows": [{"optimizer.lr": 0.1}], "seeds": 2})
    past = [PastTrial(0, {"optimizer.lr": 0.9}, 0.5, open=False, configuration=0, seed=0)]
    assert handed_out(Repeats(Told(), of, 0, past)) == []


def test_a_study_of_three_seeds_trains_each_lineage_once_a_seed_with_paired_seeds(tmp_path):
    world = World()
    Driver(space({**GRID, "seeds": 3}), tmp_path, world).run()
    assert seeds_of(tmp_path) == {configuration: [0, 1, 2] for configuration in range(12)}
    assert len(world.trained) == 3 * 4 * 5
    assert set(world.trained.values()) == {1}
    places = fold(read_records(tmp_path / LEDGER)).places
    assert [len(place.finished) for place in places] == [3] * 12
    assert places[0].score == max(place.score for place in places)


@pytest.mark.parametrize("content", [GRID, TPE], ids=["grid", "tpe"])
def test_adding_seeds_to_a_finished_study_trains_only_what_is_new(content, tmp_path):
    world = World()
    Driver(space(content), tmp_path, world).run()
    before, num_trials = Counter(world.trained), len(records(tmp_path, "trial"))
    Driver(space({**content, "seeds": 3}), tmp_path, world).run()
    assert set(world.trained.values()) == {1}, "nothing twice"
    assert all(world.trained[key] == 1 for key in before)
    assert len(records(tmp_path, "trial")) == 3 * num_trials
    assert all(sorted(seeds) == [0, 1, 2] for seeds in seeds_of(tmp_path).values())
    before = (tmp_path / LEDGER).read_bytes()
    Driver(space({**content, "seeds": 2}), tmp_path, world).run()
    assert (tmp_path / LEDGER).read_bytes() == before, "fewer seeds take nothing away"


def test_a_study_recorded_without_configurations_gets_its_seeds(tmp_path):
    world = World()
    Driver(space(GRID), tmp_path, world).run()
    lines = (tmp_path / LEDGER).read_text().splitlines()
    old = [line.replace(f', "configuration": {n}', "") for line in lines for n in [_number(line)]]
    assert old != lines
    (tmp_path / LEDGER).write_text("\n".join(old) + "\n")
    Driver(space({**GRID, "seeds": 2}), tmp_path, world).run()
    places = fold(read_records(tmp_path / LEDGER)).places
    assert [len(place.rows) for place in places] == [2] * 12
    assert set(world.trained.values()) == {1}


def _number(line: str) -> str:
    return line.partition('"configuration": ')[2].partition(",")[0].rstrip("}")


@pytest.mark.parametrize("content", [GRID, TPE], ids=["grid", "tpe"])
@pytest.mark.parametrize("seed", range(4))
def test_kills_and_lost_slots_leave_every_seed_of_every_configuration_ended(
    content, seed, tmp_path
):
    of = space({**content, "seeds": 2})
    chance, world = random.Random(seed), World()
    for life in range(MOST_LIVES):
        driver = Driver(of, tmp_path, world, chance.random(), num_slots=3)
        if life < 12:
            driver.dies_after, driver.loses = chance.randint(1, 12), chance.randint(0, 2)
        try:
            driver.run()
        except Killed:
            continue
        if not fold(read_records(tmp_path / LEDGER)).count("failed"):
            break
    assert set(world.trained.values()) == {1}
    assert all(sorted(seeds) == [0, 1] for seeds in _announced(tmp_path).values())
    calm = tmp_path / "calm"
    Driver(of, calm, World(), num_slots=1).run()
    if content is GRID:
        assert _means(tmp_path) == _means(calm)


def _announced(folder) -> dict[int, set[int]]:
    return {configuration: set(seeds) for configuration, seeds in seeds_of(folder).items()}


def _means(folder) -> list[tuple]:
    places = fold(read_records(folder / LEDGER)).places
    return [(place.rank, place.row.values, place.score) for place in places]


@pytest.mark.parametrize("num_slots", [1, 3])
def test_a_sampled_configuration_is_never_ranked_by_fewer_than_all_of_its_seeds(
    num_slots, tmp_path
):
    whole = Driver(space({**TPE, "seeds": 3}), tmp_path / "whole", World(), num_slots=num_slots)
    whole.run()
    seen = StudyFold()
    for record in (fake_study.head(), *whole.records):
        seen.add(record)
        assert all(len(place.rows) == 3 for place in seen.view().places if place.rank)
    killed, world = tmp_path / "killed", World()
    with pytest.raises(Killed):  # between the seeds of its first configuration
        Driver(space({**TPE, "seeds": 3}), killed, world, num_slots=num_slots, dies_after=2).run()
    Driver(space({**TPE, "seeds": 3}), killed, world, num_slots=num_slots).run()
    kinds = [record["record"] for record in read_records(killed / LEDGER)]
    assert kinds[1:4] == ["trial"] * 3


def test_seeds_added_to_a_sampled_study_take_it_off_the_leaderboard_until_they_have_finished(
    tmp_path,
):
    world = World()
    Driver(space(TPE), tmp_path, world).run()
    more = Driver(space({**TPE, "seeds": 2}), tmp_path, world, num_slots=1)
    seen = StudyFold()
    for record in list(read_records(tmp_path / LEDGER)):
        seen.add(record)
    more.run()
    for record in more.records:
        seen.add(record)
        if record["record"] == "end":
            assert all(len(place.rows) == 2 for place in seen.view().places if place.rank)


def test_the_scores_of_a_seed_are_those_of_its_own_lineage(tmp_path):
    Driver(space({**GRID, "seeds": 2}), tmp_path, World()).run()
    trials = records(tmp_path, "trial")
    assert len({(trial["lineage"], trial["epochs"]) for trial in trials}) == 24
    scores = {trial: score for _, trial, _, score, _ in leaderboard(tmp_path)}
    for trial in trials:
        if trial["trial"] in scores:
            known = figures(trial["lineage"], trial["epochs"])["val_macro_f1"]
            assert scores[trial["trial"]] == known


def test_a_space_that_varies_the_seed_itself_has_no_seeds_besides():
    content = {"kind": "grid", "axes": {"seed": [1, 2]}}
    with pytest.raises(ConfigError, match="seeds: must be 1 where seed is varied"):
        space({**content, "seeds": 2})
    with pytest.raises(ConfigError, match="seeds: must be 1 where seed is varied"):
        with_num_seeds(space(content), 2)
    repeats = handed_out(Repeats(Told([{"seed": 5}]), space(content), 0, []))
    assert repeats == [(0, {"seed": 5}, 0, 5)]


def test_the_command_says_how_many_seeds_or_leaves_it_to_the_space():
    quickstart = load_space("quickstart")
    assert with_num_seeds(quickstart, 0) is quickstart
    assert with_num_seeds(quickstart, 3).num_trials() == 3 * quickstart.num_trials()


def test_experiments_are_planned_once_a_seed():
    seeds = [experiment.seed for experiment in with_seeds([Experiment(seed=4)], 3)]
    assert seeds == [4, 5, 6]
