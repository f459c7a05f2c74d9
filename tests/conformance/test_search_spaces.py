"""Every shipped search space is valid to its last trial, and is what its file says it is."""

import pytest
import yaml

import search_spaces
from orchestrator.tuning.plan import Resolver, check_space, load_space, whole_paths
from orchestrator.tuning.proposals import Proposals

IMAGE_PX, NUM_CLASSES = 96, 6  # the study's faces

every_space = pytest.mark.parametrize("name", search_spaces.names())


def checked(name: str):
    """The experiments of a space, over its own base, as `ablate` makes them."""
    space = load_space(name)
    resolver = Resolver(name, dict(space.base), "d" * 64)
    return check_space(space, resolver, image_size=IMAGE_PX, num_classes=NUM_CLASSES), resolver


@every_space
def test_every_trial_passes_the_validator_and_its_model(name):
    space = load_space(name)
    experiments, _ = checked(name)
    assert len(experiments) >= space.num_trials()


@every_space
def test_it_says_what_it_asks_and_where_it_comes_from(name):
    space = load_space(name)
    assert space.question.endswith("?")
    assert space.source.strip()


@every_space
def test_it_is_plain_yaml_that_names_every_value_once(name):
    text = search_spaces.path(name).read_text()
    content = yaml.safe_load(text)
    assert "seed" not in content.get("base", {}), "the seed is the user's"
    assert not set(content.get("base", {})) & set(load_space(name).paths())


@every_space
def test_all_its_trials_are_proposed_once_each(name):
    space = load_space(name)
    resolver = Resolver(name, dict(space.base), "d" * 64)
    proposals = Proposals(space, seed=0, whole=whole_paths(space, resolver), past=[])
    found = []
    while (proposal := proposals.next()) is not None:
        proposals.tell(proposal[0], 0.5)
        resolver.trial(*proposal)
        found.append(proposal)
    assert [number for number, _ in found] == list(range(space.num_trials()))


def test_factorial_crosses_all_factors_of_table_4_in_four_trainings():
    experiments, resolver = checked("factorial")
    assert len(experiments) == 12
    longest: dict[str, int] = {}
    for experiment in experiments:
        lineage = resolver.lineage(experiment)
        longest[lineage] = max(longest.get(lineage, 0), experiment.epochs)
    assert len(longest) == 4
    assert sum(longest.values()) == 80
    assert sum(experiment.epochs for experiment in experiments) == 180
    assert {e.epochs for e in experiments} == {10, 15, 20}
    assert {(e.optimizer.name, e.optimizer.lr) for e in experiments} == {
        ("sgd", 0.001),
        ("sgd", 0.0001),
        ("adam", 0.001),
        ("adam", 0.0001),
    }


def test_paper_is_exactly_the_three_rows_of_table_4():
    experiments, _ = checked("paper")
    assert [
        (e.model.name, e.model.width, e.batch_size, e.optimizer.name, e.optimizer.lr, e.epochs)
        for e in experiments
    ] == [
        ("main", 1.0, 256, "sgd", 0.001, 10),
        ("main", 1.0, 256, "adam", 0.001, 15),
        ("main", 1.0, 256, "adam", 0.0001, 20),
    ]


def test_search_tries_the_rows_of_the_paper_first():
    space = load_space("search")
    rows = load_space("paper").rows
    assert list(space.points) == [{path: row[path] for path in space.axes} for row in rows]
