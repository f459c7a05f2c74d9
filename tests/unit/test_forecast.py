"""What a plan announces: trainings, epochs and disk, before and in the middle of a study."""

import pytest
from prepared_set import write_set

import models
from orchestrator.config.experiment import Data, Resources
from orchestrator.config.storage import KEPT_FOR_RESUME
from orchestrator.ingest.dataset import open_dataset
from orchestrator.tuning.capacity import Node, plan_slots
from orchestrator.tuning.forecast import forecast, plan_lines, used_counts
from orchestrator.tuning.lineages import StudyState
from orchestrator.tuning.plan import Resolver, check_space, load_space

PARAMETERS = 8_000
"""Any number: that of the model is tested where models are."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_set(tmp_path_factory.mktemp("data") / "faces", image_px=32))


@pytest.fixture(autouse=True)
def known_size(monkeypatch):
    monkeypatch.setattr("orchestrator.tuning.forecast._count", lambda *about: PARAMETERS)


def expected(name: str, dataset, known: int = 0, **given):
    """The forecast of a shipped space whose lineages have `known` epochs each, never better."""
    space = load_space(name)
    resolver = Resolver(name, given, dataset.fingerprint)
    experiments = check_space(space, resolver, image_size=96, num_classes=6)
    lineages = [resolver.lineage(experiment) for experiment in experiments]
    ends = (
        space.ends_of_points(20, {"epochs"}) if space.draws_once(()) else space.epochs_choices(20)
    )
    state = StudyState(ends)
    for lineage in set(lineages):
        for epoch in range(1, known + 1):
            state.add_epoch(lineage, epoch, {"val_macro_f1": 0.5})
    return space, forecast(space, experiments, lineages, state, dataset, longest=20)


def test_factorial_is_twelve_trials_in_four_trainings_of_eighty_epochs_not_one_eighty(dataset):
    _, found = expected("factorial", dataset)
    assert (found.num_trials, found.num_lineages) == (12, 4)
    assert (found.epochs, found.epochs_alone, found.exact) == (80, 180, True)


def test_epochs_that_are_known_are_not_to_be_trained(dataset):
    _, found = expected("factorial", dataset, known=12)
    assert found.epochs == 4 * 8
    _, found = expected("factorial", dataset, known=20)
    assert found.epochs == 0


def test_cosine_trains_each_number_of_epochs_by_itself_and_the_plan_says_so(dataset, tmp_path):
    space, found = expected("factorial", dataset, schedule="cosine")
    assert (found.num_trials, found.num_lineages) == (12, 12)
    assert found.epochs == found.epochs_alone == 180
    text = plan_text(space, dataset, found, tmp_path)
    assert "sharing     none between trials of schedule=cosine that differ in epochs" in text


@pytest.mark.parametrize("given", [{}, {"warmup_epochs": 2}])
def test_sharing_is_not_spoken_of_where_it_is_on(given, dataset, tmp_path):
    space, found = expected("factorial", dataset, **given)
    assert found.num_lineages == 4
    assert "\nsharing " not in plan_text(space, dataset, found, tmp_path)


def test_with_early_stop_the_epochs_are_those_at_most(dataset, tmp_path):
    space, found = expected("factorial", dataset, early_stop=3)
    assert (found.num_lineages, found.epochs) == (4, 80)
    text = plan_text(space, dataset, found, tmp_path)
    assert "in 4 trainings: at most 80 epochs to train; one by one it would be at most 180" in text


def test_what_patience_has_ended_is_not_to_be_trained(dataset):
    _, found = expected("factorial", dataset, known=4, early_stop=3)
    assert found.epochs == 0
    _, found = expected("factorial", dataset, known=4, early_stop=4)
    assert found.epochs == 4 * 16


def plan_text(space, dataset, found, folder) -> str:
    capacity = plan_slots([Node(8, 0)], Resources(), found.num_lineages)
    return "\n".join(plan_lines(space, dataset, Data(protocol="group"), found, capacity, folder))


def test_the_paper_is_three_trainings_that_share_nothing(dataset):
    _, found = expected("paper", dataset)
    assert (found.num_trials, found.num_lineages) == (3, 3)
    assert found.epochs == found.epochs_alone == 45


def test_a_sampled_study_is_forecast_at_its_most(dataset):
    _, found = expected("search", dataset)
    assert (found.num_trials, found.epochs, found.exact) == (24, 24 * 20, False)


def test_where_no_two_draws_share_a_training_the_disk_holds_its_end_and_those_of_the_points(
    dataset,
):
    _, found = expected("search", dataset)
    weights = 4 * PARAMETERS
    assert found.disk_bytes == 24 * (3 * weights + KEPT_FOR_RESUME * 3 * weights)


def test_the_disk_holds_weights_at_milestones_and_two_whole_resume_points(dataset):
    _, found = expected("factorial", dataset)
    weights = 4 * PARAMETERS
    resume_point = 3 * weights  # weights and Adam's two moments
    assert found.disk_bytes == 4 * (3 * weights + KEPT_FOR_RESUME * resume_point)


def test_an_optimizer_of_timm_may_keep_twice_the_moments(dataset):
    known = StudyState((1,))
    space, resolver = load_space("paper"), Resolver("", {"optimizer": {"name": "timm:adan"}}, "")
    found = forecast(space, [resolver.experiment({})], ["a"], known, dataset, longest=20)
    assert found.disk_bytes == 4 * PARAMETERS * (1 + KEPT_FOR_RESUME * 5)


@pytest.mark.parametrize(("free_mb", "is_said"), [(None, False), (5_000, False), (0.5, True)])
def test_the_plan_says_where_the_disk_is_too_small(free_mb, is_said, dataset, tmp_path):
    space, found = expected("factorial", dataset)
    capacity = plan_slots([Node(8, 0)], Resources(), found.num_lineages)
    free = free_mb if free_mb is None else int(free_mb * 1e6)
    data = Data(protocol="group")
    (line,) = (
        line
        for line in plan_lines(space, dataset, data, found, capacity, tmp_path, free)
        if line.startswith("disk ")
    )
    assert ("MB are free there: make room" in line) == is_said
    assert "of checkpoints" in line


def test_the_plan_says_all_of_it(dataset, tmp_path):
    space, found = expected("factorial", dataset)
    capacity = plan_slots([Node(8, 0)], Resources(), found.num_lineages)
    text = "\n".join(plan_lines(space, dataset, Data(protocol="group"), found, capacity, tmp_path))
    for said in (
        space.question,
        "32 px, split protocol group: train 36, validation 12, test 12",
        "8,000 parameters",
        "12 in 4 trainings: 80 epochs to train; one by one it would be 180",
        "4 at once, each 1 x (2 CPUs)",
        "1 MB of checkpoints",
        str(tmp_path),
    ):
        assert said in text
    assert "at most" not in text


def test_the_plan_of_a_sampled_study_says_at_most(dataset, tmp_path):
    space, found = expected("search", dataset)
    capacity = plan_slots([Node(2, 1)], Resources(), found.num_lineages)
    text = "\n".join(plan_lines(space, dataset, Data(protocol="random"), found, capacity, tmp_path))
    assert "24 in at most 24 trainings: at most 480 epochs" in text
    assert "1 at once, each 1 x (2 CPUs + 1 GPU)" in text


def test_parameters_are_those_of_the_model(dataset, monkeypatch):
    monkeypatch.undo()
    experiment = Resolver("", {"model": {"width": 0.125}}, "").experiment({})
    found = forecast(
        load_space("paper"), [experiment], ["a"], StudyState((1,)), dataset, longest=20
    )
    assert found.parameters == models.count_parameters(
        "main", num_classes=3, image_size=32, width=0.125
    )


def test_a_limit_for_each_class_lowers_the_rows_of_its_split_only(dataset):
    whole = used_counts(dataset, Data())
    limited = used_counts(dataset, Data(train_per_class=5, validation_per_class=10_000))
    assert limited["train"] == dict.fromkeys(whole["train"], 5)
    assert (limited["validation"], limited["test"]) == (whole["validation"], whole["test"])


def test_the_plan_says_for_how_many_more_slots_it_waits(dataset, tmp_path):
    space, found = expected("factorial", dataset)
    wanted = Resources(slots=4, gpus_per_worker=1)
    capacity = plan_slots([Node(8, 1)], wanted, found.num_lineages)
    text = "\n".join(plan_lines(space, dataset, Data(protocol="group"), found, capacity, tmp_path))
    assert "1 at once, each 1 x (8 CPUs + 1 GPU); waiting for room for 3 more" in text
